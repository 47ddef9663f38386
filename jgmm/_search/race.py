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

from jgmm._base.options import check_count
from jgmm._base.pytree import varying_as
from jgmm._base.status import ComponentStatus, Status
from jgmm._base.sweep import WHOLE, Sweep
from jgmm._base.types import where
from jgmm._em.result import Restarts, Result
from jgmm._em.steps import maximisation
from jgmm._expectation.kernels import expectation
from jgmm._expectation.moments import frame_of


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


def _short_run(params, X, sample_weight, frame, ridge, steps, sweep):
    """The mixture after some EM steps; before the last its mean log-likelihood, and whether it was sound."""

    def step(_, state):
        params, factor, *_ = state
        stats = expectation(params, factor, frame, X, sample_weight, sweep)
        log_prob = stats.log_prob / stats.total
        new, factor, code = maximisation(stats, params, factor, ridge)
        sound = jnp.isfinite(log_prob) & (code == ComponentStatus.OK).all() & supported(params, stats)
        return new, factor, log_prob, sound

    start = params, params.cov.factor(), jnp.full((), -jnp.inf, X.dtype), jnp.zeros((), bool)
    start = varying_as(start, params, X, sample_weight, ridge)
    params, _, log_prob, sound = jax.lax.fori_loop(0, steps, step, start)
    return params, log_prob, sound


def run_race(starts, X, sample_weight, ridge, rounds, chunk_size):
    """Run the starts against each other.

    Args:
        starts: a batch of r mixtures (axis 0).
        X, sample_weight: the rows of the short runs.
        ridge: (d,).
        rounds: static pairs (steps, survivors): after so many EM steps so many starts stay.
        chunk_size: rows worked on at a time, or ``None``.

    Returns:
        The mixtures that stay, their numbers (s,) among the starts, and the `Restarts` of all: those
        left behind with the steps and the log-likelihood (of these rows) where they were.
    """
    number = jnp.arange(starts.weights.shape[0])
    outcome = Restarts(
        jnp.full(number.shape, -jnp.inf, X.dtype),
        jnp.zeros(number.shape, jnp.int32),
        jnp.full(number.shape, Status.DROPPED, jnp.int32),
    )
    frame = frame_of(type(starts.cov), X, sample_weight)
    for steps, survivors in rounds:
        lanes = number.shape[0]
        if survivors >= lanes:
            continue
        data = {"X": X, "sample_weight": sample_weight, "frame": frame, "ridge": ridge}
        run = partial(_short_run, **data, steps=steps, sweep=Sweep(chunk_size, lanes))
        starts, log_prob, sound = jax.vmap(run)(starts)
        outcome = dataclasses.replace(
            outcome,
            mean_log_prob=outcome.mean_log_prob.at[number].set(log_prob),
            num_steps=outcome.num_steps.at[number].add(steps),
        )
        best = jnp.lexsort((-jnp.nan_to_num(log_prob, nan=-jnp.inf), ~sound))[:survivors]  # the sound ones first
        starts, number = jax.tree.map(lambda leaf, best=best: leaf[best], (starts, number))
    return starts, number, outcome


def best_of(results: Result, number: jax.Array, outcome: Restarts) -> Result:
    """The best of the results (axis 0) of the starts ``number``, with the outcome of all starts.

    The highest log-likelihood among the sound ones whose every component has rows enough wins. Only where
    there is none may another sound one win, then a degenerate one, then a failed one.
    """
    log_prob = results.mean_log_prob
    sound = results.status < Status.DEGENERATE
    enough = jax.vmap(supported)(results.params, results.stats)
    tier = jnp.where(sound, 2 + enough, jnp.where(results.status == Status.DEGENERATE, 1, 0))
    value = jnp.where((tier == tier.max()) & jnp.isfinite(log_prob), log_prob, -jnp.inf)
    best = jax.tree.map(lambda leaf: leaf[jnp.argmax(value)], results)
    status = outcome.status.at[number].set(results.status)
    outcome = Restarts(
        outcome.mean_log_prob.at[number].set(log_prob),
        outcome.num_steps.at[number].add(results.num_steps),
        where(best.status == Status.INVALID_DATA, best.status, status),  # which no start can run on
    )
    return dataclasses.replace(best, restarts=outcome)
