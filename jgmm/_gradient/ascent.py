"""Maximum likelihood by gradient ascent: any optax optimiser in place of EM's steps.

The mean log-likelihood is maximised in unconstrained coordinates of the standardised data. Its gradient is
Fisher's identity, one E-step and no derivative through the rows:

    d log L(u) = d Q(u; stats),   Q = sum_k N_k (log pi_k - log det(2 pi Sigma_k) / 2) - tr(Sigma_k^-1 S_k) / 2

with N_k and S_k, about mu_k(u), the statistics of u itself (Xu & Jordan 1996, sec. 2).
"""

import dataclasses
from collections.abc import Collection
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jgmm._base.arrays import is_concrete
from jgmm._base.options import as_limit, check_key, check_optional_count
from jgmm._base.programs import program
from jgmm._base.pytree import pytree, zeros_of
from jgmm._base.status import ComponentStatus, Status
from jgmm._base.sweep import Sweep, as_sweep, on_automatic_axes
from jgmm._base.types import ArrayLike, where
from jgmm._covariance.factor import by_feature
from jgmm._covariance.projection import Projection
from jgmm._em.implicit import attach
from jgmm._em.iteration import RUNNING
from jgmm._em.loop import DEFAULT_MAX_STEPS, DEFAULT_STOP, start_status
from jgmm._em.metric import Chart, information
from jgmm._em.result import Result
from jgmm._em.steps import as_start, maximisation
from jgmm._em.stop import GradientStop, LogProbStop, ParamStop, Step, Watch, as_rule, rounding
from jgmm._expectation.kernels import expectation
from jgmm._expectation.moments import frame_on_shards, mean_and_variance
from jgmm._expectation.stats import Stats
from jgmm._mixture.coordinates import free_coordinates
from jgmm._mixture.frozen import as_frozen, still, with_frozen
from jgmm._mixture.gmm import GMM, log_normaliser

DEFAULT_OPTIMIZER = optax.lbfgs()
FORGET = 0.9  # of the slowest rate seen, a step: half in 7 steps, as the accelerators do


def expected_log_prob(params, factor, stats):
    """The expected log density of rows and components (), sum_n s_n E log p(x_n, z_n), from the rows' `Stats`."""
    scatter = stats.recenter(params.means).scatter
    rows = stats.weight * (jnp.log(params.weights) - log_normaliser(factor, params.num_features))
    if isinstance(scatter, Projection):
        return rows.sum() - scatter.squared_length(factor) / 2
    return rows.sum() - (factor.precision() * scatter).sum() / 2


def _coordinates(start, X, sample_weight, frozen, sweep):
    """`free_coordinates` that suit the data: those of their standardised rows."""
    center, variance = mean_and_variance(X, sample_weight, sweep)
    scale = jnp.sqrt(where(variance > 0, variance, 1))
    family = type(start.cov)
    if type(start.cov.transformed(scale)) is not family:  # one scale for all features, or another family
        scale = jnp.sqrt((scale**2).mean())
    held = type(start.cov.transformed(scale)) is family

    def scaled(cov, scale):
        return cov.transformed(scale) if held else cov

    def standardised(params):
        return GMM(params.weights, (params.means - center[None]) / by_feature(scale), scaled(params.cov, 1 / scale))

    build, to_vector = free_coordinates(standardised(start), frozen)

    def restored(vector):
        params = build(vector)
        params = GMM(params.weights, params.means * by_feature(scale) + center[None], scaled(params.cov, scale))
        return with_frozen(params, start, frozen)

    def to_scaled_vector(params):
        params = standardised(params)
        return to_vector(params, params.cov.factor())

    return restored, to_scaled_vector


def _objective(family, build, X, sample_weight, sweep):
    """vector (p,) -> (loss, gradient, parameters, factor, stats) on these rows, one E-step; and the loss alone."""
    rows = X, sample_weight
    frame = frame_on_shards(family, X, sample_weight, sweep)

    def on_shard(rows, given):
        (X, sample_weight), (params, factor, frame) = rows, given
        return expectation(params, factor, frame, X, sample_weight, sweep)

    e_step = sweep.on_shards(on_shard)

    def evaluate(vector):
        params = build(vector)
        factor = params.cov.factor()
        stats = e_step(rows, (params, factor, frame))

        def surrogate(vector):
            params = build(vector)
            return -expected_log_prob(params, params.cov.factor(), stats) / stats.total

        return -stats.log_prob / stats.total, jax.grad(surrogate)(vector), params, factor, stats

    @jax.custom_vjp
    def loss(vector):
        value = evaluate(vector)[0]
        return where(jnp.isnan(value), jnp.inf, value)  # to a line search: too far

    loss.defvjp(lambda vector: evaluate(vector)[:2], lambda gradient, bar: (bar * gradient,))
    return evaluate, loss


def _step(optimizer, loss, state, vector, value, gradient) -> tuple[Any, Any]:
    """(state, vector) after a step of the optimiser."""
    with jax.numpy_dtype_promotion("standard"):  # optax's own steps mix dtypes
        updates, state = optimizer.update(gradient, state, vector, value=value, grad=gradient, value_fn=loss)
        return state, optax.apply_updates(vector, updates)


def _pass(key, optimizer, objective, X, sample_weight, batch_size, state, vector):
    """(state, vector) after a step for each batch of the shuffled rows."""
    n = X.shape[0]
    order = jax.random.permutation(key, n)[: n - n % batch_size].reshape(-1, batch_size)
    taken = on_automatic_axes(lambda X, sample_weight, numbers: (X[numbers], sample_weight[numbers]))

    def one(carry, numbers):
        state, vector = carry
        rows, weight = taken(X, sample_weight, numbers)
        evaluate, loss = objective(rows, weight)
        value, gradient, *_ = evaluate(vector)
        present = weight.sum() > 0  # else there is nothing to learn from
        return _step(optimizer, loss, state, vector, value, where(present, gradient, 0)), None

    return jax.lax.scan(one, (state, vector), order)[0]


@pytree
class _Loop:
    """What one step hands to the next."""

    vector: jax.Array
    params: GMM
    stats: Stats
    code: jax.Array
    optimizer: object
    key: Any
    change: jax.Array  # of the vector, by the last step
    residual: jax.Array  # EM's own step, in the vector's coordinates
    rate: jax.Array  # the slowest of EM's rates seen
    rule: object
    watch: Watch
    num_steps: jax.Array
    status: jax.Array


def _rate(metric, loop: "_Loop", change: jax.Array, residual: jax.Array) -> jax.Array:
    """EM's slowest rate seen of late: <c, J c> / <c, c> along the last step c, J c = c + (residual - last)."""
    c, jc = metric(jnp.stack([change, change + residual - loop.residual]))
    size = c @ c
    seen = where(size > 0, (c @ jc) / where(size > 0, size, 1), -jnp.inf)
    return jnp.maximum(where(jnp.isinf(loop.rate), -1, FORGET * loop.rate), seen)


@program("optimizer", "batch_size", "frozen", "sweep", loops=True)
def _fit_gradient(params, X, sample_weight, stop, max_steps, key, optimizer, batch_size, frozen, sweep):
    """The loop: each iteration evaluates where the last led, asks the rule, and takes the optimiser's next step."""
    settings = params, X, sample_weight
    params, X, sample_weight, stop = jax.lax.stop_gradient((*settings, stop))
    build, to_vector = _coordinates(params, X, sample_weight, frozen, sweep)
    objective = partial(_objective, type(params.cov), build)
    evaluate, loss = objective(X, sample_weight, sweep=sweep)
    of_batch = partial(objective, sweep=Sweep(sweep.chunk_size))
    optimizer, ridge = optax.with_extra_args_support(optimizer), jnp.zeros(X.shape[1], X.dtype)

    def iterate(loop: _Loop):
        first = loop.num_steps < 0
        value, gradient, params, factor, stats = evaluate(loop.vector)
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all()
        new, _, code = maximisation(stats, params, factor, ridge, frozen)
        residual = to_vector(new) - loop.vector
        rate = _rate(information(build, loop.vector, factor), loop, loop.change, residual)
        rate = where(first, jnp.inf, rate)
        change = still(jax.tree.map(jnp.subtract, new, params), frozen)
        step = Step(params, factor, new, Chart(params, factor).gain(change), rate)
        rule, arrived, number = stop.update(loop.rule, step)
        watch, stalled = loop.watch.update(-value, number)
        # Some optimisers let the likelihood fall at first: the way back is progress, and no stall.
        fallen = -value < watch.log_prob - 100 * rounding(value)
        watch = dataclasses.replace(watch, log_prob=where(fallen, -value, watch.log_prob))
        status = where(arrived & ~first, Status.CONVERGED, where(stalled, Status.STALLED, RUNNING))
        status = where(first & (loop.status != RUNNING), loop.status, status)
        status = where(finite | (status > RUNNING) & first, status, Status.NON_FINITE).astype(jnp.int32)
        kept = (loop.params, loop.stats, loop.code)
        params, stats, code = jax.tree.map(lambda a, b: where(finite | first, a, b), (params, stats, code), kept)

        key = loop.key
        if batch_size is None:
            state, vector = _step(optimizer, loss, loop.optimizer, loop.vector, value, gradient)
        else:
            key, now = jax.random.split(key)
            rows = X, sample_weight, batch_size
            state, vector = _pass(now, optimizer, of_batch, *rows, loop.optimizer, loop.vector)
        change = vector - loop.vector
        num_steps = loop.num_steps + 1
        return _Loop(vector, params, stats, code, state, key, change, residual, rate, rule, watch, num_steps, status)

    def running(loop):
        return (loop.num_steps < 0) | (loop.status == RUNNING) & (loop.num_steps < max_steps)

    frame = frame_on_shards(type(params.cov), X, sample_weight, sweep)
    status = start_status(params, params.cov.factor(), frame)
    # A weight of zero has no logarithm: the gradient could never make it positive.
    status = where((status == RUNNING) & (params.weights <= 0).any(), Status.INVALID_START, status)
    vector = to_vector(params)
    unknown = zeros_of(evaluate, vector)[4]
    nothing, infinite = jnp.zeros_like(vector), jnp.full((), jnp.inf, X.dtype)
    start = _Loop(
        vector, params, unknown, jnp.zeros(params.weights.shape, jnp.int32), optimizer.init(vector), key,
        nothing, nothing, infinite, stop.init(params), Watch.start(X.dtype), jnp.full((), -1, jnp.int32), status,
    )  # fmt: skip
    end = jax.lax.while_loop(running, iterate, start)
    status = where(end.status == RUNNING, Status.MAX_STEPS, end.status)
    unsupported = (end.code != ComponentStatus.OK).any() & (status < Status.DEGENERATE)
    status = where(unsupported, Status.DEGENERATE, status).astype(jnp.int32)
    result = Result(end.params, end.stats, end.num_steps, status, end.code)
    return attach(result, *settings, ridge, sweep, frozen)


def fit_gradient(
    params: GMM,
    X: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
    max_steps: ArrayLike = DEFAULT_MAX_STEPS,
    stop: LogProbStop | ParamStop | GradientStop = DEFAULT_STOP,
    batch_size: int | None = None,
    key: jax.Array | None = None,
    chunk_size: int | None = None,
    frozen: Collection[str] = (),
) -> Result:
    """Maximise the likelihood from a start by an optax optimiser: one ``lax.while_loop``.

    The optimum is that of `em` without a ridge. After every step the rule is shown the step that EM would take
    from there, as it is under acceleration, so a tolerance means the same in both. There is no ridge: a component that
    collapses ends in a status.

    Args:
        params: the start; its family is the result's. No weight may be zero.
        X: (n, d) rows, data units; its dtype is the result's.
        sample_weight: (n,) nonnegative weights of the rows: zero means absent, two means twice.
        optimizer: an ``optax.GradientTransformation`` (static: make it once, outside ``jit``); ``None`` for
            ``optax.lbfgs()``, whose line search takes a sweep over the data or more in each step.
        max_steps: the most steps taken; traced. With ``batch_size`` a step is a pass over the batches.
        stop: `LogProbStop`, `ParamStop` or `GradientStop`; its numbers are traced.
        batch_size: rows of a mini-batch (static); ``None`` for all rows. Rows are reshuffled in each step; those
            that fill no batch are left out of it.
        key: a JAX random key, for the order of the rows; needed with ``batch_size``.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.
        frozen: which of "weights", "means" and "cov" stay as the start has them, bit for bit (static).

    Returns:
        `Result`; its statistics and log-likelihood are those of its parameters. Its derivative is that of `em`.

    Raises:
        ValueError, TypeError: the data, the start or an option is not what is described here. Inside
            ``jit``, where values are not known, the same ends in a `Status`.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.concatenate([jax.random.normal(jax.random.key(0), (50, 1)) + c for c in (-4.0, 4.0)])
        >>> result = jgmm.fit_gradient(jgmm.init.kmeans(jax.random.key(1), X, 2), X)
        >>> bool(result.converged), result.params.weights.round(2).tolist()
        (True, [0.5, 0.5])
    """
    params, X, sample_weight = as_start(params, X, sample_weight, pad=batch_size is None)  # batches are full
    if is_concrete(params.weights) and not (np.asarray(params.weights) > 0).all():
        raise ValueError(
            f"weights must be positive for a gradient fit, got {params.weights}: a weight of zero would stay zero. "
            "Leave that component out, or use em."
        )
    optimizer = DEFAULT_OPTIMIZER if optimizer is None else optimizer
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            f"optimizer must be an optax.GradientTransformation such as optax.adam(0.01), got {optimizer!r}."
        )
    batch_size = check_optional_count("batch_size", batch_size)
    if batch_size is not None and batch_size > len(X):
        raise ValueError(f"batch_size must be at most the {len(X)} rows, got {batch_size}. Use None for all rows.")
    if (batch_size is None) != (key is None):
        raise ValueError(
            "batch_size and key go together: a key shuffles the rows of the batches. Give both, or neither."
        )
    if key is not None:
        check_key(key)
    options = as_rule(stop, X.dtype), as_limit(max_steps), key
    static = optimizer, batch_size, as_frozen(frozen), as_sweep(X, chunk_size)
    return _fit_gradient(params, X, sample_weight, *options, *static)
