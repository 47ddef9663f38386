"""Rows onto the devices of a mesh: those that each process has read, padded to equal parts with absent ones."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jgmm._base.arrays import as_array, as_numpy, check_cast
from jgmm._base.options import as_axes
from jgmm._base.types import ArrayLike


def _on_mesh(mesh, axis_name):
    """How rows lie on a mesh: along these axes of it, by default all."""
    if mesh is None:
        mesh = jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    axes = tuple(mesh.axis_names) if axis_name is None else as_axes(axis_name)
    if not set(axes) <= set(mesh.axis_names):
        raise ValueError(f"axis_name must be among the axes of the mesh, {mesh.axis_names}, got {axis_name!r}.")
    return NamedSharding(mesh, P(axes)), int(np.prod([mesh.shape[axis] for axis in axes]))


def _most(count):
    """The largest of the numbers that the processes have."""
    if jax.process_count() == 1:
        return count
    return int(np.max(np.asarray(multihost_utils.process_allgather(np.int32(count)))))


def spread(
    X: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    mesh: Mesh | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Spread rows over the devices of a mesh, and over processes.

    Every device gets as many rows, the last ones of it absent: zeros, with weight zero. So any number of rows can be
    spread over any number of devices, and what is learned from them is the same. Each row goes from the memory of the
    host, or from a memory map, to its own device, and to no other.

    With several processes (``jax.distributed``) each hands over the rows that it has read, and all of them together are
    the data. All processes have to call this, and then the same functions, with the same arguments otherwise.

    Args:
        X: (n, d) rows of this process, data units; n may differ from process to process.
        sample_weight: (n,) nonnegative weights of the rows; ones for ``None``.
        mesh: the devices; ``None`` for all there are, those of all processes.
        axis_name: the axis, or axes, of the mesh over which the rows are spread; ``None`` for all.

    Returns:
        The rows (n, d) and their weights (n,), of all processes, spread; n is now a multiple of the number of parts.
        The dtype is as `fit` would have it. Give both to `fit`, `em` and what else takes weights. What has an answer
        for each row, such as `log_prob`, has answers for the absent rows too.

    Raises:
        ValueError, TypeError: the rows are no array (n, d) of numbers, the weights not one for each row, or the mesh
            has no such axis.

    Example:
        >>> import jax, jgmm, numpy as np
        >>> X = np.random.default_rng(0).normal(size=(101, 2))
        >>> rows, sample_weight = jgmm.spread(X)
        >>> float(jgmm.em(jgmm.init.kmeans(jax.random.key(0), X, 2), rows, sample_weight).stats.total)
        101.0
    """
    given = as_numpy("X", X)
    dtype = as_array("X", given[:0]).dtype
    rows = given.astype(dtype, copy=False)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"X must be 2-D, (rows, features), got shape {rows.shape}.")
    check_cast(given, rows)
    weight = np.ones(len(rows), dtype) if sample_weight is None else as_numpy("sample_weight", sample_weight)
    if weight.shape != (len(rows),):
        raise ValueError(f"sample_weight must have shape ({len(rows)},), a number for each row, got {weight.shape}.")
    place, num_parts = _on_mesh(mesh, axis_name)
    here: Any = place.addressable_devices_indices_map((num_parts,)).values()
    firsts = sorted({part[0].start or 0 for part in here})  # the parts that lie on devices of this process
    size = _most(-(-len(rows) // len(firsts)))
    return tuple(_parts(array.astype(dtype, copy=False), place, size, num_parts, firsts) for array in (rows, weight))


def _parts(array, place, size, num_parts, firsts) -> Any:
    """An array that goes by row, in parts of this many rows, of which ``firsts`` lie here."""

    def part(index):
        begin = firsts.index((index[0].start or 0) // size) * size
        rows = array[begin : begin + size]
        missing = size - len(rows)
        return np.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1)) if missing else np.asarray(rows)

    return jax.make_array_from_callback((num_parts * size, *array.shape[1:]), place, part)
