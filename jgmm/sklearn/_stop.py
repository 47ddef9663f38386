"""Stop rules of the estimators: scikit-learn's, one that resumes a fit, and one that tells of progress."""

import time
from typing import Any

import jax
import jax.numpy as jnp

from jgmm._base.pytree import pytree, static


@pytree
class ChangeStop:
    """Stop where the mean log-likelihood changed by less than ``tol``, one step later, as scikit-learn does.

    Its lower bound is that of the mixture before the last M-step, so the mixture that it returns is one step past the
    one that its rule looked at. Here too, so that both return the same mixture after the same number of steps.

    Args:
        tol: nats per row.
        change: () the last change of the fit that goes on here; inf if there was none.
    """

    tol: Any
    change: Any = jnp.inf

    def init(self, params):
        """The change before the first step."""
        return jnp.asarray(self.change, params.means.dtype)

    def update(self, state, step):
        """(state, stop?, the change), for a `jgmm._em.stop.Step`."""
        change = jnp.abs(step.rise)
        return change, state < self.tol, change


@pytree
class Resumed:
    """A `jgmm.LogProbStop` that knows the last gain and ratio of the fit that goes on here.

    Args:
        rule: the `jgmm.LogProbStop`.
        gain: the last gain, nats per row.
        ratio: of the last two gains; inf if it is not known.
    """

    rule: Any
    gain: Any
    ratio: Any

    def init(self, params):
        """The state at the end of the last fit."""
        return jnp.stack([self.gain, self.ratio]).astype(params.means.dtype)

    def update(self, state, step):
        """As the rule."""
        return self.rule.update(state, step)


CLOCK = [0.0]  # of the last line; JAX calls back from a thread of its own


def _tell(number, rise, *, verbose, interval):
    """Print as scikit-learn does. What is NaN was refused or is the start."""
    number, rise = int(number), float(rise)  # arrays of JAX, in a thread that has settings of its own
    if number % interval or rise != rise:
        return
    if verbose == 1:
        print(f"  Iteration {number}")
        return
    now = time.perf_counter()
    print(f"  Iteration {number}\t time lapse {now - CLOCK[0]:.5f}s\t ll change {rise:.5f}")
    CLOCK[0] = now


@pytree
class Told:
    """Any rule, with a line of print for every so many steps, while the compiled loop runs.

    Args:
        rule: the rule.
        verbose: 1 for the number of the step, more for its time and the change of the lower bound (static).
        interval: steps between two lines (static).
    """

    rule: Any
    verbose: Any = static(default=1)
    interval: Any = static(default=10)

    def init(self, params):
        """The rule's state, and the number of steps."""
        return self.rule.init(params), jnp.zeros((), jnp.int32)

    def update(self, state, step):
        """As the rule, and tell."""
        inner, number = state
        number = number + (~jnp.isnan(step.rise)).astype(number.dtype)
        jax.debug.callback(_tell, number, step.rise, verbose=self.verbose, interval=self.interval)
        inner, arrived, value = self.rule.update(inner, step)
        return (inner, number), arrived, value
