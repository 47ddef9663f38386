"""One E-step, one M-step: what an iteration of expectation-maximisation is made of.

    E: r_nk = pi_k N(x_n | mu_k, Sigma_k) / p(x_n)            M: moments of the rows weighed by r_nk

(Dempster, Laird & Rubin 1977; Bishop 2006, sec. 9.2.2.) A component that the data no longer support
never poisons the others: where its covariance would not be positive definite it keeps the last good
one (a generalised M-step: the likelihood still does not fall), and its `ComponentStatus` says so.
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp

from jgmm._base.arrays import as_data, as_ridge, on_device
from jgmm._base.programs import program
from jgmm._base.status import ComponentStatus
from jgmm._base.sweep import as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._base.units import rows_in_units, unit_weights, units_of
from jgmm._covariance.families import as_family
from jgmm._covariance.family import Covariance, check_covariance
from jgmm._expectation.kernels import expectation
from jgmm._expectation.moments import frame_of_one
from jgmm._expectation.stats import Stats
from jgmm._mixture.frozen import as_frozen
from jgmm._mixture.gmm import GMM
from jgmm._mixture.units import in_units, shares_units
from jgmm._mixture.validity import check_features, check_mixture


def _select(good, new, old):
    """Leaf by leaf and component by component, ``new`` where ``good`` and ``old`` elsewhere."""
    return jax.tree.map(lambda a, b: where(jnp.reshape(good, (-1, *(1,) * (a.ndim - 1))[: a.ndim]), a, b), new, old)


def maximisation(stats, old, old_factor, ridge, frozen=(), old_code: Any = ComponentStatus.OK):
    """The M-step: a mixture, the factors of its covariances, and a status for each component.

    What is ``frozen`` stays as the mixture ``old`` has it, and the rest is the best beside that: covariances
    are taken about frozen means. A component is empty when its share of the weight is below rounding. One that
    had no weight before is not looked at: it keeps what it has, and its ``old_code``.
    """
    occupied = stats.weight > jnp.finfo(stats.center.dtype).eps * stats.total
    weight = where(occupied, stats.weight, 0)
    stats = Stats(stats.center, weight, stats.shift, stats.scatter, stats.total, stats.log_prob)
    weights = old.weights if "weights" in frozen else weight / weight.sum()
    means = old.means if "means" in frozen else stats.mean
    if "cov" in frozen:
        cov, factor, chosen = old.cov, old_factor, jnp.ones_like(occupied)
    else:
        cov, factor, chosen = _covariances(stats, means, occupied, old.cov, old_factor, ridge)
    code = where(chosen, ComponentStatus.OK, ComponentStatus.KEPT)
    code = where(occupied, code, where(old.weights > 0, ComponentStatus.EMPTY, old_code))
    return GMM(weights, means, cov), factor, code.astype(jnp.int32)


def _covariances(stats, means, occupied, old, old_factor, ridge):
    """The covariances about these means, their factors, and which are new: elsewhere the old ones stay.

    A covariance is good when every pivot of its factorisation stands clear of rounding: of the sums of
    products behind it (d eps Sigma_jj), and of the data themselves ((eps mu_j)^2).
    """
    eps = jnp.finfo(means.dtype).eps
    k, d = means.shape
    cov = old.learn(stats.recenter(means).scatter, stats.weight, ridge, old)
    factor = cov.factor()
    pivots = factor.pivots()
    resolution = d * eps * cov.variances(k, d) + (eps * means) ** 2
    good = (pivots > resolution).all(-1)
    chosen = good & occupied if cov.by_component(k, d) else good.all(keepdims=True)
    return _select(chosen, cov, old), _select(chosen, factor, old_factor), chosen


def _pooled(stats, family, ridge):
    """The covariance of all rows about their components' means: the first "last good value"."""
    scatter = stats.recenter(stats.mean).scatter.sum(0, keepdims=True)
    return family.learn(scatter, stats.weight.sum(keepdims=True), ridge)


@program("sweep")
def _e_step(params, X, sample_weight, sweep):
    def run(rows, params):
        frame = frame_of_one(params, *rows, sweep=sweep)
        return expectation(params, params.cov.factor(), frame, *rows, sweep=sweep)

    return sweep.on_shards(run)((X, sample_weight), params)


@program("family", "frozen")
def _m_step(stats, old, family, ridge, frozen=()):
    jax.eval_shape(family.learn, stats.scatter, stats.weight, ridge)  # an error names the scatter as it came
    if old is None:
        old = _last(stats, _pooled(stats, family, ridge))
    return maximisation(stats, old, old.cov.factor(), ridge, frozen)[0]


def _last(stats, cov):
    """The mixture before the step, as far as the statistics tell."""
    return GMM(stats.weight / stats.total, stats.center, cov)


def as_start(
    params: GMM, X: ArrayLike, sample_weight: ArrayLike | None, pad: bool = True
) -> tuple[GMM, jax.Array, jax.Array]:
    """Checked parameters, rows and weights of one dtype."""
    check_mixture(params)
    X, sample_weight = as_data(X, sample_weight, pad=pad)
    check_features(params, X)
    return params.astype(X.dtype), X, sample_weight


def to_units(params: GMM, X: jax.Array, sample_weight: jax.Array, ridge: Any = None) -> tuple[Any, GMM, jax.Array, Any]:
    """The factors of `units_of` the rows, and all of this in those units; ``None``, and all as it is, without any."""
    units = units_of(X, sample_weight, shares_units(type(params.cov)))
    if units is None:
        return None, params, X, ridge
    return units, in_units(params, units), *rows_in_units(X, ridge, units)


def e_step(
    params: GMM,
    X: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    chunk_size: int | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> Stats:
    """The statistics of the rows under the mixture (the E-step; Bishop 2006, eq. 9.13 and 9.27).

    Args:
        params: the mixture.
        X: (n, d) rows, data units; its dtype is the result's.
        sample_weight: (n,) nonnegative weights of the rows: zero means absent (whatever the row
            holds), two means twice; ``None`` for ones.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend. The
            extra memory is a few (chunk_size, k, d) arrays, never one of (n, k, d).
        axis_name: inside ``shard_map``, the mesh axis (or axes) over which the rows are spread: the statistics of them
            all (static). ``None``: of these rows, or of rows spread over devices as the sharding of ``X`` says.

    Returns:
        `Stats` about ``params.means``, of the rows and their total log density.

    Raises:
        ValueError, TypeError: the data or the parameters are not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> print(jgmm.e_step(params, jnp.ones((3, 2))).shift)
        [[3. 3.]]
    """
    params, X, sample_weight = as_start(params, X, sample_weight)
    units, params, X, _ = to_units(params, X, sample_weight)
    stats = _e_step(params, X, sample_weight, as_sweep(X, chunk_size, axis_name))
    return stats if units is None else stats.in_units(1 / units)


def m_step(stats: Stats, cov: str | type[Covariance] | Covariance, *, ridge: ArrayLike = 0.0) -> GMM:
    """The mixture of highest expected log-likelihood given the statistics (Bishop 2006, eq. 9.24-9.26).

        pi_k = N_k / N,  mu_k = mean of component k,  Sigma_k = scatter about mu_k / N_k + diag(ridge)

    Args:
        stats: the statistics of the rows.
        cov: the family to build: "full", "tied", "diag", "spherical", mclust's "VEV" and so on, or its class. Or the
            covariances (a `Full`, `Tied`, ...) of the last step: then a component whose new one would
            not be positive definite keeps its old one. Given a family, it takes the pooled one.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance.

    Returns:
        `GMM`. An empty component keeps ``stats.center`` as its mean, at weight zero.

    Raises:
        ValueError, TypeError: no `Stats`; an unknown family, or a scatter too poor for it; a bad ridge.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> X = jnp.array([[0.0], [2.0]])
        >>> stats = jgmm.e_step(jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Diag(jnp.ones((1, 1)))), X)
        >>> params = jgmm.m_step(stats, "diag")
        >>> print(params.means, params.cov.var)
        [[1.]] [[1.]]
    """
    if not isinstance(stats, Stats):
        raise TypeError(f"stats must be the jgmm.Stats that e_step returns, got {type(stats).__name__}.")
    ridge = as_ridge(ridge, stats.center)
    if isinstance(cov, Covariance):
        check_covariance(cov, *stats.center.shape)
        old = jax.tree.map(lambda x: on_device(x, stats.center.dtype), cov)
        return _m_step(stats, _last(stats, old), type(cov), ridge)
    return _m_step(stats, None, as_family("cov", cov), ridge)


def step(
    params: GMM,
    X: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    ridge: ArrayLike = 0.0,
    frozen: Collection[str] = (),
    chunk_size: int | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> GMM:
    """One EM iteration, pure: `m_step` after `e_step`. The likelihood does not fall (ridge 0).

    Args:
        params: the mixture.
        X: (n, d) rows, data units.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance that is not frozen.
        frozen: which of "weights", "means" and "cov" stay as they are (static).
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.
        axis_name: the mesh axis over which the rows are spread, as in `e_step`.

    Returns:
        `GMM` of the same family.

    Raises:
        ValueError, TypeError: the data, the parameters or an option are not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Spherical(jnp.ones(1)))
        >>> print(jgmm.step(params, jnp.array([[1.0], [3.0]])).means)
        [[2.]]
    """
    params, X, sample_weight = as_start(params, X, sample_weight)
    ridge, frozen = as_ridge(ridge, X), as_frozen(frozen)
    units, params, X, ridge = to_units(params, X, sample_weight, ridge)
    stats = _e_step(params, X, unit_weights(sample_weight), as_sweep(X, chunk_size, axis_name))
    new = _m_step(stats, params, type(params.cov), ridge, frozen)
    return new if units is None else in_units(new, 1 / units)
