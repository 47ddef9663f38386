"""Many starts in one compiled program, and which of them wins."""

import dataclasses

import jax
import jax.numpy as jnp

from jgmm._result import Restarts, Result
from jgmm._status import Status


def best_of(results: Result) -> Result:
    """The best of a batch of results (axis 0), with the outcome of all of them.

    The highest log-likelihood among the sound ones wins; only where there is none may a degenerate
    one win, and only where there is none of these either, a failed one.
    """
    log_prob = results.mean_log_prob
    sound = results.status < Status.DEGENERATE
    tier = jnp.where(sound, 2, jnp.where(results.status == Status.DEGENERATE, 1, 0))
    value = jnp.where(jnp.isfinite(log_prob), log_prob, -jnp.inf)
    contender = tier == tier.max()
    winner = jnp.argmax(jnp.where(contender, value, -jnp.inf))
    best = jax.tree.map(lambda leaf: leaf[winner], results)
    return dataclasses.replace(best, restarts=Restarts(log_prob, results.num_steps, results.status))
