"""The final: the starts that a race left run to convergence, and the best of them wins."""

import dataclasses

import jax
import jax.numpy as jnp

from jgmm._base.pytree import varying_as, zeros_of
from jgmm._base.status import ComponentStatus, Status
from jgmm._base.types import where
from jgmm._em.result import Restarts, Result
from jgmm._search.race import ranked
from jgmm._search.runner import supported

SOUND = 5  # the best tier


def _tier(result):
    """() int: who may win before whom, however high the others' likelihood.

    First the sound ones whose every component has rows enough, and a variance that is the data's and not the ridge's.
    Only where there is none another sound one, then a degenerate one, then a failed one.
    """
    enough = supported(result.params, result.stats.weight).all()
    own = (result.component_status != ComponentStatus.RIDGED).all()
    poor = (result.status == Status.DEGENERATE).astype(jnp.int32)
    return where(result.status < Status.DEGENERATE, where(enough, 4, 2) + own.astype(jnp.int32), poor)


def _numbers(outcome):
    return jnp.arange(len(outcome.status), dtype=jnp.int32)


def _noted(outcome, number, results):
    """The `Restarts` with the results (axis 0) of the starts ``number``; the first, where moves made several of one."""
    mine = number[:, None] == _numbers(outcome)[None]
    ran, place = mine.any(0), mine.argmax(0)
    return Restarts(
        where(ran, results.mean_log_prob[place], outcome.mean_log_prob),
        outcome.num_steps + where(ran, results.num_steps[place], 0),
        where(ran, results.status[place], outcome.status),
    )


def _told(best, outcome):
    """The best result with the outcome of all starts; no start can run on invalid data."""
    status = where(best.status == Status.INVALID_DATA, best.status, outcome.status)
    return dataclasses.replace(best, restarts=dataclasses.replace(outcome, status=status))


def best_of(results: Result, number: jax.Array, outcome: Restarts) -> Result:
    """The best of the results (axis 0) of the starts ``number``, with the outcome of all starts: of the highest tier
    the highest log-likelihood."""
    tier = jax.vmap(_tier)(results)
    winner = ranked(tier, results.mean_log_prob)[0] if len(tier) > 1 else 0
    best = jax.tree.map(lambda leaf: leaf[winner], results)
    return _told(best, _noted(outcome, number, results))


def leader_of(run, starts, number: jax.Array, outcome: Restarts) -> Result:
    """The result of the leader of the starts (axis 0), or of the one in reserve where the leader collapses on its way.

    ``run(start)`` gives a `Result`. One body of a loop serves both, and where both collapse, the leader once more.
    """
    pick = lambda turn: jax.tree.map(lambda leaf: leaf[turn % 2], starts)  # noqa: E731

    def attempt(state):
        turn, _ = state
        return turn + 1, run(pick(turn))

    def goes_on(state):
        turn, result = state
        return (turn == 0) | ((turn < 3) & (number[0] != number[1]) & (_tier(result) < SOUND))

    start = varying_as(jnp.int32(0), number), zeros_of(lambda: run(pick(0)))
    turns, best = jax.lax.while_loop(goes_on, attempt, start)
    collapsed = (turns > 1) & (_numbers(outcome) == number[0]) | (turns > 2) & (_numbers(outcome) == number[1])
    outcome = dataclasses.replace(outcome, status=where(collapsed, Status.DEGENERATE, outcome.status))
    return _told(best, _noted(outcome, number[(turns - 1) % 2][None], jax.tree.map(lambda leaf: leaf[None], best)))
