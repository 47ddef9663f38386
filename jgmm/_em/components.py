"""What became of the components of a fit, told once at its end: those that the ridge shaped, and those without need."""

import jax.numpy as jnp
import numpy as np

from jgmm._base.status import ComponentStatus
from jgmm._base.types import where
from jgmm._expectation.moments import moments_of
from jgmm._expectation.ridge import ridge_of

ON_PURPOSE = 0.01  # a ridge of more of the data's variance (a tenth of its standard deviation) is meant to show
NOTABLE, MOST = 0.01, 0.5  # of a component's variance in some direction


def judged(code, params, ridge, frame):
    """The component statuses (k,), with what only the end of a fit tells.

    Args:
        code: those of the last M-step.
        params: the mixture.
        ridge: (d,), or ``None``.
        frame: the `frame_of` the rows, if there is a ridge.
    """
    marks = [(redundant(params), ComponentStatus.REDUNDANT)]
    if ridge is not None:
        floor = jnp.broadcast_to(floor_of(ridge, frame), params.means.shape)
        share = params.cov.factor().largest_share(floor)
        marks += [(share > NOTABLE, ComponentStatus.RIDGED), (share > MOST, ComponentStatus.FLOORED)]
    judgement = code
    for holds, mark in marks:
        judgement = where(holds & (params.weights > 0) & (code == ComponentStatus.OK), mark, judgement)
    return judgement


def floor_of(ridge, frame):
    """The ridge (d,) as far as it counts as a floor that a component may collapse onto.

    Zero where it is `ON_PURPOSE`: a component that thin has not collapsed, it was kept wide, and a larger ridge would
    only have a larger share in it.
    """
    return where(ridge <= ridge_of(moments_of(frame), ON_PURPOSE), ridge, 0)


def redundant(params):
    """Which components (k,) are the same, to half the digits, as an earlier one that is present.

    Gaussian densities are linearly independent (Yakowitz & Spragins 1968, prop. 2): no other component of
    positive weight can be left out at no cost. EM cannot part the two: they are a saddle of the likelihood.
    """
    k, d = params.means.shape
    if k == 1:
        return np.zeros(1, bool)
    values = params.cov.values(k, d)
    scale = jnp.sqrt(params.cov.variances(k, d)), params.cov.form.scale(values)
    near = _near(params.means, scale[0]) & _near(values, scale[1])
    earlier = np.tri(k, k=-1, dtype=bool) & (params.weights > 0)[None]
    return (near & earlier).any(1)


def _near(values, scale):
    """Which of the values (k or 1, ...) are within ``scale`` of each other, times the root of rounding: (k, k)."""
    distance = jnp.abs(values[:, None] - values[None]) <= jnp.finfo(values.dtype).eps ** 0.5 * scale[:, None]
    return distance.all(tuple(range(2, distance.ndim)))
