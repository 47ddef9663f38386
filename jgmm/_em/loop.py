"""Expectation-maximisation from a start to a fixed point: the only convergence loop.

It tries parameters (E-step), accepts them, and makes the next ones (M-step). What it returns belongs
together: the statistics and the log-likelihood are those of the parameters beside them. An accelerator
may propose others to try; they are taken back where the likelihood fell, for the cost of one E-step.
"""

import dataclasses
from collections.abc import Collection
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jgmm._base.arrays import as_ridge
from jgmm._base.lanes import side_by_side, while_loop
from jgmm._base.options import as_limit, check_optional_count
from jgmm._base.pytree import pytree, varying_as, zeros_of
from jgmm._base.status import ComponentStatus, Status
from jgmm._base.sweep import WHOLE, as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._covariance.factor import Factor
from jgmm._em.accelerate import Anderson, Squarem, advance, as_accelerator, penalty, start_leaps
from jgmm._em.implicit import attach
from jgmm._em.result import Result
from jgmm._em.steps import as_start, maximisation
from jgmm._em.stop import GradientStop, LogProbStop, ParamStop, Watch, as_rule, rounding
from jgmm._expectation.kernels import expectation
from jgmm._expectation.moments import frame_of, moments_of, ridge_of
from jgmm._expectation.stats import Stats
from jgmm._mixture.frozen import as_frozen
from jgmm._mixture.gmm import GMM, definite, symmetric

RUNNING = -1  # the status inside the loop
DEFAULT_STOP = LogProbStop()
DEFAULT_MAX_STEPS = 1000
COLLAPSED = 0.01  # of the data's variance: a tenth of its standard deviation


@pytree
class _Loop:
    """What one iteration hands to the next: the parameters and their statistics, and the ones to try."""

    params: GMM
    factor: object
    code: jax.Array
    stats: Stats
    tried: tuple  # params, factor and code of the next step
    leaps: Any  # what the accelerator keeps, or None
    rule: Any
    watch: Watch
    num_steps: jax.Array
    status: jax.Array
    history: jax.Array | None


def start_status(params, factor, X, sample_weight, sweep=WHOLE):
    """RUNNING, or why these parameters and data are no start: `Status` codes."""
    weights = params.weights
    sound = jnp.all(weights >= 0) & (jnp.abs(weights.sum() - 1) <= 1e-4) & jnp.isfinite(params.means).all()
    sound &= symmetric(params).all() & definite(factor).all()
    given = jnp.isfinite(X).all(-1) | (sample_weight == 0)
    bad = ~(given.all() & jnp.isfinite(sample_weight).all() & (sample_weight >= 0).all())
    bad, total = sweep.total((bad.astype(jnp.int32), sample_weight.sum()))
    clean = (bad == 0) & (total > 0)
    status = jnp.where(clean, jnp.where(sound, RUNNING, Status.INVALID_START), Status.INVALID_DATA)
    return status.astype(jnp.int32)


def _mark_floored(code: jax.Array, stats: Stats, factor: Factor, ridge: jax.Array, frame: Stats) -> jax.Array:
    """The component statuses, FLOORED where in some direction the variance is (99 %) the ridge's.

    Not where the ridge is more than a hundredth of the data's variance: a component that thin has not
    collapsed, it was kept wide on purpose, and a larger ridge would only have a larger share in it.
    """
    floor = jnp.where(ridge <= ridge_of(moments_of(frame), COLLAPSED), ridge, 0)
    floored = factor.largest_share(jnp.broadcast_to(floor, stats.center.shape)) > 0.99
    return jnp.where((code == ComponentStatus.OK) & floored, ComponentStatus.FLOORED, code)


def _falls(loop, params, factor, stats, ridge):
    """Whether a leap to these parameters costs likelihood, beyond rounding; the ridge's share counts as its own."""
    weight = (loop.params.weights + params.weights) / 2
    owed = weight * (penalty(factor, ridge) - penalty(loop.factor, ridge))
    kept = loop.stats.log_prob / loop.stats.total
    return ~(stats.log_prob / stats.total - owed.sum() >= kept - rounding(kept))


def run_em(params, X, sample_weight, stop, max_steps, ridge, history, accelerate=None, frozen=(), sweep=WHOLE):
    """`em` on checked input: the loop.

    Each iteration takes the E-step of the parameters to try, accepts them if it is finite (and a leap if
    the likelihood did not fall), and makes the next ones; the first tries the start itself (step -1 to 0),
    so that the E-step is compiled once.
    """
    sweep = dataclasses.replace(sweep, lanes=side_by_side(sweep.lanes))
    frame = frame_of(type(params.cov), X, sample_weight, sweep)
    ridge = jnp.zeros_like(ridge) if "cov" in frozen else ridge  # which is added to nothing

    def collected(data, params, factor):
        X, sample_weight, frame, *_ = data
        return expectation(params, factor, frame, X, sample_weight, sweep)

    def iterate(data, loop: _Loop):
        *_, stop, _, ridge, accelerate = data
        first = loop.num_steps < 0
        params, factor, code = loop.tried
        stats = collected(data, params, factor)
        finite = jnp.isfinite(stats.log_prob / stats.total)
        good = finite | first
        if accelerate is not None:
            falls = ~finite | _falls(loop, params, factor, stats, ridge)
            refused = loop.leaps.proposal.leap & falls
            good, finite = good & ~refused, finite | refused
        tried = params, factor, code, stats
        kept = loop.params, loop.factor, loop.code, loop.stats
        accepted = jax.tree.map(lambda a, b: jnp.where(good, a, b), tried, kept)
        shown = stats if accelerate is None else accepted[3]
        log_prob = shown.log_prob / shown.total

        em_step = maximisation(accepted[3], accepted[0], accepted[1], ridge, frozen)
        if accelerate is None:  # the step that led here
            leaps, tried, last = None, em_step, (loop.params, loop.factor, params)
        else:  # the step that EM would take from here
            leaps, tried = advance(accelerate, loop.leaps, *accepted[:2], em_step=em_step, kept=good, frozen=frozen)
            last = *accepted[:2], em_step[0], leaps.proposal.rate
        rule, arrived, number = stop.update(loop.rule, *last)
        rule = jax.tree.map(lambda a, b: jnp.where(first, a, b), loop.rule, rule)
        watch, stalled = loop.watch.update(log_prob, where(first, jnp.inf, number))

        status = jnp.where(arrived, Status.CONVERGED, jnp.where(stalled, Status.STALLED, RUNNING))
        status = jnp.where(first, loop.status, status)
        status = jnp.where(finite | (status > RUNNING) & first, status, Status.NON_FINITE).astype(jnp.int32)
        num_steps = loop.num_steps + 1
        record = None if loop.history is None else loop.history.at[num_steps].set(log_prob, mode="drop")
        params, factor, code, stats = accepted
        end = _Loop(params, factor, code, stats, tried, leaps, rule, watch, num_steps, status, record)
        return varying_as(end, loop)

    def running(data, loop):
        *_, max_steps, _, _ = data
        return (loop.num_steps < 0) | (loop.status == RUNNING) & (loop.num_steps < max_steps)

    factor, code = params.cov.factor(), jnp.zeros(params.weights.shape, jnp.int32)
    data = X, sample_weight, frame, stop, max_steps, ridge, accelerate
    start = _Loop(
        params,
        factor,
        code,
        zeros_of(collected, data, params, factor),
        (params, factor, code),
        None if accelerate is None else start_leaps(accelerate, params, factor, frozen),
        stop.init(params),
        Watch.start(X.dtype),
        jnp.full((), -1, jnp.int32),
        start_status(params, factor, X, sample_weight, sweep),
        None if history is None else jnp.full(history, jnp.nan, X.dtype),
    )
    end = while_loop(running, iterate, data, varying_as(start, params, frame, data[3:]))
    code = _mark_floored(end.code, end.stats, end.factor, ridge, frame)
    status = where(end.status == RUNNING, Status.MAX_STEPS, end.status)
    unsupported = (code != ComponentStatus.OK).any() & (status < Status.DEGENERATE)
    status = jnp.where(unsupported, Status.DEGENERATE, status).astype(jnp.int32)
    return Result(end.params, end.stats, end.num_steps, status, code, end.history)


@partial(jax.jit, static_argnames=("history", "frozen", "sweep"))
def _run_em(params, X, sample_weight, stop, max_steps, ridge, history, accelerate, frozen, sweep):
    def run(rows, given):
        (X, sample_weight), (params, stop, max_steps, ridge, accelerate) = rows, given
        return run_em(params, X, sample_weight, stop, max_steps, ridge, history, accelerate, frozen, sweep)

    constants = (X, sample_weight), (params, stop, max_steps, ridge, accelerate)
    result = sweep.on_shards(run)(*jax.lax.stop_gradient(constants))
    return attach(result, params, X, sample_weight, ridge, sweep, frozen)


def em(
    params: GMM,
    X: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    stop: LogProbStop | ParamStop | GradientStop = DEFAULT_STOP,
    max_steps: ArrayLike = DEFAULT_MAX_STEPS,
    ridge: ArrayLike = 0.0,
    history: int | None = None,
    chunk_size: int | None = None,
    accelerate: str | Squarem | Anderson | None = None,
    frozen: Collection[str] = (),
    axis_name: str | tuple[str, ...] | None = None,
) -> Result:
    """Iterate `step` from a start until the stop rule is met: one ``lax.while_loop``.

    Args:
        params: the start; its family is the result's.
        X: (n, d) rows, data units; its dtype is the result's.
        sample_weight: (n,) nonnegative weights of the rows: zero means absent, two means twice.
        stop: `LogProbStop` or `ParamStop`; its numbers are traced.
        max_steps: the most steps taken; traced.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance, unless they are
            frozen; traced. With a ridge that is not tiny the likelihood may fall slightly between steps.
        history: how many entries of history to keep (static), the start's first; ``None`` for none.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.
        accelerate: ``None`` for plain EM, "squarem" or "anderson", or an instance of `Squarem` or `Anderson`:
            fewer steps to the same optimum where EM is slow. Every sweep over the data counts as a step.
        frozen: which of "weights", "means" and "cov" stay as the start has them, bit for bit (static). The rest
            is fitted to them: covariances about frozen means, for one.
        axis_name: inside ``shard_map``, the mesh axis (or axes) over which the rows are spread: one fit of them all
            (static). ``None``: the rows are whole, or spread over devices as the sharding of ``X`` says.

    Returns:
        `Result`; its statistics and log-likelihood are those of its parameters. Differentiable, forward and in
        reverse, by ``X``, ``sample_weight``, ``ridge`` and what is frozen: as a fixed point, as exactly as ``stop``
        lets it be one, whatever the rest of the start, in memory that does not grow with the steps. NaN where there
        is no derivative: the fit did not converge, or its fixed point is not isolated or is a saddle
        (`standard_errors` tells which).

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
    history = check_optional_count("history", history)
    sweep = as_sweep(X, chunk_size, axis_name)
    options = as_rule(stop, X.dtype), as_limit(max_steps), as_ridge(ridge, X)
    accelerate, frozen = as_accelerator(accelerate, X.dtype), as_frozen(frozen)
    return _run_em(params, X, sample_weight, *options, history, accelerate, frozen, sweep)
