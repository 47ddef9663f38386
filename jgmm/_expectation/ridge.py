"""What keeps covariances positive definite: a ridge in proportion to a scale that a few rows cannot move.

    ridge_j = fraction * min(variance_j, spread_j^2)

The variance alone is whatever a far row makes of it. The spread of a feature is taken from the distances between
rows: that within which an eighth of them lie, so that up to eight clusters may be anywhere (Rousseeuw & Croux 1993,
eq. 1.4, who take a quarter).
"""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import as_array, as_data, is_concrete
from jgmm._base.programs import program
from jgmm._base.sample import sample_rows
from jgmm._base.sweep import WHOLE, as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._expectation.moments import mean_and_variance

FRACTION = 1e-6
ROWS = 64  # that distances are taken between: 2016 of them tell the spread to a tenth
FEATURES = 256  # at a time: 4 MB of distances in float32
SHARE = 1 / 8
STEPS = 14  # of bisection: to a hundredth of an octave in float32, a sixteenth in float64
NORMAL = 2**0.5 * NormalDist().inv_cdf((1 + SHARE) / 2)  # the distance of this share, of rows of variance one


def default_fraction(dtype, num_features: int) -> float:
    """1e-6, but never below rounding: what Cholesky's method may lose of a variance (Higham 2002, theorem 10.3)."""
    return max(FRACTION, 4 * num_features * float(jnp.finfo(dtype).eps))


def _spread(X, sample_weight):
    """The spread (d,) of rows: the standard deviation of normal ones. Zero where all are the same."""
    info = jnp.finfo(X.dtype)
    pair = sample_weight[:, None, None] * sample_weight[None, :, None]
    distance = where(pair > 0, jnp.abs(X[:, None] - X[None]), 0)
    differ = distance > 4 * info.eps * jnp.abs(X)[None]  # beyond rounding
    largest = distance.max((0, 1))
    # In octaves, so that the levels go with the units of X.
    octave = where(differ, jnp.log2(distance / largest[None, None]), jnp.inf)

    def within(level):
        return where(octave <= level[None, None], pair, 0).sum((0, 1))

    enough = SHARE * within(jnp.zeros_like(largest))

    def bisect(i, level):  # towards the highest octave within which distances are not enough
        higher = level + ((-info.minexp << STEPS) >> i) / 2**STEPS
        return where(within(higher) < enough, higher, level)

    level = jax.lax.fori_loop(1, STEPS + 1, bisect, jnp.full_like(enough, info.minexp))
    return where(enough > 0, largest * jnp.exp2(level) / NORMAL, 0)


def ridge_of(moments: tuple[jax.Array, jax.Array], fraction, spread=None) -> jax.Array:
    """The ridge (d,) from the mean, variance and spread of each feature; ``None`` for no spread."""
    mean, variance = moments
    varies = variance > (4 * jnp.finfo(mean.dtype).eps * mean) ** 2
    if spread is not None:
        variance = where(spread > 0, jnp.minimum(variance, spread**2), variance)
    # A constant feature has no scale of its own: it takes the others', or its own magnitude.
    sums = jnp.stack([where(varies, variance, 0), varies.astype(mean.dtype), mean**2]).sum(1)
    total, number, squares = sums
    magnitude = where(squares > 0, squares / mean.size, 1)
    others = where(number > 0, total / jnp.maximum(number, 1), magnitude)
    return fraction * where(varies, variance, others)


def ridge_of_rows(X, sample_weight, sweep=WHOLE, fraction=None):
    """`relative_ridge` of rows, which may be spread over a mesh."""

    def measure(rows, _):
        X, sample_weight = rows
        few, weight = sample_rows(0.5, X, sample_weight, ROWS, sweep)
        if few.shape[1] <= FEATURES:
            return _spread(few, weight)
        return jax.lax.map(lambda x: _spread(x[:, None], weight)[0], few.T, batch_size=FEATURES)

    fraction = default_fraction(X.dtype, X.shape[1]) if fraction is None else fraction
    spread = sweep.on_shards(measure)((X, sample_weight), ())
    return ridge_of(mean_and_variance(X, sample_weight, sweep), fraction, spread)


@program("sweep")
def _relative_ridge(X, sample_weight, fraction, sweep):
    return ridge_of_rows(X, sample_weight, sweep, fraction)


def relative_ridge(
    X: ArrayLike, fraction: ArrayLike | None = None, sample_weight: ArrayLike | None = None
) -> jax.Array:
    """A ridge in proportion to the data's own scale: ``fraction * min(variance_j, spread_j^2)`` for each feature j.

    It is `fit`'s default. In any direction a component narrower than a hundredth of a feature's scale is made wider by
    it (by half a hundredth or more), and reported as RIDGED: pass a smaller ridge where that is real.

    Rescaling a feature rescales its ridge, so that the fit rescales with the data, where an absolute ridge replaces the
    answer for data in small units. The spread is the distance within which an eighth of the pairs of rows lie, of those
    that differ, in units of what it is for normal rows (0.22 standard deviations): a few far rows, or a far cluster, do
    not move it. It is measured between 64 rows, drawn evenly by weight. A constant feature takes the mean scale of the
    others.

    Args:
        X: (n, d) rows, data units.
        fraction: nonnegative; ``None`` for 1e-6, or 4 d eps where that is more (eps of the dtype: in float32 from
            3 features on), which is about what rounding makes of a variance.
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
    fraction = default_fraction(X.dtype, X.shape[1]) if fraction is None else fraction
    fraction = as_array("fraction", fraction)
    if fraction.ndim or (is_concrete(fraction) and not 0 <= float(fraction) < np.inf):
        raise ValueError(f"fraction must be a nonnegative number, got {fraction}.")
    return _relative_ridge(X, sample_weight, fraction.astype(X.dtype), as_sweep(X))
