"""The moments of the whole data: what scales are measured by."""

import jax
import jax.numpy as jnp

from jgmm._base.rows import chunk_rows, sum_rows
from jgmm._base.sweep import WHOLE
from jgmm._base.types import where
from jgmm._covariance.families import Diag
from jgmm._covariance.forms import diag
from jgmm._expectation.stats import Stats, collect


def _some_row(X: jax.Array, sample_weight: jax.Array, sweep) -> jax.Array:
    """The first row of positive weight (1, d); of rows spread over devices the mean of theirs."""
    # Looking at X as well keeps XLA from folding a search through n constant weights while it compiles.
    present = (sample_weight > 0) & ~jnp.isnan(X[:, 0])
    row = X[jnp.argmax(present)][None]
    if not sweep.axis_name:
        return row
    there = present.any().astype(X.dtype)
    return sweep.total(where(there > 0, row, 0)) / jnp.maximum(sweep.total(there), 1)


def data_stats(form, X, sample_weight, sweep=WHOLE) -> Stats:
    """`Stats` of all rows as one component, about a row of positive weight, with a scatter of this form.

    NaN where a weight is negative or not finite, or a row of positive weight holds what is not: so that one look at
    the sums tells whether the data are sound.
    """
    center = _some_row(X, sample_weight, sweep)
    sample_weight = where(sample_weight >= 0, sample_weight, jnp.nan)

    def rows(X, weight):
        X = where(weight[:, None] == 0, center, X)
        ones = jnp.ones_like(weight)
        return collect(form, (X - center).T[None], center, ones[None], 0 * ones, weight)

    sums = sweep.total(sum_rows(rows, X, sample_weight, chunk_rows(1, X.shape[1])))
    return Stats(center, sums.weight, sums.shift, sums.scatter, sums.total, sums.log_prob)


def frame_of(family, X, sample_weight, sweep=WHOLE) -> Stats:
    """`Stats` of all rows about their mean, with the scatter that an E-step of this family can use."""
    stats = data_stats(family.form.frame, X, sample_weight, sweep)
    return stats.recenter(stats.mean)


def frame_of_one(params, X, sample_weight, sweep=WHOLE) -> Stats:
    """What one E-step needs of the rows' `frame_of`: without a pass over them, unless the scatter is needed as well.

    Of a centre no more is asked than that it lies among the components, as the mean of the mixture does.
    """
    family, weights = type(params.cov), params.weights
    if family.form.frame is not diag:
        return frame_of(family, X, sample_weight, sweep)
    center = where(weights[:, None] > 0, weights[:, None] * params.means, 0).sum(0, keepdims=True) / weights.sum()
    none, zero = jnp.zeros_like(center), jnp.zeros_like(weights[0])
    return Stats(center, zero[None], none, none, zero, zero)


def frame_on_shards(family, X, sample_weight, sweep=WHOLE) -> Stats:
    """`frame_of`, from outside the mesh over which the rows may be spread."""

    def on_shard(rows, _):
        X, sample_weight = rows
        return frame_of(family, X, sample_weight, sweep)

    return sweep.on_shards(on_shard)((X, sample_weight), ())


def moments_of(frame):
    """The weighted mean and variance of each feature, (d,) each, from the rows' `frame_of`."""
    scatter = frame.scatter[0]
    squares = jnp.diagonal(scatter) if scatter.ndim == 2 else scatter
    return frame.center[0], squares / where(frame.total > 0, frame.total, 1)


def mean_and_variance(X, sample_weight, sweep=WHOLE) -> tuple[jax.Array, jax.Array]:
    """The weighted mean and variance of each feature, (d,) each."""
    return moments_of(frame_on_shards(Diag, X, sample_weight, sweep))
