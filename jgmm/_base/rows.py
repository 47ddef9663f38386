"""Passing over the rows of the data in chunks that fit the cache.

``sum_rows`` adds up what a function makes of each chunk, ``map_rows`` lines it up again. Neither
copies the data: chunks are read in place, and where the last one would run over the end it starts
earlier, its repeated rows weighted zero. So the extra memory is one chunk's, whatever ``n`` is.
"""

import math

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim

from jgmm._base.pytree import zeros_of
from jgmm._base.types import where

# Numbers of one (rows, k, d) workspace. On the CPU about half the second-level cache of a core:
# measured over (n, d, k) from (131072, 2, 3) to (16384, 128, 16), two to four times faster than 2**21.
CPU_WORKSPACE = 2**17
ACCELERATOR_WORKSPACE = 2**25


def chunk_rows(num_components: int, num_features: int) -> int:
    """Rows of a chunk such that ``rows * k * d`` numbers fit the workspace of this backend."""
    on_cpu = jax.default_backend() == "cpu"
    workspace, most = (CPU_WORKSPACE, 4096) if on_cpu else (ACCELERATOR_WORKSPACE, 2**20)
    return whole_chunk(workspace // max(1, num_components * num_features), most)


def whole_chunk(rows: int, most: int) -> int:
    """The largest power of two up to ``rows``, but at least 128 and at most ``most``."""
    return max(128, min(most, 2 ** (max(1, rows).bit_length() - 1)))


def at_most(num_rows, most) -> bool:
    """Whether there are no more rows: true as well of a number that is a symbol, in an exported program."""
    return is_symbolic_dim(num_rows) or num_rows <= most


def _slice(rows, start, size):
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), rows)


def sum_rows(function, rows, sample_weight, chunk: int):
    """The sum over chunks of ``function(rows, sample_weight)``.

    Args:
        function: takes a pytree like ``rows`` with ``m`` rows and weights (m,), returns a pytree of
            sums that a row of weight zero does not change.
        rows: a pytree of arrays, each with the ``n`` rows first.
        sample_weight: (n,) weights of the rows.
        chunk: the rows of a chunk, ``m``.
    """
    n = sample_weight.shape[0]
    if at_most(n, chunk):
        return function(rows, sample_weight)

    # Without checkpoint a reverse pass would keep every chunk's intermediates: O(n k d) memory.
    @jax.checkpoint
    def one(index):
        begin = index * chunk
        start = jnp.minimum(begin, n - chunk)
        part, weight = _slice((rows, sample_weight), start, chunk)
        return function(part, where(start + jnp.arange(chunk) >= begin, weight, 0))

    def add(total, index):
        return jax.tree.map(jnp.add, total, one(index)), None

    # From zeros, not from the first chunk: that would be compiled a second time.
    indices = jnp.arange(math.ceil(n / chunk))
    return jax.lax.scan(add, zeros_of(one, indices[0]), indices)[0]


def map_rows(function, rows, chunk: int):
    """``function(rows)`` for a function of whole rows, a chunk at a time, its results in order."""
    n = jax.tree.leaves(rows)[0].shape[0]
    if at_most(n, chunk):
        return function(rows)
    starts = jnp.minimum(jnp.arange(math.ceil(n / chunk)) * chunk, n - chunk)
    one = jax.checkpoint(lambda start: function(_slice(rows, start, chunk)))
    parts = jax.lax.map(one, starts)

    def join(part):  # (chunks, m, ...) -> (n, ...)
        rest = n - (part.shape[0] - 1) * chunk
        whole = part[:-1].reshape(-1, *part.shape[2:])
        return jnp.concatenate([whole, part[-1, chunk - rest :]])

    return jax.tree.map(join, parts)
