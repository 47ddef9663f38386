"""What a fit returns: the parameters, the statistics of those parameters, and how it ended."""

import dataclasses

import jax
import numpy as np

from jgmm._base.arrays import is_concrete, on_device
from jgmm._base.pytree import at_hand, public, pytree, short_repr
from jgmm._base.status import ComponentStatus, FitError, Status
from jgmm._expectation.stats import Stats
from jgmm._mixture import units as mixture_units
from jgmm._mixture.gmm import GMM


def _counted(status) -> str:
    """How many fits have each of these `Status` codes: "CONVERGED 498, STALLED 2"."""
    codes, counts = np.unique(np.asarray(status), return_counts=True)
    return ", ".join(f"{Status(code).name} {n}" for code, n in zip(codes, counts, strict=True))


@pytree
@public
class Restarts:
    """The outcome of every start of a fit with ``num_init`` = r starts; a poorer local maximum says CONVERGED too.

    Args:
        mean_log_prob: (r,) mean log-likelihood reached, nats per row; of the rows of the race for a start that
            was left behind in it, one step before the last.
        num_steps: (r,) EM steps taken, those of the race included, but not those of its moves.
        status: (r,) `Status` codes, DROPPED for a start that was left behind.
    """

    mean_log_prob: jax.Array
    num_steps: jax.Array
    status: jax.Array

    def __str__(self):
        if not at_hand(self):
            return repr(self)
        ended = np.asarray(self.status) != Status.DROPPED  # one left behind may be high because it collapses
        best = np.nanmax(np.append(np.asarray(self.mean_log_prob)[ended], -np.inf))
        return f"{np.size(self.status)} starts: {_counted(self.status)}; best mean log-likelihood {best:.5f} nats"


@pytree
@public
class Result:
    """A fit.

    Args:
        params: the fitted `GMM`.
        stats: the `Stats` of ``params`` on the data: what is reported belongs together. Where the sample weights were
            far from ordinary numbers (beyond 2^48 or its inverse in float32) they are those of weights a power of two
            smaller or larger.
        num_steps: () EM steps taken.
        status: () `Status` code; ``jgmm.Status(int(result.status)).message`` says what to do.
        component_status: (k,) `ComponentStatus` codes of the last M-step.
        history: (history,) mean log-likelihood after 0, 1, 2, ... steps, NaN past the last one; or None.
        restarts: the outcome of all starts (`Restarts`), from `fit`; or None.

    Under ``vmap`` every leaf has the batch axis first. ``print(result)`` says how it went, of one fit or of a batch.
    """

    params: GMM
    stats: Stats
    num_steps: jax.Array
    status: jax.Array
    component_status: jax.Array
    history: jax.Array | None = None
    restarts: Restarts | None = None

    @property
    def converged(self) -> jax.Array:
        """() bool: the stop rule is met, by a mixture whose every component the data support."""
        return ~self.status.astype(bool)  # CONVERGED is 0, and no other number has to be sent to the device

    @property
    def mean_log_prob(self) -> jax.Array:
        """() mean log-likelihood of ``params``, nats per row (per unit of sample weight)."""
        return self.stats.log_prob / self.stats.total

    def __repr__(self):
        return f"<Result: {self}; {self.params!r}>" if at_hand(self) else short_repr(self)

    def __str__(self):
        if not at_hand(self):
            return repr(self)
        if np.ndim(self.status):
            return f"{np.size(self.status)} fits: {_counted(self.status)}"
        starts = "" if self.restarts is None else f", best of {self.restarts.status.size} starts"
        return (
            f"{Status(int(self.status)).name} after {int(self.num_steps)} steps: "
            f"mean log-likelihood {float(self.mean_log_prob):.5f} nats{starts}{self._remarks()}"
        )

    def _remarks(self):
        """What there is to say of the components."""
        remarks = [
            f". Component {k}: {ComponentStatus(code).message}"
            for k, code in enumerate(np.asarray(self.component_status).tolist())
            if code != ComponentStatus.OK
        ]
        return "".join(remarks)

    def check(self) -> "Result":
        """Return the result if it, or every one of a batch, converged.

        Raises:
            FitError: it did not; with the remedy.
            TypeError: called inside ``jit``, where the status has no value yet.
        """
        if not is_concrete(self.status):
            raise TypeError("Result.check() needs values: call it outside jit, or test result.status inside.")
        status = np.asarray(self.status)
        if (status == Status.CONVERGED).all():
            return self
        if status.ndim:
            worst = Status(int(status.max()))
            raise FitError(f"Of {status.size} fits: {_counted(status)}. {worst.name}: {worst.message}")
        status = Status(int(status))
        message = status.message.rstrip(".")
        raise FitError(f"{status.name} after {int(self.num_steps)} steps: {message}{self._remarks()}.")


def in_units(result: Result, units) -> Result:
    """The same fit of features in other units: x'_j = u_j x_j, for factors u (d,)."""
    density = on_device(-np.log(units).sum(), units.dtype)
    restarts, history = result.restarts, result.history
    if restarts is not None:
        restarts = dataclasses.replace(restarts, mean_log_prob=restarts.mean_log_prob + density)
    return dataclasses.replace(
        result,
        params=mixture_units.in_units(result.params, units),
        stats=result.stats.in_units(units),
        history=None if history is None else history + density,
        restarts=restarts,
    )
