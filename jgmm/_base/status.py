"""Failure is a value: how a fit ended, as integers that pass through ``jit`` and ``vmap``.

One table holds every code with its message and its remedy. `Result.check` raises with them.
"""

import enum

from jgmm._base.pytree import public


@public
class Status(enum.IntEnum):
    """How a fit ended. ``Status(int(result.status))`` gives the name, ``.message`` what to do."""

    CONVERGED = 0
    STALLED = 1
    MAX_STEPS = 2
    DEGENERATE = 3
    NON_FINITE = 4
    INVALID_START = 5
    INVALID_DATA = 6
    DROPPED = 7
    OFF_OPTIMUM = 8
    NOT_ISOLATED = 9

    @property
    def message(self) -> str:
        """What happened, and the remedy."""
        return MESSAGES[self]


@public
class ComponentStatus(enum.IntEnum):
    """What became of a component in the last M-step."""

    OK = 0
    FLOORED = 1
    KEPT = 2
    EMPTY = 3
    RIDGED = 4
    REDUNDANT = 5

    @property
    def message(self) -> str:
        """What happened to the component."""
        return COMPONENT_MESSAGES[self]


MESSAGES = {
    Status.CONVERGED: "The stop rule is met.",
    Status.STALLED: (
        "Progress drowned in rounding before the stop rule was met. Use a larger tolerance, or float64 "
        "data (jax.config.update('jax_enable_x64', True)); the parameters are as good as this dtype permits."
    ),
    Status.MAX_STEPS: "The step limit was reached before the stop rule was met. Raise max_steps or the tolerance.",
    Status.DEGENERATE: (
        "A component ended without support in the data, or the same as another (see component_status). Use fewer "
        "components, more starts (num_init), a larger ridge, or a poorer covariance family."
    ),
    Status.NON_FINITE: (
        "The log-likelihood became NaN or infinite; the parameters are the last finite ones. Rescale the "
        "features to ordinary magnitudes, use float64, or a larger ridge."
    ),
    Status.INVALID_START: (
        "The start is not a mixture: weights must be nonnegative and sum to one, means finite, covariances "
        "symmetric and positive definite. Call params.check() outside jit to see which is not."
    ),
    Status.INVALID_DATA: (
        "The data hold NaN or infinite values in rows of positive weight, or the sample weights are "
        "negative, not finite or all zero, or sums of either overflow. Mend the rows, or give them weight zero."
    ),
    Status.DROPPED: "The start was left behind by better ones after a short run (see the race of fit).",
    Status.OFF_OPTIMUM: (
        "The parameters are not at a maximum of the likelihood of these rows (see residual). Run em from them, "
        "with a smaller tolerance and no ridge."
    ),
    Status.NOT_ISOLATED: (
        "The likelihood is flat around the parameters, or rises, in some direction: a saddle, or components that "
        "are alike, empty or collapsed. Use fewer components, or another start."
    ),
}

COMPONENT_MESSAGES = {
    ComponentStatus.OK: "supported by the data",
    ComponentStatus.FLOORED: "collapsed: in some direction most of its variance is the ridge's, not the data's",
    ComponentStatus.KEPT: "its covariance was not positive definite and kept the last good value",
    ComponentStatus.EMPTY: "emptied: no row belongs to it; its mean and covariance are the last good ones",
    ComponentStatus.RIDGED: "in some direction more than a hundredth of its variance is the ridge's, not the data's",
    ComponentStatus.REDUNDANT: "the same as an earlier component: without it the likelihood would be no less",
}


def supports(code):
    """() bool: whether all components of these `ComponentStatus` codes (k,) have the support of the data."""
    return ((code == ComponentStatus.OK) | (code == ComponentStatus.RIDGED)).all()


@public
class FitError(RuntimeError):
    """A fit did not end well; raised by `Result.check` with the remedy."""
