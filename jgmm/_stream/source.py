"""Batches that can be passed over again and again, each checked: an error names the batch and the sweep."""

import math
import mmap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jgmm._base.arrays import as_array, as_data
from jgmm._base.lengths import is_eager, length_of, lengthened
from jgmm._base.options import check_count
from jgmm._base.units import rows_in_units, units_of

Batch = Any  # rows (n, d), or a pair of rows and sample weights (n,)
Source = Iterable[Batch] | Callable[[], Iterable[Batch]]


class _Batches:
    """Slices of rows, and of their weights if there are any."""

    def __init__(self, rows, size, sample_weight):
        self.rows, self.size, self.sample_weight = rows, size, sample_weight

    def __len__(self):
        return math.ceil(self.rows.shape[0] / self.size)

    def __iter__(self):
        for start in range(0, self.rows.shape[0], self.size):
            part = slice(start, min(start + self.size, self.rows.shape[0]))
            yield self.rows[part] if self.sample_weight is None else (self.rows[part], self.sample_weight[part])
            _release(self.rows)

    def __repr__(self):
        return f"jgmm.batches({type(self.rows).__name__} of shape {tuple(self.rows.shape)}, {self.size})"


def _release(rows):
    """Give the pages of a memory map back, which would count as this process's memory, up to the whole file."""
    base = rows
    while isinstance(base, np.ndarray):
        base = base.base
    shared = isinstance(rows, np.memmap) and rows.mode in ("r", "r+")  # of a private one changes would be lost
    if shared and isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def batches(rows: Any, size: int, sample_weight: Any = None) -> Iterable[Batch]:
    """Batches of rows for `em_stream` and `fit_stream`, of anything that can be sliced and has a ``shape``.

    No more is read than the slice ``rows[start:stop]`` that is needed:

        jgmm.batches(np.load("rows.npy", mmap_mode="r"), 100_000)          # NumPy's memory maps
        jgmm.batches(h5py.File("rows.h5")["X"], 100_000)                   # HDF5
        jgmm.batches(zarr.open("rows.zarr")["X"], 100_000)                 # Zarr

    What cannot be sliced comes as a function that returns an iterator. For Parquet and the like:

        table = pyarrow.dataset.dataset("folder")

        def rows():
            for batch in table.to_batches(columns=["a", "b"], batch_size=100_000):
                if batch.num_rows:
                    yield np.column_stack([batch[name].to_numpy() for name in batch.schema.names])

        jgmm.em_stream(params, rows)

    Args:
        rows: (n, d) rows, data units: an array, memory map or dataset of another library.
        size: how many rows a batch has; the last one may have fewer. Some ten megabytes are a good size.
        sample_weight: (n,) nonnegative weights of the rows, sliced as the rows are; or ``None`` for ones.

    Returns:
        An iterable of batches (n, d), or of pairs of a batch and its weights; it can be iterated again and again, and
        has a ``len``.

    Raises:
        TypeError, ValueError: the rows are nothing of shape (n, d) that can be sliced, or the weights not of theirs.

    Example:
        >>> import jgmm, numpy as np
        >>> rows = jgmm.batches(np.zeros((10, 2), "float32"), 4)
        >>> len(rows), [batch.shape for batch in rows]
        (3, [(4, 2), (4, 2), (2, 2)])
    """
    for name, value in (("rows", rows), ("sample_weight", sample_weight)):
        if value is not None and not (hasattr(value, "shape") and hasattr(value, "__getitem__")):
            raise TypeError(
                f"{name} must have a shape and be sliceable, got {type(value).__name__}. Use np.asarray({name}), or "
                "hand em_stream a function that returns an iterator of batches."
            )
    if rows is None or len(rows.shape) != 2 or 0 in rows.shape:
        raise ValueError(f"rows must be of shape (n, d), got {None if rows is None else tuple(rows.shape)}.")
    if sample_weight is not None and tuple(sample_weight.shape) != (rows.shape[0],):
        raise ValueError(
            f"sample_weight must have one number for each of the {rows.shape[0]} rows, got shape "
            f"{tuple(sample_weight.shape)}."
        )
    return _Batches(rows, check_count("size", size, least=1), sample_weight)


class Stream:
    """Checked batches of one number of features and one dtype, those of the first, which is looked at at once.

    Args:
        source: an iterable of batches, or a function that returns one.
        common_units: whether all features have to have one unit.

    Attributes:
        like: the shape and the dtype of the first batch.
        units: the factors (d,) of the units in which batches are given, `units_of` the first; ``None`` for none.
        num_rows: of a sweep, when it is known.
    """

    def __init__(self, source: Source, common_units: bool = False):
        _check_source(source)
        self.source, self.num_rows = source, None
        first = next(self._checked("sweep 0", None), None)
        if first is None:
            raise ValueError("batches must give at least one batch, got none.")
        _, X, weight = first
        self.like = jax.ShapeDtypeStruct(X.shape, X.dtype)
        self.units = None if weight is None else units_of(X, weight, common_units)

    def sweep(self, name: str) -> Iterator[tuple[int, jax.Array, jax.Array]]:
        """(rows so far, X, weight) of each batch that has weight: in the ``units``, padded to one of few lengths.

        Args:
            name: of the sweep, for messages.

        Raises:
            ValueError, TypeError: a batch is not what the first one was, or the sweep has another number of rows than
                the one before it.
        """
        index, rows = -1, 0
        for index, X, weight in self._checked(name, self.like):  # noqa: B007 (read after the loop)
            rows += X.shape[0]
            if weight is not None:
                X = X if self.units is None else rows_in_units(X, None, self.units)[0]
                # Copies, and on the device, before the next is read: a reader may use its memory again.
                X, weight = jax.block_until_ready(lengthened((X, weight), self._length(X.shape[0])))
                yield rows, X, weight
        if self.num_rows not in (None, rows):
            raise ValueError(
                f"Every sweep must give the same rows, got {rows} of them in {name}, which ended before batch "
                f"{index + 1}, and {self.num_rows} before. Did the iterator end early, or can it be used only once?"
            )
        self.num_rows = rows

    def _length(self, num_rows):
        """The least length that holds so many rows: one of few, or that of the first batch."""
        length, first = length_of(num_rows), self.like.shape[0]
        return first if num_rows <= first <= length else length

    def _checked(self, name, like):
        """(index, X, weight) of each batch, all of one kind; no weight where it is zero for every row."""
        for index, item in self._items(name):
            try:
                X, weight = _arrays(item)
                if like is not None:
                    _check_like(X, like)
            except (ValueError, TypeError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError  # others want other arguments
                raise kind(f"Batch {index} of {name}: {error}") from None
            yield index, X, weight

    def _items(self, name):
        """(index, batch) as they are read."""
        index = 0
        try:
            iterator = iter(self.source() if callable(self.source) else self.source)
            for index, item in enumerate(iterator):
                yield index, item
                index += 1
        except Exception as error:
            error.add_note(f"This was raised by the reader of batch {index} of {name}.")
            raise


def check_eager(name, given):
    """Raise inside ``jit`` and its like."""
    if not is_eager(given):
        raise TypeError(f"{name} is a loop in Python and needs values: call it outside jit, vmap and grad.")


def _check_source(source):
    """Raise unless this can be iterated again and again."""
    if isinstance(source, Iterator):
        raise TypeError(
            f"batches must be iterable again and again, got {type(source).__name__}, which can be passed over once. "
            "Hand over the function that makes it, a list of batches, or jgmm.batches(rows, size)."
        )
    if hasattr(source, "shape"):
        raise TypeError(
            f"batches must be an iterable of batches, got an array of shape {tuple(source.shape)}. Use "
            "jgmm.batches(rows, size) to cut it."
        )
    if not callable(source) and not isinstance(source, Iterable):
        raise TypeError(
            f"batches must be an iterable of batches or a function that returns one, got {type(source).__name__}."
        )


def _arrays(item):
    """The rows and the weights of a batch, checked; no weights where all are zero."""
    X, weight = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
    if weight is not None and _is_zero(weight):
        X = as_array("X", X)
        if X.ndim == 2 and np.shape(weight) == X.shape[:1]:
            return X, None
    return as_data(X, weight, pad=False)


def _is_zero(weight):
    """Whether all weights, of which there are some, are zero."""
    there = isinstance(weight, jax.Array) and not weight.is_fully_addressable  # in part on other hosts
    weight = weight if there else np.asarray(weight)
    return weight.size > 0 and not bool((weight != 0).any())


def _check_like(X, like):
    """Raise unless the rows have the features and the dtype of the first batch."""
    if X.shape[1:] != like.shape[1:]:
        raise ValueError(f"X must have the {like.shape[1]} features of the first batch, got {X.shape[1]}.")
    if X.dtype != like.dtype:
        raise TypeError(f"X must be of the dtype of the first batch, {like.dtype}, got {X.dtype}. Use .astype.")
