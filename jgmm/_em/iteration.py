"""One iteration of EM, but for its E-step; and what comes before the first and after the last.

    loop = begin(rules, start)
    while running(rules, loop):  loop = iterate(rules, loop, E-step of loop.tried)
    result = finished(rules, loop)

So it does not matter where statistics come from: rows in memory (`loop`), or a stream of them.
"""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jgmm._base.pytree import pytree, static, varying_as, zeros_of
from jgmm._base.status import Status, supports
from jgmm._base.types import where
from jgmm._em.accelerate import advance, penalty, start_leaps
from jgmm._em.components import judged
from jgmm._em.metric import Chart
from jgmm._em.result import Result
from jgmm._em.steps import maximisation
from jgmm._em.stop import Step, Watch, rounding
from jgmm._expectation.stats import Stats, no_scatter
from jgmm._mixture.frozen import still
from jgmm._mixture.gmm import GMM

RUNNING = -1  # the status inside the loop


@pytree
class Rules:
    """What stays the same in all iterations of a fit.

    Args:
        stop: the stop rule.
        max_steps: () the step limit.
        ridge: (d,), or ``None``.
        accelerate: the accelerator, or ``None``.
        frozen: the parts of the mixture that are not fitted.
    """

    stop: object
    max_steps: jax.Array
    ridge: jax.Array | None
    accelerate: object
    frozen: tuple = static(default=())


@pytree
class _Place:
    """Where a fit stands: an accepted mixture and what belongs to it. It is replaced as a whole: one vector."""

    params: GMM
    code: jax.Array
    sums: tuple  # its statistics, but for what never changes: weight, shift, scatter, log_prob
    step: tuple | None  # under acceleration the EM step from it, to which a refused leap falls back: params and code
    owed: jax.Array | None  # and `penalty`


@pytree
class Loop:
    """What one iteration hands to the next."""

    tried: tuple  # params, factor and code of the next E-step
    place: jax.Array  # `_Place`, as a vector
    leaps: object  # what the accelerator keeps, or None
    rule: object
    watch: Watch
    num_steps: jax.Array
    status: jax.Array
    history: jax.Array | None


def _nowhere(rules, params, factor):
    """A `_Place` of zeros as a vector, and what makes a `_Place` of such a vector; params and factor as in `tried`."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    sums = zeros.weights, zeros.means, no_scatter(params, factor), jnp.zeros((), zeros.means.dtype)
    step = None if rules.accelerate is None else (zeros, zeros.weights)
    owed = None
    if rules.accelerate is not None and rules.ridge is not None:
        owed = zeros_of(penalty, factor, rules.ridge)
    return ravel_pytree(_Place(zeros, zeros.weights, sums, step, owed))


def begin(rules, params, factor, code, status, history) -> Loop:
    """The state before the first iteration, which tries the start itself (step -1 to 0).

    Args:
        rules: the `Rules`.
        params: the start.
        factor: the factor of its covariances.
        code: (k,) its component statuses, or ``None`` where there is nothing to report.
        status: () RUNNING, or the `Status` of a start that is none.
        history: how many entries of history to keep, or ``None``.
    """
    dtype = params.weights.dtype  # of the code as well: one dtype with all that is replaced together
    return Loop(
        (params, factor, jnp.zeros_like(params.weights) if code is None else code.astype(dtype)),
        _nowhere(rules, params, factor)[0],
        None if rules.accelerate is None else start_leaps(rules.accelerate, params, rules.frozen),
        rules.stop.init(params),
        Watch.start(dtype),
        jnp.full((), -1, jnp.int32),
        status,
        None if history is None else jnp.full(history, jnp.nan, dtype),
    )


def running(rules, loop) -> jax.Array:
    """() bool: whether another iteration is due."""
    return (loop.num_steps < 0) | (loop.status == RUNNING) & (loop.num_steps < rules.max_steps)


def _visited(rules, tried, stats):
    """The `_Place` of parameters with these statistics, and the EM step from it: parameters, factor and codes."""
    params, factor, code = tried
    added = jnp.zeros_like(params.means[0]) if rules.ridge is None else rules.ridge
    new, new_factor, new_code = maximisation(stats, params, factor, added, rules.frozen, code)
    new_code = new_code.astype(code.dtype)
    sums = stats.weight, stats.shift, stats.scatter, stats.log_prob
    step = None if rules.accelerate is None else (new, new_code)
    owed = None if rules.accelerate is None or rules.ridge is None else penalty(factor, rules.ridge)
    return _Place(params, code, sums, step, owed), (new, new_factor, new_code)


def _falls(before, place, log_prob, total):
    """Whether a leap to this place costs likelihood, beyond rounding; the ridge's share counts as its own."""
    kept = before.sums[-1] / total
    if place.owed is not None:
        weight = (before.params.weights + place.params.weights) / 2
        log_prob = log_prob - (weight * (place.owed - before.owed)).sum()
    return ~(log_prob >= kept - rounding(kept))


def iterate(rules, loop, stats) -> Loop:
    """The next state, from the statistics of all rows under ``loop.tried``.

    It takes the M-step from them, and accepts both if they are finite (and a leap if the likelihood did not fall).
    Then it asks the rule, and chooses what to try next.
    """
    accelerate, frozen, total = rules.accelerate, rules.frozen, stats.total
    first = loop.num_steps < 0
    params, factor, _ = loop.tried
    unpack = _nowhere(rules, params, factor)[1]
    place, em_step = _visited(rules, loop.tried, stats)
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
    rule, arrived, number = rules.stop.update(loop.rule, Step(params, factor, em_step[0], gain, rate, rise))
    # Of one component the first step is the maximum, and what later ones seem to gain is rounding.
    if not params.cov.own_statistics:
        arrived |= (params.weights > 0).sum() == 1
    watch, stalled = loop.watch.update(log_prob, number)
    rule, watch = jax.tree.map(lambda a, b: where(news, a, b), (rule, watch), (loop.rule, loop.watch))

    status = where(arrived, Status.CONVERGED, where(stalled, Status.STALLED, RUNNING))
    status = where(news, status, loop.status)
    broken = ~finite & ~refused & (loop.status == RUNNING)
    status = where(broken, Status.NON_FINITE, status).astype(jnp.int32)
    num_steps = loop.num_steps + 1
    shown = log_prob if accelerate is None else unpack(vector).sums[-1] / total
    record = None if loop.history is None else loop.history.at[num_steps].set(shown, mode="drop")
    return varying_as(Loop(tried, vector, leaps, rule, watch, num_steps, status, record), loop)


def reached(rules, loop) -> jax.Array:
    """() the log-likelihood of the accepted mixture, nats."""
    return _nowhere(rules, *loop.tried[:2])[1](loop.place).sums[-1]


def finished(rules, loop, total, frame) -> Result:
    """The `Result` of the last state.

    Args:
        rules: the `Rules`.
        loop: the last state.
        total: () the weight of all rows.
        frame: their moments, if there is a ridge.
    """
    place = _nowhere(rules, *loop.tried[:2])[1](loop.place)
    weight, shift, scatter, log_prob = place.sums
    stats = Stats(place.params.means, weight, shift, scatter, total, log_prob)
    code = judged(place.code, place.params, rules.ridge, frame)
    status = where(loop.status == RUNNING, Status.MAX_STEPS, loop.status)
    unsupported = ~supports(code) & (status < Status.DEGENERATE)
    status = where(unsupported, Status.DEGENERATE, status).astype(jnp.int32)
    return Result(place.params, stats, loop.num_steps, status, code.astype(jnp.int32), loop.history)
