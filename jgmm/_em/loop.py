"""Expectation-maximisation from a start to a fixed point: the only convergence loop.

It tries parameters (E-step), accepts them, and makes the next ones (M-step). What it returns belongs
together: the statistics and the log-likelihood are those of the parameters beside them. An accelerator
may propose others to try; they are taken back where the likelihood fell, for the cost of one E-step.
"""

import dataclasses
from collections.abc import Collection

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jgmm._base.arrays import as_ridge, is_concrete
from jgmm._base.lanes import side_by_side, while_loop
from jgmm._base.options import as_limit, check_optional_count
from jgmm._base.programs import program
from jgmm._base.pytree import pytree, varying_as, zeros_of
from jgmm._base.status import Status, supports
from jgmm._base.sweep import WHOLE, as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._base.units import unit_weights
from jgmm._em.accelerate import Anderson, Squarem, advance, as_accelerator, penalty, start_leaps
from jgmm._em.components import judged
from jgmm._em.implicit import attach
from jgmm._em.metric import Chart
from jgmm._em.result import Result, in_units
from jgmm._em.steps import as_start, maximisation, to_units
from jgmm._em.stop import GradientStop, LogProbStop, ParamStop, Step, Watch, as_rule, rounding
from jgmm._expectation.kernels import expectation, is_small
from jgmm._expectation.moments import frame_of
from jgmm._expectation.stats import Stats
from jgmm._mixture.frozen import as_frozen, still
from jgmm._mixture.gmm import GMM, definite, symmetric

RUNNING = -1  # the status inside the loop
DEFAULT_STOP = LogProbStop()
DEFAULT_MAX_STEPS = 1000


@pytree
class _Place:
    """Where a fit stands: an accepted mixture and what belongs to it. It is replaced as a whole: one vector."""

    params: GMM
    code: jax.Array
    sums: tuple  # its statistics, but for what never changes: weight, shift, scatter, log_prob
    step: tuple | None  # under acceleration the EM step from it, to which a refused leap falls back: params and code
    owed: jax.Array | None  # and `penalty`


@pytree
class _Loop:
    """What one iteration hands to the next."""

    tried: tuple  # params, factor and code of the next E-step
    place: jax.Array  # `_Place`, as a vector
    leaps: object  # what the accelerator keeps, or None
    rule: object
    watch: Watch
    num_steps: jax.Array
    status: jax.Array
    history: jax.Array | None


def data_status(frame):
    """RUNNING, or INVALID_DATA, from the `frame_of` the data."""
    clean = (frame.total > 0) & jnp.isfinite(frame.total) & jnp.isfinite(frame.scatter).all()
    return where(clean, RUNNING, Status.INVALID_DATA).astype(jnp.int32)


def start_status(params, factor, frame):
    """RUNNING, or why these parameters and the data of this `frame_of` are no start: `Status` codes."""
    weights = params.weights
    sound = jnp.all(weights >= 0) & (jnp.abs(weights.sum() - 1) <= 1e-4) & jnp.isfinite(params.means).all()
    sound &= symmetric(params).all() & definite(factor).all()
    status = data_status(frame)
    return where((status == RUNNING) & ~sound, Status.INVALID_START, status).astype(jnp.int32)


def _falls(before, place, log_prob, total):
    """Whether a leap to this place costs likelihood, beyond rounding; the ridge's share counts as its own."""
    kept = before.sums[-1] / total
    if place.owed is not None:
        weight = (before.params.weights + place.params.weights) / 2
        log_prob = log_prob - (weight * (place.owed - before.owed)).sum()
    return ~(log_prob >= kept - rounding(kept))


def run_em(
    params,
    X,
    sample_weight,
    stop,
    max_steps,
    ridge,
    history=None,
    accelerate=None,
    frozen=(),
    sweep=WHOLE,
    code=None,
    checked="",
    factor=None,
):
    """`em` on input of the right shapes: the loop.

    Each iteration takes the E-step of the parameters to try and the M-step from it, and accepts both if they are
    finite (and a leap if the likelihood did not fall). Then it asks the rule, and chooses what to try next. The
    first iteration tries the start itself (step -1 to 0), so that all is compiled once.

    What is not asked for costs nothing: without a ridge none is looked for, what is ``checked`` ("start", or "all" with
    the data) is not checked again, and without these a small problem has no need of the moments of all rows.
    ``code`` holds the component statuses of the start, and ``factor`` the factor of its covariances, if that is known.
    """
    sweep = dataclasses.replace(sweep, lanes=side_by_side(sweep.lanes))
    ridge = None if "cov" in frozen else ridge  # which would be added to nothing
    total = sweep.total(sample_weight.sum())
    framed = ridge is not None or checked != "all" or not is_small(params, X)
    frame = frame_of(type(params.cov), X, sample_weight, sweep) if framed else None

    def visit(data, params, factor, code):
        """The `_Place` of parameters, and the EM step from it: parameters, factor and component statuses."""
        X, sample_weight, total, frame, _, _, ridge, accelerate = data
        stats = expectation(params, factor, frame, X, sample_weight, sweep)
        added = jnp.zeros(X.shape[1], X.dtype) if ridge is None else ridge
        stats = dataclasses.replace(stats, total=total)
        new, new_factor, new_code = maximisation(stats, params, factor, added, frozen, code)
        new_code = new_code.astype(X.dtype)  # of one dtype with all that is replaced together
        sums = stats.weight, stats.shift, stats.scatter, stats.log_prob
        step = None if accelerate is None else (new, new_code)
        owed = None if accelerate is None or ridge is None else penalty(factor, ridge)
        return _Place(params, code, sums, step, owed), (new, new_factor, new_code)

    none = jnp.zeros_like(params.weights)  # nothing to report
    tried = params, params.cov.factor() if factor is None else factor, none if code is None else code.astype(none.dtype)
    data = X, sample_weight, total, frame, stop, max_steps, ridge, accelerate
    nowhere, unpack = ravel_pytree(zeros_of(visit, data, *tried)[0])

    def iterate(data, loop):
        _, _, total, _, stop, _, _, accelerate = data
        first = loop.num_steps < 0
        params, factor, code = loop.tried
        place, em_step = visit(data, params, factor, code)
        log_prob = place.sums[-1] / total
        finite = jnp.isfinite(log_prob)
        refused = jnp.zeros((), bool)
        if accelerate is not None:
            falls = _falls(unpack(loop.place), place, log_prob, total)
            refused = loop.leaps.proposal.leap & (~finite | falls)
        good = first | finite & ~refused
        vector = where(good, ravel_pytree(place)[0], loop.place)

        chart = Chart(params, factor)
        if accelerate is None:
            leaps, tried, rate = None, em_step, None
            gain = chart.gain(still(jax.tree.map(jnp.subtract, em_step[0], params), frozen))
        else:
            accepted = unpack(vector)
            leaps, tried = advance(accelerate, loop.leaps, chart, accepted.params, accepted.step, good, frozen)
            rate, gain = leaps.proposal.rate, leaps.proposal.gain
        news = good & ~first
        rise = where(news, log_prob - unpack(loop.place).sums[-1] / total, jnp.nan)
        rule, arrived, number = stop.update(loop.rule, Step(params, factor, em_step[0], gain, rate, rise))
        # Of one component the first step is the maximum, and what later ones seem to gain is rounding.
        arrived |= (params.weights > 0).sum() == 1
        watch, stalled = loop.watch.update(log_prob, number)
        rule, watch = jax.tree.map(lambda a, b: where(news, a, b), (rule, watch), (loop.rule, loop.watch))

        status = where(arrived, Status.CONVERGED, where(stalled, Status.STALLED, RUNNING))
        status = where(news, status, loop.status)
        broken = ~finite & ~refused & (loop.status == RUNNING)
        status = where(broken, Status.NON_FINITE, status).astype(jnp.int32)
        num_steps = loop.num_steps + 1
        shown = log_prob if accelerate is None else unpack(vector).sums[-1] / total
        record = None if history is None else loop.history.at[num_steps].set(shown, mode="drop")
        end = _Loop(tried, vector, leaps, rule, watch, num_steps, status, record)
        return varying_as(end, loop)

    def running(data, loop):
        *_, max_steps, _, _ = data
        return (loop.num_steps < 0) | (loop.status == RUNNING) & (loop.num_steps < max_steps)

    if checked == "all":
        status = jnp.full((), RUNNING, jnp.int32)
    else:
        status = data_status(frame) if checked else start_status(params, tried[1], frame)
    start = _Loop(
        tried,
        nowhere,
        None if accelerate is None else start_leaps(accelerate, params, frozen),
        stop.init(params),
        Watch.start(X.dtype),
        jnp.full((), -1, jnp.int32),
        status,
        None if history is None else jnp.full(history, jnp.nan, X.dtype),
    )
    end = while_loop(running, iterate, data, varying_as(start, params, data[2:]))
    place = unpack(end.place)
    weight, shift, scatter, log_prob = place.sums
    stats = Stats(place.params.means, weight, shift, scatter, total, log_prob)
    code = judged(place.code, place.params, ridge, frame)
    status = where(end.status == RUNNING, Status.MAX_STEPS, end.status)
    unsupported = ~supports(code) & (status < Status.DEGENERATE)
    status = where(unsupported, Status.DEGENERATE, status).astype(jnp.int32)
    return Result(place.params, stats, end.num_steps, status, code.astype(jnp.int32), end.history)


@program("history", "frozen", "sweep", "checked", loops=True)
def _run_em(params, X, sample_weight, stop, max_steps, ridge, history, accelerate, frozen, sweep, checked):
    def run(rows, given):
        (X, sample_weight), (params, stop, max_steps, ridge, accelerate) = rows, given
        return run_em(
            params, X, sample_weight, stop, max_steps, ridge, history, accelerate, frozen, sweep, checked=checked
        )

    constants = (X, sample_weight), (params, stop, max_steps, ridge, accelerate)
    result = sweep.on_shards(run)(*jax.lax.stop_gradient(constants))
    ridge = jnp.zeros(X.shape[1], X.dtype) if ridge is None else ridge
    return attach(result, params, X, sample_weight, ridge, sweep, frozen)


def em(
    params: GMM,
    X: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    stop: LogProbStop | ParamStop | GradientStop = DEFAULT_STOP,
    max_steps: ArrayLike = DEFAULT_MAX_STEPS,
    ridge: ArrayLike | None = None,
    history: int | None = None,
    chunk_size: int | None = None,
    accelerate: str | Squarem | Anderson | None = None,
    frozen: Collection[str] = (),
    axis_name: str | tuple[str, ...] | None = None,
) -> Result:
    """Iterate `step` from a start until the stop rule is met: one ``lax.while_loop``.

    Plain EM converges linearly: hundreds of steps where components overlap strongly. ``accelerate="anderson"``, the
    default of `fit`, takes about a tenth of them.

    Rows spread over the devices of a mesh are recognised outside ``jit``. Inside, and under ``grad``, JAX tells only of
    explicit axes (those of ``jax.make_mesh``): rows on automatic ones give the same numbers, but every device does all
    the work. With explicit axes `jgmm.init` and the mini-batches of `fit_gradient` want whole rows, and ``grad`` wants
    a ``jit`` around it. On the CPU XLA keeps small matrix products on one core: to keep all busy, each core can be a
    device (``jax.config.update("jax_num_cpu_devices", 2)`` before anything else), with the rows spread over them.

    Args:
        params: the start; its family is the result's.
        X: (n, d) rows, data units; its dtype is the result's.
        sample_weight: (n,) nonnegative weights of the rows: zero means absent, two means twice.
        stop: `LogProbStop` or `ParamStop`; its numbers are traced.
        max_steps: the most steps taken; traced.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance, unless they are
            frozen; traced. ``None`` for none. Unless it is tiny, the likelihood may fall slightly between steps.
        history: how many entries of history to keep (static), the start's first; ``None`` for none.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.
        accelerate: ``None`` for plain EM, "squarem" or "anderson", or an instance of `Squarem` or `Anderson`:
            fewer steps to the same optimum where EM is slow. Every sweep over the data counts as a step.
        frozen: which of "weights", "means" and "cov" stay as the start has them, bit for bit (static). The rest
            is fitted to them: covariances about frozen means, for one.
        axis_name: inside ``shard_map``, the mesh axis (or axes) over which the rows are spread: one fit of them all
            (static). ``None``: the rows are whole, or spread over devices as the sharding of ``X`` says. With it the
            fit has no derivative.

    Returns:
        `Result`; its statistics and log-likelihood are those of its parameters. Differentiable, forward and in
        reverse, by ``X``, ``sample_weight``, ``ridge`` and what is frozen: as a fixed point, as exactly as ``stop``
        lets it be one, whatever the rest of the start, in memory that does not grow with the steps. NaN where there
        is no derivative: the fit did not converge, or its fixed point is not isolated or is a saddle
        (`standard_errors` tells which; under a large ridge a saddle that is nearly none may pass for an optimum).
        To ``num_steps``, ``history`` and ``restarts`` everything is constant.

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
    ridge = None if ridge is None else as_ridge(ridge, X)
    units, params, X, ridge = to_units(params, X, sample_weight, ridge)
    options = as_rule(stop, X.dtype), as_limit(max_steps), ridge
    accelerate, frozen = as_accelerator(accelerate, X.dtype), as_frozen(frozen)
    checked = "all" if is_concrete((params, X, sample_weight)) else ""
    sample_weight = unit_weights(sample_weight)
    result = _run_em(params, X, sample_weight, *options, history, accelerate, frozen, sweep, checked)
    return result if units is None else in_units(result, 1 / units)
