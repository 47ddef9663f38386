"""Lengths of data: outside ``jit`` rows come in few of them, so that a data set of another length compiles nothing new.

Called with values, a public function pads its rows to the next of three lengths an octave (16, 20, 26, 32, 40, ...):
with rows of weight zero, which are absent, or in a query with rows whose answers it drops. Starts and races go by
`length_of` the rows, so that they are the same with the padding as without.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core
from jax.core import Tracer
from jax.sharding import SingleDeviceSharding

MOST = 2**24  # numbers: a copy of more costs more than it saves


def is_eager(tree) -> bool:
    """Whether this is a call with values, outside ``jit`` and its like."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree)) and not _inside_jit()


def _inside_jit():
    context: Any = getattr(core, "trace_ctx", None)
    if hasattr(context, "is_top_level") and context.is_top_level():
        return False  # a hundredth of the time that making an array takes
    return isinstance(jax.lax.iota(np.int32, 1), Tracer)  # which under `vmap` alone has a value


def length_of(num_rows: int) -> int:
    """The least length from 8, 10, 13, 16, 20, 26, ... that holds so many rows: at most a third more."""
    unit = 2 ** max(0, (num_rows - 1).bit_length() - 4)
    return next(unit * share for share in (8, 10, 13, 16) if unit * share >= num_rows)


def _is_movable(x):
    """Whether an array lies on the default device alone, and was not spread or sent anywhere."""
    return isinstance(x.sharding, SingleDeviceSharding) and x.devices() == {jax.devices()[0]}


def _extended(x, length):
    if jax.default_backend() != "cpu":
        return jnp.pad(x, [(0, length - x.shape[0])] + [(0, 0)] * (x.ndim - 1))
    longer = np.zeros((length, *x.shape[1:]), x.dtype)  # NumPy compiles nothing
    longer[: x.shape[0]] = x
    return jnp.asarray(longer)


def lengthened(rows: Any, length: int) -> Any:
    """Copies of arrays that go by row, with zeros up to this length; as they are if they were sent somewhere."""
    return tuple(_extended(x, length) for x in rows) if all(map(_is_movable, rows)) else rows


def padded(*rows: Any) -> Any:
    """Arrays that go by row, X (n, d) first, with zeros up to `length_of` the rows; inside ``jit`` as they are."""
    n = rows[0].shape[0]
    if not is_eager(rows) or rows[0].size > MOST or length_of(n) == n:
        return rows
    return lengthened(rows, length_of(n))


def first_rows(x, num_rows):
    """The first rows of an array, without the padding."""
    if x.shape[0] == num_rows:
        return x
    if isinstance(x, Tracer) or jax.default_backend() != "cpu":
        return x[:num_rows]
    return jnp.asarray(np.asarray(x)[:num_rows])  # a slice would be compiled for each length
