"""Many starts in one compiled program: a race by successive halving.

Short runs of EM tell good starts from bad ones long before they converge (Biernacki, Celeux & Govaert
2003, sec. 3); so all starts run a few steps, the better part goes on, and only the last one or two
run to convergence (Jamieson & Talwalkar 2016, algorithm 1). The short runs share one sample of the rows:
where the data are many, a sample ranks starts as well as all of them.
"""

import math

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jgmm._base.lengths import length_of
from jgmm._base.options import check_count
from jgmm._base.pytree import varying_as
from jgmm._base.status import Status
from jgmm._base.sweep import Sweep
from jgmm._base.types import where
from jgmm._em.components import floor_of
from jgmm._em.result import Restarts
from jgmm._expectation.stats import Stats
from jgmm._search.moves import STEPS, component_of, moved
from jgmm._search.runner import Runner, begin, collected

LEAST_ROWS = 2048
WIDTH = 16  # starts side by side
HANDICAP = 1.0  # nats a row, at least, of a start that is not sound
NARROW = math.log(1e3)  # the default ridge lets a component be a thousandth as wide as the data
ROUNDING_BITS = 6  # of a mean log-likelihood: 32 roundings


def as_rounds(race):
    """The rounds of a race as a hashable tuple of pairs (steps, survivors)."""
    try:
        rounds = tuple((steps, survivors) for steps, survivors in race)
    except (TypeError, ValueError):
        raise TypeError(f"race must be pairs (steps, survivors) such as ((10, 2),), or (), got {race!r}.") from None
    return tuple(
        (check_count("race's steps", s, least=1), check_count("race's survivors", r, least=1)) for s, r in rounds
    )


def race_rows(num_rows: int, num_parameters: int, num_shards: int = 1) -> int:
    """How many rows the short runs see, at most: a sixteenth of their `length_of`, and no more than a device has of its
    own, but 14 for each parameter of the mixture and 2048 at least.

    On fewer the noise of a start's likelihood hides what tells good optima apart, and the winner spends a component on
    a few of its rows.
    """
    return max(LEAST_ROWS, 14 * num_parameters, length_of(num_rows) // max(16, num_shards))


def ranked(tier, value):
    """The places of the values, the largest of the highest tier first, then those of the next; NaN is the least value.

    Of values that only rounding tells apart the first goes first, on every processor.
    """
    value, info = where(jnp.isnan(value), -jnp.inf, value), jnp.finfo(value.dtype)
    value = jax.lax.reduce_precision(value, info.nexp, info.nmant - ROUNDING_BITS)
    return jnp.lexsort((-value, -tier)).astype(jnp.int32)


def plan_of(rounds, num_starts):
    """The rounds in which somebody is left behind, as pairs (starts, steps), and how many stay in the end."""
    plan, runners = [], num_starts
    for steps, survivors in rounds:
        if survivors < runners:
            plan.append((runners, steps))
            runners = survivors
    return plan, runners


def _schedule(plan, width, more, moves):
    """The jobs of a race, arrays (jobs,): the first place in the order of the starts, steps, whether it ends a round,
    after which the order is made anew, and which of the moves it is, -1 where it is none."""
    jobs = [
        (place, steps + (more if number == 0 else 0), place + width >= runners, -1)
        for number, (runners, steps) in enumerate(plan)
        for place in range(0, runners, width)
    ]
    jobs += [(0, STEPS, True, turn) for turn in range(moves)]
    place, steps, ends, turn = zip(*jobs, strict=True)
    return *(jnp.array(numbers, jnp.int32) for numbers in (place, steps, turn)), jnp.array(ends)


def run_race(starts, family, rows, ridge, rounds, moves, sweep, present=None):
    """Run the starts against each other.

    The starts run some at a time, and one body of a loop serves all rounds: what differs is which starts run, and for
    how many steps. Where the last to run are fewer than that, some that were left behind run along.

    Args:
        starts: a batch of r mixtures (axis 0), or of the `Stats` of partitions, whose M-step makes the start.
        family: the covariance family.
        rows: those of the short runs, their weights and their `frame_of`.
        ridge: (d,).
        rounds: static pairs (steps, survivors): after so many EM steps so many starts stay.
        moves: how many `moves` are made on the best, static.
        sweep: the devices, all of which have the rows, and each of which runs some of the starts.
        present: (k,) bool, which components there are, or ``None`` for all.

    Returns:
        The mixtures that stay, their factors and the statuses of their components, each a batch; their numbers (s,)
        among the starts; and the `Restarts` of all: those left behind with the steps and the log-likelihood (of these
        rows) where they were. Where one stays of many, the best sound one of another start is in reserve beside it.
    """
    num_starts, total = jax.tree.leaves(starts)[0].shape[0], rows[-1].total
    more = isinstance(starts, Stats)  # the first M-step makes the start
    alone = Sweep(sweep.chunk_size, -(-num_starts // sweep.num_shards))
    runners = sweep.parted(lambda start: Runner.at(*begin(start, family, rows, ridge, alone, present)), starts)
    numbers, (plan, left) = jnp.arange(num_starts, dtype=jnp.int32), plan_of(rounds, num_starts)
    if not plan:
        first = lambda runner: runner.ahead(runner.params.cov.factor(), ridge, total) if more else runner.ready()  # noqa: E731
        return jax.vmap(first)(runners), numbers, _left_behind(jnp.full(num_starts, -jnp.inf, ridge.dtype), 0 * numbers)

    width = min(math.ceil(num_starts / math.ceil(num_starts / WIDTH)), *(count for count, _ in plan))
    alone, floor = Sweep(sweep.chunk_size, -(-width // sweep.num_shards)), floor_of(ridge, rows[-1])
    place, steps, turn, ends = _schedule(plan, width, more, moves)
    first = jax.tree.map(lambda leaf: leaf[0], runners)
    component, (_, unravel) = component_of(first, first.by_component(family)), ravel_pytree(first)
    num_components = first.code.shape[0] if present is None else present.sum(dtype=jnp.int32)

    def run(vector, steps):
        def step(_, state):
            vector, factor = state
            # M goes before E, so that the log-likelihood is that of the mixture.
            params, factor, code = unravel(vector).ahead(factor, ridge, total)
            runner = Runner.at(collected(params, factor, rows, alone), params, code)
            return varying_as((ravel_pytree(runner)[0], factor), state)

        start = vector, unravel(vector).params.cov.factor()
        vector, factor = jax.lax.fori_loop(0, steps, step, varying_as(start, start, rows, ridge))
        runner = unravel(vector)
        return vector, runner.sums[-1] / total, _handicap(runner, runner.spurious(factor, floor), total)

    def job(j, race):
        pool, notes, record = race
        some, known = (jax.lax.dynamic_slice_in_dim(part, place[j], width) for part in (pool, notes))
        if moves:
            copies = moved(some[0], donors, turn[j], component, num_components)
            other = _second(known)  # runs on in the last lane
            some = where(turn[j] < 0, some, copies.at[-1].set(some[other]))
            known = where(turn[j] < 0, known, where(places[:width, None] < width - 1, known[:1], known[None, other]))
        some, log_prob, handicap = sweep.parted(lambda vector: run(vector, steps[j]), some)
        known = jnp.stack([known[:, 0], log_prob, known[:, 2] + steps[j].astype(known.dtype), handicap], 1)
        pool, notes = (
            jax.lax.dynamic_update_slice_in_dim(part, new, place[j], 0) for part, new in ((pool, some), (notes, known))
        )
        order = where(ends[j], _order(notes), places)
        pool, notes = pool[order], notes[order]
        return varying_as((pool, notes, where(turn[j] < 0, notes, record)), race)

    # The runners as vectors; and of each the number, the log-likelihood, the steps and the handicap, as they stand now
    # and before the moves. What fills up the last of those side by side has the number -1, and comes last.
    places = jnp.arange(width * math.ceil(num_starts / width), dtype=jnp.int32)
    pool = jax.vmap(lambda runner: ravel_pytree(runner)[0])(runners)
    pool = pool if len(pool) == len(places) else pool[jnp.minimum(places, num_starts - 1)]
    number = where(places < num_starts, places, -1).astype(pool.dtype)
    notes = jnp.stack([number, *jnp.zeros((3, len(places)), pool.dtype)], 1)
    donors = pool[:width]
    pool, notes, record = jax.lax.fori_loop(0, len(place), job, varying_as((pool, notes, notes), pool, rows, ridge))
    finalists = jnp.stack([places[0], _second(notes)]) if left == 1 else places[:left]
    best = jax.vmap(lambda vector: unravel(vector).ready())(pool[finalists])
    mine = record[:, :1] == numbers.astype(notes.dtype)[None]  # (places, starts)
    _, log_prob, taken, _ = where(mine[..., None], record[:, None], 0).sum(0).T  # in the order of the starts
    outcome = _left_behind(log_prob, taken.astype(jnp.int32) - int(more))
    return best, notes[finalists, 0].astype(jnp.int32), outcome


def _handicap(runner, spurious, total):
    """How much better (nats a row) a start has to be that is not sound, to go before one that is; 0 for a sound one.

    At least as much as its ``spurious`` components (k,) gain by shrinking to the ridge. A component for rows far from
    all others gains more, because another would have to bend to them: it has to win, and is told by its status.
    """
    weight, *_, log_prob = runner.sums
    gain = NARROW * runner.params.num_features * where(spurious, weight, 0).sum() / total
    return where(spurious.any() | ~jnp.isfinite(log_prob), jnp.maximum(HANDICAP, gain), 0)


def _order(notes):
    """The places of the runners, the best first: of those that have run longest, by log-likelihood and soundness.

    All that are not sound have the handicap of the likeliest, so that among them the likelihood alone decides.
    """
    number, log_prob, taken, handicap = notes.T
    tier, unsound = where(number < 0, -1, taken), handicap > 0
    likeliest = where(unsound & (tier == tier.max()) & (log_prob > -jnp.inf), log_prob, -jnp.inf).argmax()
    return ranked(tier, log_prob - where(unsound, handicap[likeliest], 0))


def _second(notes):
    """The place of the best sound runner of another start than the leader's, unless it is far below; the leader's own
    where there is none."""
    number, log_prob, _, handicap = notes.T
    other = (number != number[0]) & (number >= 0) & (handicap == 0) & (log_prob > log_prob[0] - HANDICAP)
    return other.argmax().astype(jnp.int32)


def _left_behind(log_prob, steps):
    """The `Restarts` of starts that went no further."""
    return Restarts(log_prob, steps, jnp.full(steps.shape, Status.DROPPED, jnp.int32))
