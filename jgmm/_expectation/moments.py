"""The moments of the whole data: what scales and ridges are measured by."""

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import as_array, as_data, is_concrete
from jgmm._base.programs import program
from jgmm._base.rows import chunk_rows, sum_rows
from jgmm._base.sweep import WHOLE, as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._covariance.families import Diag
from jgmm._expectation.stats import Stats, collect

RIDGE_FRACTION = 1e-6


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


def ridge_of(moments: tuple[jax.Array, jax.Array], fraction=RIDGE_FRACTION) -> jax.Array:
    """`relative_ridge`, from the mean and variance of each feature."""
    mean, variance = moments
    varies = variance > (4 * jnp.finfo(mean.dtype).eps * mean) ** 2
    # A constant feature has no scale of its own: it takes the others', or its own magnitude.
    sums = jnp.stack([where(varies, variance, 0), varies.astype(mean.dtype), mean**2]).sum(1)
    total, number, squares = sums
    magnitude = where(squares > 0, squares / mean.size, 1)
    others = where(number > 0, total / jnp.maximum(number, 1), magnitude)
    return fraction * where(varies, variance, others)


@program("sweep")
def _relative_ridge(X, sample_weight, fraction, sweep):
    return ridge_of(mean_and_variance(X, sample_weight, sweep), fraction)


def relative_ridge(
    X: ArrayLike, fraction: ArrayLike = RIDGE_FRACTION, sample_weight: ArrayLike | None = None
) -> jax.Array:
    """A ridge in proportion to the data's own variance: ``fraction * var(X_j)`` for each feature j.

    It is `fit`'s default (with 1e-6). Rescaling a feature rescales its ridge, so that the fit rescales
    with the data, where an absolute ridge replaces the answer for data in small units. A constant
    feature takes the mean variance of the others.

    Args:
        X: (n, d) rows, data units.
        fraction: of the variance, nonnegative.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.

    Returns:
        (d,) squared data units, for the ``ridge`` of `fit`, `em`, `step` and `m_step`.

    Raises:
        ValueError, TypeError: the data or the weights are not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> print(jgmm.relative_ridge(jnp.array([[0.0, 0.0], [2.0, 20.0]]), 0.01))
        [0.01 1.  ]
    """
    X, sample_weight = as_data(X, sample_weight)
    fraction = as_array("fraction", fraction)
    if fraction.ndim or (is_concrete(fraction) and not 0 <= float(fraction) < np.inf):
        raise ValueError(f"fraction must be a nonnegative number, got {fraction}.")
    return _relative_ridge(X, sample_weight, fraction.astype(X.dtype), as_sweep(X))
