"""Many starts in one compiled program: a race by successive halving, and which start wins.

Short runs of EM tell good starts from bad ones long before they converge (Biernacki, Celeux & Govaert
2003, sec. 3); so all starts run a few steps, the better part goes on, and only the last one or two
run to convergence (Jamieson & Talwalkar 2016, algorithm 1). The short runs share one sample of the rows:
where the data are many, a sample ranks starts as well as all of them.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from jgmm._base.lengths import length_of
from jgmm._base.options import check_count
from jgmm._base.pytree import varying_as
from jgmm._base.status import ComponentStatus, Status
from jgmm._base.sweep import Sweep
from jgmm._base.types import where
from jgmm._em.result import Restarts, Result
from jgmm._em.steps import maximisation
from jgmm._em.stop import rounding
from jgmm._expectation.kernels import expectation
from jgmm._expectation.moments import moments_of
from jgmm._expectation.stats import Stats
from jgmm._mixture.gmm import GMM


def as_rounds(race):
    """The rounds of a race as a hashable tuple of pairs (steps, survivors)."""
    try:
        rounds = tuple((steps, survivors) for steps, survivors in race)
    except (TypeError, ValueError):
        raise TypeError(f"race must be pairs (steps, survivors) such as ((10, 2),), or (), got {race!r}.") from None
    return tuple(
        (check_count("race's steps", s, least=1), check_count("race's survivors", r, least=1)) for s, r in rounds
    )


def race_rows(num_rows: int, num_components: int, num_features: int) -> int:
    """How many rows the short runs see, at most: a sixteenth of their `length_of`, but 16 k (d + 1) and 1024 at least.

    On a sample of fixed size the noise of a start's likelihood hides what tells good optima of many rows apart.
    """
    return max(1024, 16 * num_components * (num_features + 1), length_of(num_rows) // 16)


def supported(params, stats):
    """() bool: whether every component has the rows that its covariance needs, so that none is spurious."""
    return ((stats.weight >= params.cov.least_rows(params.num_features)) | (params.weights == 0)).all()


def _begin(start, family, rows, ridge, sweep, present):
    """The state before the first round: `Stats`, the mixture that they were collected with, its factor and codes."""
    if not isinstance(start, Stats):
        factor, code = start.cov.factor(), jnp.full(start.weights.shape, ComponentStatus.OK, jnp.int32)
        return _collected(start, factor, rows, sweep), start, factor, code
    # A partition: until a group has a sound covariance of its own, it has the variances of all rows.
    broad = moments_of(rows[-1])[1] + ridge
    cov = family.learn(jnp.zeros_like(start.scatter), jnp.ones_like(start.weight), broad)
    sound = start.weight > 0 if present is None else (start.weight > 0) | ~present
    code = where(sound, ComponentStatus.OK, ComponentStatus.EMPTY).astype(jnp.int32)
    return start, GMM(start.weight / start.total, start.center, cov), cov.factor(), code


def _collected(params, factor, rows, sweep):
    X, sample_weight, frame = rows
    return expectation(params, factor, frame, X, sample_weight, sweep)


def _leaders(tier, value, count):
    """The places (count,) of the largest values of the highest tier, then of the next; NaN is the least value.

    Of values that only rounding tells apart the first is the leader, on every processor.
    """
    value = where(jnp.isnan(value), -jnp.inf, value)
    if count == 1:
        value = where(tier == tier.max(), value, -jnp.inf)
        best = value.max()
        return jnp.argmax(value >= best - 8 * rounding(best), keepdims=True)
    return jnp.lexsort((-value, -tier))[:count]


def _short_run(state, rows, ridge, steps, sweep):
    """The state after some EM steps, its mean log-likelihood, and whether it is sound: M goes before E, so that the
    log-likelihood is that of the mixture."""

    def step(_, state):
        stats, params, factor, code = state
        params, factor, code = maximisation(stats, params, factor, ridge, old_code=code)
        return varying_as((_collected(params, factor, rows, sweep), params, factor, code), state)

    state = jax.lax.fori_loop(0, steps, step, varying_as(state, state, rows, ridge))
    stats, params, _, code = state
    log_prob = stats.log_prob / stats.total
    return state, log_prob, jnp.isfinite(log_prob) & (code == ComponentStatus.OK).all() & supported(params, stats)


def _noted(outcome, number, log_prob, steps):
    """The `Restarts` after ``steps`` more of the starts ``number``, to this mean log-likelihood."""
    if number.shape == outcome.status.shape:  # all of them, in their order
        return dataclasses.replace(outcome, mean_log_prob=log_prob, num_steps=outcome.num_steps + steps)
    return dataclasses.replace(
        outcome,
        mean_log_prob=outcome.mean_log_prob.at[number].set(log_prob),
        num_steps=outcome.num_steps.at[number].add(steps),
    )


def run_race(starts, family, rows, ridge, rounds, chunk_size, present=None):
    """Run the starts against each other.

    Args:
        starts: a batch of r mixtures (axis 0), or of the `Stats` of partitions, whose M-step makes the start.
        family: the covariance family.
        rows: those of the short runs, their weights and their `frame_of`.
        ridge: (d,).
        rounds: static pairs (steps, survivors): after so many EM steps so many starts stay.
        chunk_size: rows worked on at a time, or ``None``.
        present: (k,) bool, which components there are, or ``None`` for all.

    Returns:
        The mixtures that stay, their factors and the statuses of their components, each a batch; their numbers (s,)
        among the starts; and the `Restarts` of all: those left behind with the steps and the log-likelihood (of these
        rows) where they were.
    """
    number = jnp.arange(jax.tree.leaves(starts)[0].shape[0])
    outcome = Restarts(
        jnp.full(number.shape, -jnp.inf, ridge.dtype),
        jnp.zeros(number.shape, jnp.int32),
        jnp.full(number.shape, Status.DROPPED, jnp.int32),
    )
    more = isinstance(starts, Stats)  # the first M-step makes the start
    sweep = Sweep(chunk_size, len(number))
    state = jax.vmap(lambda start: _begin(start, family, rows, ridge, sweep, present))(starts)
    for steps, survivors in rounds:
        lanes = number.shape[0]
        if survivors >= lanes:
            continue
        run = partial(_short_run, rows=rows, ridge=ridge, steps=steps + more, sweep=Sweep(chunk_size, lanes))
        state, log_prob, sound = jax.vmap(run)(state)
        more = False
        outcome = _noted(outcome, number, log_prob, steps)
        best = _leaders(sound.astype(jnp.int32), log_prob, survivors)
        state, number = jax.tree.map(lambda leaf, best=best: leaf[best], (state, number))
    _, *ahead = state
    if more:
        first = jax.vmap(lambda stats, params, factor, code: maximisation(stats, params, factor, ridge, old_code=code))
        ahead = first(*state)
    return ahead, number, outcome


def best_of(results: Result, number: jax.Array, outcome: Restarts) -> Result:
    """The best of the results (axis 0) of the starts ``number``, with the outcome of all starts.

    The highest log-likelihood among the sound ones whose every component has rows enough, and a variance that is the
    data's and not the ridge's, wins. Only where there is none may another sound one win, then a degenerate one, then a
    failed one.
    """
    log_prob = results.mean_log_prob
    sound = results.status < Status.DEGENERATE
    enough = jax.vmap(supported)(results.params, results.stats)
    own = (results.component_status != ComponentStatus.RIDGED).all(1)
    tier = where(sound, 2 + 2 * enough + own, where(results.status == Status.DEGENERATE, 1, 0))
    [winner] = _leaders(tier, log_prob, 1)
    best = jax.tree.map(lambda leaf: leaf[winner], results)
    status = outcome.status.at[number].set(results.status)
    status = where(best.status == Status.INVALID_DATA, best.status, status)  # which no start can run on
    outcome = _noted(outcome, number, log_prob, results.num_steps)
    return dataclasses.replace(best, restarts=dataclasses.replace(outcome, status=status))
