"""Expectation-maximisation from a start to a fixed point: the only convergence loop.

It tries parameters (E-step), accepts them, and makes the next ones (M-step). What it returns belongs
together: the statistics and the log-likelihood are those of the parameters beside them.
"""

import jax
import jax.numpy as jnp

from jgmm import _checks
from jgmm._gmm import GMM
from jgmm._pytree import pytree
from jgmm._result import Result
from jgmm._stats import Stats
from jgmm._status import ComponentStatus, Status
from jgmm._steps import as_start, expectation, maximisation
from jgmm._stop import LogProbStop, Watch

RUNNING = -1  # the status inside the loop
DEFAULT_STOP = LogProbStop()
DEFAULT_MAX_STEPS = 1000


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
    sound &= jnp.all((factor.pivots() > 0) & jnp.isfinite(factor.pivots()))
    given = jnp.isfinite(X).all(-1) | (sample_weight == 0)
    clean = given.all() & jnp.isfinite(sample_weight).all() & (sample_weight >= 0).all() & (sample_weight.sum() > 0)
    status = jnp.where(clean, jnp.where(sound, RUNNING, Status.INVALID_START), Status.INVALID_DATA)
    return status.astype(jnp.int32)


def _mark_floored(code, stats, cov, factor, ridge):
    """The component statuses, FLOORED where in some direction the variance is (99 %) the ridge's."""
    zeros = jnp.zeros_like(stats.scatter)
    alone = type(cov).estimate(zeros, stats.weight, ridge).variances(*stats.center.shape)
    floored = factor.largest_share(alone) > 0.99
    return jnp.where((code == ComponentStatus.OK) & floored, ComponentStatus.FLOORED, code)


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
    history = _checks.check_optional_count("history", history)
    chunk_size = _checks.check_optional_count("chunk_size", chunk_size)
    options = _checks.as_rule(stop, X.dtype), _checks.as_limit(max_steps), _checks.as_ridge(ridge, X)
    return _run_em(params, X, sample_weight, *options, history=history, chunk_size=chunk_size)
