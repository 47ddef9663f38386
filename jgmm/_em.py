"""Expectation-maximisation: one E-step, one M-step, and the only convergence loop.

    E: r_nk = pi_k N(x_n | mu_k, Sigma_k) / p(x_n)            M: moments of the rows weighed by r_nk

(Dempster, Laird & Rubin 1977; Bishop 2006, sec. 9.2.2.) The loop runs M, then E, so that the
statistics and the log-likelihood that it returns are those of the parameters that it returns.

A component that the data no longer support never poisons the others: where its covariance would
not be positive definite it keeps the last good one (a generalised M-step: the likelihood still does
not fall), and its `ComponentStatus` says so.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jgmm import _checks
from jgmm._cov import FAMILIES, Covariance
from jgmm._gmm import GMM, log_components, mix, residuals
from jgmm._pytree import pytree
from jgmm._result import Result
from jgmm._rows import chunk_rows, sum_rows
from jgmm._stats import Stats, collect
from jgmm._status import ComponentStatus, Status
from jgmm._stop import LogProbStop, Watch

RUNNING = -1  # the status inside the loop
DEFAULT_STOP = LogProbStop()
DEFAULT_MAX_STEPS = 1000


def expectation(params, factor, X, sample_weight, chunk_size) -> Stats:
    """The E-step, given the factors of the covariances."""

    def rows(X, weight):
        # Rows of weight zero are absent, whatever they hold: 0 * NaN would be NaN.
        X = jnp.where(weight[:, None] > 0, X, params.means[0])
        diff = residuals(params, X)
        log_prob, resp = mix(params.weights, log_components(params, factor, diff))
        return collect(type(params.cov), diff, params.means, resp, log_prob, weight)

    chunk = chunk_size or chunk_rows(*params.means.shape)
    sums = sum_rows(rows, X, sample_weight, chunk)
    return Stats(params.means, sums.weight, sums.shift, sums.scatter, sums.total, sums.log_prob)


def _select(good, new, old):
    """Leaf by leaf and component by component, ``new`` where ``good`` and ``old`` elsewhere."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.reshape(good, (-1,) + (1,) * (a.ndim - 1)), a, b), new, old)


def maximisation(stats, old, old_factor, ridge):
    """The M-step: parameters, the factors of their covariances, and a status for each component.

    A component is empty when its share of the weight is below rounding. A covariance is good when
    every pivot of its factorisation stands clear of rounding: of the sums of products behind it
    (d eps Sigma_jj), and of the data themselves ((eps mu_j)^2).
    """
    family, eps = type(old), jnp.finfo(stats.center.dtype).eps
    k, d = stats.center.shape
    occupied = stats.weight > eps * stats.total
    weight = jnp.where(occupied, stats.weight, 0)
    stats = Stats(stats.center, weight, stats.shift, stats.scatter, stats.total, stats.log_prob)
    means = stats.mean

    cov = family.estimate(stats.recenter(means).scatter, weight, ridge)
    factor = cov.factor()
    pivots = factor.pivots()
    resolution = d * eps * cov.variances(k, d) + (eps * means) ** 2
    good = (pivots > resolution).all(-1)
    shared = pivots.shape[0] < k
    chosen = good.all(keepdims=True) if shared else good & occupied

    cov = family.from_rows(_select(chosen, cov.rows(), old.rows()))
    factor = _select(chosen, factor, old_factor)
    code = jnp.where(chosen, ComponentStatus.OK, ComponentStatus.KEPT)
    code = jnp.where(occupied, code, ComponentStatus.EMPTY).astype(jnp.int32)
    return GMM(weight / weight.sum(), means, cov), factor, code


def _mark_floored(code, stats, cov, factor, ridge):
    """The component statuses, FLOORED where in some direction the variance is (99 %) the ridge's."""
    zeros = jnp.zeros_like(stats.scatter)
    alone = type(cov).estimate(zeros, stats.weight, ridge).variances(*stats.center.shape)
    floored = factor.largest_share(alone) > 0.99
    return jnp.where((code == ComponentStatus.OK) & floored, ComponentStatus.FLOORED, code)


def _pooled(stats, family, ridge):
    """The covariance of all rows about their components' means: the first "last good value"."""
    scatter = stats.recenter(stats.mean).scatter.sum(0, keepdims=True)
    return family.estimate(scatter, stats.weight.sum(keepdims=True), ridge)


@pytree
class _Loop:
    """What one iteration hands to the next: the parameters and their statistics, and the ones to try."""

    params: GMM
    factor: object
    code: jax.Array
    stats: Stats
    tried: tuple  # params, factor and code of the next step
    rule: object
    watch: Watch
    num_steps: jax.Array
    status: jax.Array
    history: jax.Array | None


def _start_status(params, factor, X, sample_weight):
    """RUNNING, or why these parameters and data are no start: `Status` codes."""
    weights = params.weights
    sound = jnp.all(weights >= 0) & (jnp.abs(weights.sum() - 1) <= 1e-4) & jnp.isfinite(params.means).all()
    sound &= jnp.all(factor.pivots() > 0)
    given = jnp.isfinite(X).all(-1) | (sample_weight == 0)
    clean = given.all() & jnp.isfinite(sample_weight).all() & (sample_weight >= 0).all() & (sample_weight.sum() > 0)
    status = jnp.where(clean, jnp.where(sound, RUNNING, Status.INVALID_START), Status.INVALID_DATA)
    return status.astype(jnp.int32)


def run_em(params, X, sample_weight, stop, max_steps, ridge, history, chunk_size) -> Result:
    """`em` on checked input: the loop.

    Each iteration takes the E-step of the parameters to try, accepts them if it is finite, and makes
    the next ones; the first tries the start itself (step -1 to 0), so that the E-step is compiled once.
    """

    def collected(params, factor):
        return expectation(params, factor, X, sample_weight, chunk_size)

    def iterate(loop):
        first = loop.num_steps < 0
        params, factor, code = loop.tried
        stats = collected(params, factor)
        log_prob = stats.log_prob / stats.total
        rule, arrived, number = stop.update(loop.rule, loop.params, loop.factor, params)
        rule = jax.tree.map(lambda a, b: jnp.where(first, a, b), loop.rule, rule)
        watch, stalled = loop.watch.update(log_prob, jnp.where(first, jnp.inf, number))

        status = jnp.where(arrived, Status.CONVERGED, jnp.where(stalled, Status.STALLED, RUNNING))
        status = jnp.where(first, loop.status, status)
        finite = jnp.isfinite(log_prob)
        status = jnp.where(finite | (status > RUNNING) & first, status, Status.NON_FINITE).astype(jnp.int32)
        num_steps = loop.num_steps + 1
        record = None if history is None else loop.history.at[num_steps].set(log_prob, mode="drop")

        accepted = params, factor, code, stats
        kept = loop.params, loop.factor, loop.code, loop.stats
        accepted = jax.tree.map(lambda a, b: jnp.where(finite | first, a, b), accepted, kept)
        tried = maximisation(stats, params.cov, factor, ridge)
        return _Loop(*accepted, tried, rule, watch, num_steps, status, record)

    def running(loop):
        return (loop.num_steps < 0) | (loop.status == RUNNING) & (loop.num_steps < max_steps)

    factor, code = params.cov.factor(), jnp.zeros(params.weights.shape, jnp.int32)
    unknown = jax.eval_shape(collected, params, factor)
    start = _Loop(
        params,
        factor,
        code,
        jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), unknown),
        (params, factor, code),
        stop.init(params),
        Watch.start(X.dtype),
        jnp.full((), -1, jnp.int32),
        _start_status(params, factor, X, sample_weight),
        None if history is None else jnp.full(history, jnp.nan, X.dtype),
    )
    end = jax.lax.while_loop(running, iterate, start)
    code = _mark_floored(end.code, end.stats, end.params.cov, end.factor, ridge)
    status = jnp.where(end.status == RUNNING, Status.MAX_STEPS, end.status)
    unsupported = (code != ComponentStatus.OK).any() & (status < Status.DEGENERATE)
    status = jnp.where(unsupported, Status.DEGENERATE, status).astype(jnp.int32)
    return Result(end.params, end.stats, end.num_steps, status, code, end.history)


_run_em = jax.jit(run_em, static_argnames=("history", "chunk_size"))


@partial(jax.jit, static_argnames="chunk_size")
def _e_step(params, X, sample_weight, chunk_size):
    return expectation(params, params.cov.factor(), X, sample_weight, chunk_size)


@partial(jax.jit, static_argnames="family")
def _m_step(stats, old, family, ridge):
    old = _pooled(stats, family, ridge) if old is None else old
    return maximisation(stats, old, old.factor(), ridge)[0]


def as_start(params, X, sample_weight):
    """Checked parameters, rows and weights of one dtype."""
    X, sample_weight = _checks.as_data(X, sample_weight)
    params.check()
    _checks.check_features(params, X)
    return params.astype(X.dtype), X, sample_weight


def e_step(params: GMM, X, sample_weight=None, *, chunk_size: int | None = None) -> Stats:
    """The statistics of the rows under the mixture (the E-step; Bishop 2006, eq. 9.13 and 9.27).

    Args:
        params: the mixture.
        X: (n, d) rows, data units; its dtype is the result's.
        sample_weight: (n,) nonnegative weights of the rows: zero means absent (whatever the row
            holds), two means twice; ``None`` for ones.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend. The
            extra memory is a few (chunk_size, k, d) arrays, never one of (n, k, d).

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
    return _e_step(params, X, sample_weight, chunk_size)


def m_step(stats: Stats, cov, *, ridge=0.0) -> GMM:
    """The mixture of highest expected log-likelihood given the statistics (Bishop 2006, eq. 9.24-9.26).

        pi_k = N_k / N,  mu_k = mean of component k,  Sigma_k = scatter about mu_k / N_k + diag(ridge)

    Args:
        stats: the statistics of the rows.
        cov: the family to build: "full", "tied", "diag", "spherical" or its class. Or the
            covariances (a `Full`, `Tied`, ...) of the last step: then a component whose new one would
            not be positive definite keeps its old one. Given a family, it takes the pooled one.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance.

    Returns:
        `GMM`. An empty component keeps ``stats.center`` as its mean, at weight zero.

    Raises:
        ValueError, TypeError: an unknown family, or a scatter too poor for it; a bad ridge.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> X = jnp.array([[0.0], [2.0]])
        >>> stats = jgmm.e_step(jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Diag(jnp.ones((1, 1)))), X)
        >>> params = jgmm.m_step(stats, "diag")
        >>> print(params.means, params.cov.var)
        [[1.]] [[1.]]
    """
    ridge = _checks.as_ridge(ridge, stats.center)
    if isinstance(cov, Covariance):
        old = jax.tree.map(lambda x: jnp.asarray(x, stats.center.dtype), cov)
        return _m_step(stats, old, type(cov), ridge)
    return _m_step(stats, None, _checks.check_choice("cov", cov, FAMILIES), ridge)


def step(params: GMM, X, sample_weight=None, *, ridge=0.0, chunk_size: int | None = None) -> GMM:
    """One EM iteration, pure: `m_step` after `e_step`. The likelihood does not fall (ridge 0).

    Args:
        params: the mixture.
        X: (n, d) rows, data units.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.

    Returns:
        `GMM` of the same family.

    Raises:
        ValueError, TypeError: the data or the parameters are not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Spherical(jnp.ones(1)))
        >>> print(jgmm.step(params, jnp.array([[1.0], [3.0]])).means)
        [[2.]]
    """
    return m_step(e_step(params, X, sample_weight, chunk_size=chunk_size), params.cov, ridge=ridge)


def em(
    params: GMM,
    X,
    sample_weight=None,
    *,
    stop=DEFAULT_STOP,
    max_steps=DEFAULT_MAX_STEPS,
    ridge=0.0,
    history: int | None = None,
    chunk_size: int | None = None,
) -> Result:
    """Iterate `step` from a start until the stop rule is met: one ``lax.while_loop``.

    Args:
        params: the start; its family is the result's.
        X: (n, d) rows, data units; its dtype is the result's.
        sample_weight: (n,) nonnegative weights of the rows: zero means absent, two means twice.
        stop: `LogProbStop` or `ParamStop`; its numbers are traced.
        max_steps: the most steps taken; traced.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance; traced.
            With a ridge that is not tiny the likelihood may fall slightly between steps.
        history: how many entries of history to keep (static), the start's first; ``None`` for none.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.

    Returns:
        `Result`; its statistics and log-likelihood are those of its parameters.

    Raises:
        ValueError, TypeError: the data, the start or an option is not what is described here. Inside
            ``jit``, where values are not known, the same ends in a `Status`.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.concatenate([jax.random.normal(jax.random.key(0), (50, 1)) + c for c in (-4.0, 4.0)])
        >>> result = jgmm.em(jgmm.init.kmeans(jax.random.key(1), X, 2), X)
        >>> bool(result.converged), result.params.weights.round(2).tolist()
        (True, [0.5, 0.5])
    """
    params, X, sample_weight = as_start(params, X, sample_weight)
    if history is not None:
        _checks.check_count("history", history, least=1)
    options = _checks.as_rule(stop, X.dtype), _checks.as_limit(max_steps), _checks.as_ridge(ridge, X)
    return _run_em(params, X, sample_weight, *options, history=history, chunk_size=chunk_size)
