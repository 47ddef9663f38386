"""A few rows that stand for all: drawn in proportion to their weights, and whole on every device."""

import jax.numpy as jnp

from jgmm._base.lengths import length_of
from jgmm._base.sweep import WHOLE
from jgmm._base.types import where

COMPARED = 2**18  # places and parts, up to which to compare each with each compiles, and runs, sooner than to search


def sample_rows(u, X, sample_weight, size: int, sweep=WHOLE):
    """Rows and weights of a sample, whole on every device: all of them if their `length_of` is no more than ``size``.

    Otherwise one row from each of ``size`` equal shares of the total weight, in the order of the data, so
    that a row is drawn in proportion to its weight and one of weight zero never.

    Args:
        u: (size,) or () uniform numbers in [0, 1): which place in each share.
        X: (n, d) rows.
        sample_weight: (n,) their weights.
        size: how many rows at most.
        sweep: on which devices the rows lie.
    """
    if length_of(X.shape[0] * sweep.num_shards) <= size:
        return sweep.gather((X, sample_weight))
    cumulative = jnp.cumsum(sample_weight)
    end = jnp.cumsum(sweep.gather(cumulative[-1:]))  # of each device's share of the weight
    place = (jnp.arange(size, dtype=X.dtype) + u) / size * end[-1]
    owner, place = _reached(end, place), place - (end - cumulative[-1])[sweep.shard]
    mine = (owner == sweep.shard)[:, None]
    return sweep.total(where(mine, X[_reached(cumulative, place)], 0)), jnp.ones(size, X.dtype)


def _reached(cumulative, place):
    """Which of the parts that were added up holds each place: one that is not empty, whatever rounding does."""
    inside = jnp.minimum(place, jnp.nextafter(cumulative[-1], 0))
    few = len(cumulative) * len(place) <= COMPARED
    method = "compare_all" if few else "scan"
    return jnp.minimum(jnp.searchsorted(cumulative, inside, side="right", method=method), len(cumulative) - 1)
