"""Expectation-maximisation from a start to a fixed point: the only convergence loop.

It tries parameters (E-step), accepts them, and makes the next ones (M-step). What it returns belongs
together: the statistics and the log-likelihood are those of the parameters beside them. An accelerator
may propose others to try; they are taken back where the likelihood fell, for the cost of one E-step.
"""

import dataclasses
from collections.abc import Collection

import jax
import jax.numpy as jnp

from jgmm._base.arrays import as_ridge, is_concrete
from jgmm._base.lanes import side_by_side, while_loop
from jgmm._base.options import as_limit, check_optional_count
from jgmm._base.programs import program
from jgmm._base.pytree import varying_as
from jgmm._base.status import Status
from jgmm._base.sweep import WHOLE, as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._base.units import unit_weights
from jgmm._em.accelerate import Anderson, Squarem, as_accelerator
from jgmm._em.implicit import attach
from jgmm._em.iteration import RUNNING, Rules, begin, finished, iterate, running
from jgmm._em.result import Result, in_units
from jgmm._em.steps import as_start, to_units
from jgmm._em.stop import GradientStop, LogProbStop, ParamStop, as_rule
from jgmm._expectation.kernels import expectation, is_small
from jgmm._expectation.moments import frame_of
from jgmm._mixture.frozen import as_frozen
from jgmm._mixture.gmm import GMM, definite, symmetric

DEFAULT_STOP = LogProbStop()
DEFAULT_MAX_STEPS = 1000


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

    The first iteration tries the start itself (step -1 to 0), so that all is compiled once.

    What is not asked for costs nothing: without a ridge none is looked for, what is ``checked`` ("start", or "all" with
    the data) is not checked again, and without these a small problem has no need of the moments of all rows.
    ``code`` holds the component statuses of the start, and ``factor`` the factor of its covariances, if that is known.
    """
    sweep = dataclasses.replace(sweep, lanes=side_by_side(sweep.lanes))
    ridge = None if "cov" in frozen else ridge  # which would be added to nothing
    total = sweep.total(sample_weight.sum())
    framed = ridge is not None or checked != "all" or not is_small(params, X)
    frame = frame_of(type(params.cov), X, sample_weight, sweep) if framed else None
    rules = Rules(stop, max_steps, ridge, accelerate, frozen)

    def once_more(data, loop):
        X, sample_weight, total, frame, rules = data
        params, factor, _ = loop.tried
        stats = expectation(params, factor, frame, X, sample_weight, sweep)
        return iterate(rules, loop, dataclasses.replace(stats, total=total))

    factor = params.cov.factor() if factor is None else factor
    if checked == "all":
        status = jnp.full((), RUNNING, jnp.int32)
    else:
        status = data_status(frame) if checked else start_status(params, factor, frame)
    start = varying_as(begin(rules, params, factor, code, status, history), params, total, frame, rules)
    data = X, sample_weight, total, frame, rules
    end = while_loop(lambda data, loop: running(data[-1], loop), once_more, data, start)
    return finished(rules, end, total, frame)


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
