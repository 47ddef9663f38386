"""Many starts in one compiled program: a race by successive halving, and which start wins.

Short runs of EM tell good starts from bad ones long before they converge (Biernacki, Celeux & Govaert
2003, sec. 3); so all starts run a few steps, the better part goes on, and only the last one or two
run to convergence (Jamieson & Talwalkar 2016, algorithm 1). The short runs share one sample of the rows:
where the data are many, a sample ranks starts as well as all of them.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jgmm._base.lengths import length_of
from jgmm._base.options import check_count
from jgmm._base.pytree import pytree, varying_as
from jgmm._base.status import ComponentStatus, Status
from jgmm._base.sweep import Sweep
from jgmm._base.types import where
from jgmm._em.result import Restarts, Result
from jgmm._em.steps import maximisation
from jgmm._expectation.kernels import expectation
from jgmm._expectation.moments import moments_of
from jgmm._expectation.stats import Stats
from jgmm._mixture.gmm import GMM

LEAST_ROWS = 2048
WIDTH = 16  # starts side by side
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


def race_rows(num_rows: int, num_parameters: int) -> int:
    """How many rows the short runs see, at most: a sixteenth of their `length_of`, but 14 for each parameter of the
    mixture and 2048 at least.

    On fewer the noise of a start's likelihood hides what tells good optima apart, and the winner spends a component on
    a few of its rows.
    """
    return max(LEAST_ROWS, 14 * num_parameters, length_of(num_rows) // 16)


def supported(params, weight):
    """() bool: whether every component has a weight (k,) of the rows that its covariance needs: none is spurious."""
    return ((weight >= params.cov.least_rows(params.num_features)) | (params.weights == 0)).all()


def _begin(start, family, rows, ridge, sweep, present):
    """The state before the first round: `Stats`, the mixture that they were collected with, and its codes."""
    if not isinstance(start, Stats):
        factor, code = start.cov.factor(), jnp.full(start.weights.shape, ComponentStatus.OK, jnp.int32)
        return _collected(start, factor, rows, sweep), start, code
    # A partition: until a group has a sound covariance of its own, it has the variances of all rows.
    broad = moments_of(rows[-1])[1] + ridge
    cov = family.learn(jnp.zeros_like(start.scatter), jnp.ones_like(start.weight), broad)
    sound = start.weight > 0 if present is None else (start.weight > 0) | ~present
    code = where(sound, ComponentStatus.OK, ComponentStatus.EMPTY).astype(jnp.int32)
    return start, GMM(start.weight / start.total, start.center, cov), code


def _collected(params, factor, rows, sweep):
    X, sample_weight, frame = rows
    return expectation(params, factor, frame, X, sample_weight, sweep)


def _ranked(tier, value):
    """The places of the values, the largest of the highest tier first, then those of the next; NaN is the least value.

    Of values that only rounding tells apart the first goes first, on every processor.
    """
    value, info = where(jnp.isnan(value), -jnp.inf, value), jnp.finfo(value.dtype)
    value = jax.lax.reduce_precision(value, info.nexp, info.nmant - ROUNDING_BITS)
    return jnp.lexsort((-value, -tier)).astype(jnp.int32)


@pytree
class _Runner:
    """Where a start stands: a mixture, its component statuses, and its statistics but for what is known otherwise.

    The factor of its covariances, twice as large, is made again where a start goes on.
    """

    params: GMM
    code: jax.Array  # of the dtype of the others, with which it lies in one vector
    sums: tuple  # weight, shift, scatter, log_prob

    @classmethod
    def at(cls, stats, params, code):
        """The runner with these `Stats` about the means."""
        return cls(params, code.astype(params.means.dtype), (stats.weight, stats.shift, stats.scatter, stats.log_prob))

    def ahead(self, factor, ridge, total):
        """The M-step: a mixture, its factor and the statuses of its components."""
        weight, shift, scatter, log_prob = self.sums
        stats = Stats(self.params.means, weight, shift, scatter, total, log_prob)
        return maximisation(stats, self.params, factor, ridge, old_code=self.code.astype(jnp.int32))

    def ready(self):
        """A mixture, its factor and the statuses of its components, as it stands."""
        return self.params, self.params.cov.factor(), self.code.astype(jnp.int32)

    def is_sound(self):
        """() bool: whether it may win."""
        weight, *_, log_prob = self.sums
        good = jnp.isfinite(log_prob) & (self.code == ComponentStatus.OK).all()
        return good & supported(self.params, weight)


def _plan(rounds, num_starts):
    """The rounds in which somebody is left behind, as pairs (starts, steps), and how many stay in the end."""
    plan, runners = [], num_starts
    for steps, survivors in rounds:
        if survivors < runners:
            plan.append((runners, steps))
            runners = survivors
    return plan, runners


def _schedule(plan, width, more):
    """The jobs of a race, arrays (jobs,): the first place in the order of the starts, steps, and whether it ends a
    round, after which the order is made anew."""
    jobs = [
        (place, steps + (more if number == 0 else 0), place + width >= runners)
        for number, (runners, steps) in enumerate(plan)
        for place in range(0, runners, width)
    ]
    place, steps, ends = zip(*jobs, strict=True)
    return jnp.array(place, jnp.int32), jnp.array(steps, jnp.int32), jnp.array(ends)


def run_race(starts, family, rows, ridge, rounds, chunk_size, present=None):
    """Run the starts against each other.

    The starts run some at a time, and one body of a loop serves all rounds: what differs is which starts run, and for
    how many steps. Where the last to run are fewer than that, some that were left behind run along.

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
    num_starts, total = jax.tree.leaves(starts)[0].shape[0], rows[-1].total
    more = isinstance(starts, Stats)  # the first M-step makes the start
    sweep = Sweep(chunk_size, num_starts)
    runners = jax.vmap(lambda start: _Runner.at(*_begin(start, family, rows, ridge, sweep, present)))(starts)
    numbers, (plan, left) = jnp.arange(num_starts, dtype=jnp.int32), _plan(rounds, num_starts)
    if not plan:
        first = lambda runner: runner.ahead(runner.params.cov.factor(), ridge, total) if more else runner.ready()  # noqa: E731
        return jax.vmap(first)(runners), numbers, _left_behind(jnp.full(num_starts, -jnp.inf, ridge.dtype), 0 * numbers)

    width = min(math.ceil(num_starts / math.ceil(num_starts / WIDTH)), *(count for count, _ in plan))
    sweep = Sweep(chunk_size, width)
    place, steps, ends = _schedule(plan, width, more)
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], runners))

    def run(vector, steps):
        def step(_, state):
            vector, factor = state
            # M goes before E, so that the log-likelihood is that of the mixture.
            params, factor, code = unravel(vector).ahead(factor, ridge, total)
            runner = _Runner.at(_collected(params, factor, rows, sweep), params, code)
            return varying_as((ravel_pytree(runner)[0], factor), state)

        start = vector, unravel(vector).params.cov.factor()
        vector, _ = jax.lax.fori_loop(0, steps, step, varying_as(start, start, rows, ridge))
        runner = unravel(vector)
        return vector, runner.sums[-1] / total, runner.is_sound()

    def job(j, race):
        some, known = (jax.lax.dynamic_slice_in_dim(part, place[j], width) for part in race)
        some, log_prob, sound = jax.vmap(run, (0, None))(some, steps[j])
        number, taken = known[:, 0], known[:, 2] + steps[j].astype(known.dtype)
        # A start that has run longer goes before all that have not; of those that have, a sound one.
        tier = where(number < 0, -1, 2 * taken + sound.astype(known.dtype))
        known = jnp.stack([number, log_prob, taken, tier], 1)
        pool, notes = (
            jax.lax.dynamic_update_slice_in_dim(part, new, place[j], 0)
            for part, new in zip(race, (some, known), strict=True)
        )
        order = where(ends[j], _ranked(notes[:, 3], notes[:, 1]), places)
        return varying_as((pool[order], notes[order]), race)

    # The runners as vectors; and of each the number, the log-likelihood, the steps and the tier. What fills up the last
    # of those side by side has the number -1, and comes last.
    places = jnp.arange(width * math.ceil(num_starts / width), dtype=jnp.int32)
    pool = jax.vmap(lambda runner: ravel_pytree(runner)[0])(runners)
    pool = pool if len(pool) == len(places) else pool[jnp.minimum(places, num_starts - 1)]
    number = where(places < num_starts, places, -1).astype(pool.dtype)
    notes = jnp.stack([number, *jnp.zeros((3, len(places)), pool.dtype)], 1)
    race = varying_as((pool, notes), pool, rows, ridge)
    pool, notes = jax.lax.fori_loop(0, len(place), job, race)
    best = jax.vmap(lambda vector: unravel(vector).ready())(pool[:left])
    mine = notes[:, :1] == numbers.astype(notes.dtype)[None]  # (places, starts)
    _, log_prob, taken, _ = where(mine[..., None], notes[:, None], 0).sum(0).T  # in the order of the starts
    outcome = _left_behind(log_prob, taken.astype(jnp.int32) - int(more))
    return best, notes[:left, 0].astype(jnp.int32), outcome


def _left_behind(log_prob, steps):
    """The `Restarts` of starts that went no further."""
    return Restarts(log_prob, steps, jnp.full(steps.shape, Status.DROPPED, jnp.int32))


def best_of(results: Result, number: jax.Array, outcome: Restarts) -> Result:
    """The best of the results (axis 0) of the starts ``number``, with the outcome of all starts.

    The highest log-likelihood among the sound ones whose every component has rows enough, and a variance that is the
    data's and not the ridge's, wins. Only where there is none may another sound one win, then a degenerate one, then a
    failed one.
    """
    log_prob = results.mean_log_prob
    sound = results.status < Status.DEGENERATE
    enough = jax.vmap(supported)(results.params, results.stats.weight)
    own = (results.component_status != ComponentStatus.RIDGED).all(1)
    poor = (results.status == Status.DEGENERATE).astype(jnp.int32)
    tier = where(sound, where(enough, 4, 2) + own.astype(jnp.int32), poor)
    winner = _ranked(tier, log_prob)[0] if len(tier) > 1 else 0
    best = jax.tree.map(lambda leaf: leaf[winner], results)
    status = outcome.status.at[number].set(results.status)
    status = where(best.status == Status.INVALID_DATA, best.status, status)  # which no start can run on
    restarts = Restarts(
        outcome.mean_log_prob.at[number].set(log_prob), outcome.num_steps.at[number].add(results.num_steps), status
    )
    return dataclasses.replace(best, restarts=restarts)
