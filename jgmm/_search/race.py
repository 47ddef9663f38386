"""Many starts in one compiled program: a race by successive halving, and which start wins.

Short runs of EM tell good starts from bad ones long before they converge (Biernacki, Celeux & Govaert
2003, sec. 3); so all starts run a few steps, the better part goes on, and only the last one or two
run to convergence (Jamieson & Talwalkar 2016, algorithm 1). The short runs share one sample of the rows:
where the data are many, a sample ranks starts as well as all of them.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jgmm._base.options import check_count
from jgmm._base.pytree import varying_as
from jgmm._base.status import ComponentStatus, Status
from jgmm._base.sweep import WHOLE, Sweep
from jgmm._em.result import Restarts, Result
from jgmm._em.steps import maximisation
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
    """How many rows the short runs see: a sixteenth, but 16 k (d + 1) and 1024 at least.

    On a sample of fixed size the noise of a start's likelihood hides what tells good optima of many rows apart.
    """
    return max(1024, 16 * num_components * (num_features + 1), num_rows // 16)


def sample_rows(key, X, sample_weight, size: int, sweep=WHOLE):
    """Rows and weights of a sample, whole on every device: all of them if there are no more than ``size``.

    Otherwise one row from each of ``size`` equal shares of the total weight, in the order of the data, so
    that a row is drawn in proportion to its weight and one of weight zero never.
    """
    if X.shape[0] * sweep.num_shards <= size:
        return sweep.gather((X, sample_weight))
    cumulative = jnp.cumsum(sample_weight)
    end = jnp.cumsum(sweep.gather(cumulative[-1:]))  # of each device's share of the weight
    place = (jnp.arange(size) + jax.random.uniform(key, (size,), X.dtype)) / size * end[-1]
    owner, place = _reached(end, place), place - (end - cumulative[-1])[sweep.shard]
    mine = (owner == sweep.shard)[:, None]
    return sweep.total(jnp.where(mine, X[_reached(cumulative, place)], 0)), jnp.ones(size, X.dtype)


def _reached(cumulative, place):
    """Which of the parts that were added up holds each place: one that is not empty, whatever rounding does."""
    inside = jnp.minimum(place, jnp.nextafter(cumulative[-1], 0))
    return jnp.minimum(jnp.searchsorted(cumulative, inside, side="right"), len(cumulative) - 1)


def supported(params, stats):
    """() bool: whether every component has the rows that its covariance needs, so that none is spurious."""
    return (stats.weight >= params.cov.least_rows(params.num_features)).all()


def _begin(start, family, X, sample_weight, frame, ridge, sweep):
    """The state before the first round: statistics, and the mixture and factor that stand in for what is not sound."""
    if not isinstance(start, Stats):
        factor = start.cov.factor()
        return expectation(start, factor, frame, X, sample_weight, sweep), start, factor
    # A partition: for now each group has the variances of all rows.
    broad = moments_of(frame)[1] + ridge
    cov = family.learn(jnp.zeros_like(start.scatter), jnp.ones_like(start.weight), broad)
    return start, GMM(start.weight / start.total, start.center, cov), cov.factor()


def _leaders(tier, value, count):
    """The places (count,) of the largest values of the highest tier, then of the next; NaN is the least value."""
    value = jnp.where(jnp.isnan(value), -jnp.inf, value)
    if count == 1:
        return jnp.argmax(jnp.where(tier == tier.max(), value, -jnp.inf), keepdims=True)
    return jnp.lexsort((-value, -tier))[:count]


def _short_run(state, X, sample_weight, frame, ridge, steps, sweep):
    """The state after some EM steps, its mean log-likelihood, and whether it is sound: M goes before E, so that the
    log-likelihood is that of the mixture."""

    def step(_, state):
        stats, params, factor, _ = state
        params, factor, code = maximisation(stats, params, factor, ridge)
        stats = expectation(params, factor, frame, X, sample_weight, sweep)
        return stats, params, factor, (code == ComponentStatus.OK).all()

    start = varying_as((*state, jnp.zeros((), bool)), state, X, sample_weight, ridge)
    *state, sound = jax.lax.fori_loop(0, steps, step, start)
    stats, params, _ = state
    log_prob = stats.log_prob / stats.total
    return tuple(state), log_prob, jnp.isfinite(log_prob) & sound & supported(params, stats)


def run_race(starts, family, X, sample_weight, frame, ridge, rounds, chunk_size):
    """Run the starts against each other.

    Args:
        starts: a batch of r mixtures (axis 0), or of the `Stats` of partitions, whose M-step makes the start.
        family: the covariance family.
        X, sample_weight: the rows of the short runs.
        frame: their `frame_of`.
        ridge: (d,).
        rounds: static pairs (steps, survivors): after so many EM steps so many starts stay.
        chunk_size: rows worked on at a time, or ``None``.

    Returns:
        The mixtures that stay, their numbers (s,) among the starts, and the `Restarts` of all: those
        left behind with the steps and the log-likelihood (of these rows) where they were.
    """
    number = jnp.arange(jax.tree.leaves(starts)[0].shape[0])
    outcome = Restarts(
        jnp.full(number.shape, -jnp.inf, X.dtype),
        jnp.zeros(number.shape, jnp.int32),
        jnp.full(number.shape, Status.DROPPED, jnp.int32),
    )
    rows = X, sample_weight, frame, ridge
    more = isinstance(starts, Stats)  # the first M-step makes the start
    state = jax.vmap(lambda start: _begin(start, family, *rows, Sweep(chunk_size, len(number))))(starts)
    for steps, survivors in rounds:
        lanes = number.shape[0]
        if survivors >= lanes:
            continue
        sweep = Sweep(chunk_size, lanes)
        state, log_prob, sound = jax.vmap(
            lambda state, s=steps + more, sweep=sweep: _short_run(state, *rows, s, sweep)
        )(state)
        more = False
        outcome = dataclasses.replace(
            outcome,
            mean_log_prob=outcome.mean_log_prob.at[number].set(log_prob),
            num_steps=outcome.num_steps.at[number].add(steps),
        )
        best = _leaders(sound.astype(jnp.int32), log_prob, survivors)
        state, number = jax.tree.map(lambda leaf, best=best: leaf[best], (state, number))
    if more:
        return jax.vmap(lambda state: maximisation(*state, ridge)[0])(state), number, outcome
    return state[1], number, outcome


def best_of(results: Result, number, outcome: Restarts) -> Result:
    """The best of the results (axis 0) of the starts ``number``, with the outcome of all starts.

    The highest log-likelihood among the sound ones whose every component has rows enough wins. Only where
    there is none may another sound one win, then a degenerate one, then a failed one.
    """
    log_prob = results.mean_log_prob
    sound = results.status < Status.DEGENERATE
    enough = jax.vmap(supported)(results.params, results.stats)
    tier = jnp.where(sound, 2 + enough, jnp.where(results.status == Status.DEGENERATE, 1, 0))
    [winner] = _leaders(tier, log_prob, 1)
    best = jax.tree.map(lambda leaf: leaf[winner], results)
    status = outcome.status.at[number].set(results.status)
    outcome = Restarts(
        outcome.mean_log_prob.at[number].set(log_prob),
        outcome.num_steps.at[number].add(results.num_steps),
        jnp.where(best.status == Status.INVALID_DATA, best.status, status),  # which no start can run on
    )
    return dataclasses.replace(best, restarts=outcome)
