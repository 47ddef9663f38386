"""Covariances in proportion, Sigma_k = v_k B: the volumes v_k and the common B of highest likelihood.

Given the volumes, B = sum_k p_k C_k / v_k (of shares p_k and covariances C_k), and what is left to minimise is

    f(u) = log det sum_k p_k e^{-u_k} C_k + d sum_k p_k u_k,   u_k = log v_k

f is convex: the determinant is a sum of exponentials of u with coefficients that are not negative. So the volumes are
found by Newton's method in k numbers, whatever C_k are, matrices or variances alone, and there is one optimum. The
usual way, v_k and B in turn (Celeux & Govaert 1995, sec. 4), ends at the same one and takes some twenty times as many
steps.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.pytree import varying_as
from jgmm._base.types import where
from jgmm._covariance.factor import Factor, ScaleFactor, TriangularFactor, matmul

MOST_STEPS = 100  # five or six are usual


def proportional(covs: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The volumes v (k,) and B, of determinant one, with v_k B nearest to the covariances; differentiable.

    To the rounding of the dtype: the last step of Newton's method, which squares the error, is no longer than its root.

    Args:
        covs: matrices (k, d, d) or variances (k, d).
        share: (k,) of the rows.

    Returns:
        Volumes (k,), squared data units, and B (d, d) or (d,). Not finite where the likelihood has no bound.
    """
    log_volume = jnp.zeros_like(share) if len(share) == 1 else _log_volumes(covs, share)
    common = _common(log_volume, covs, share)
    d = covs.shape[-1]
    size = jnp.exp(2 * _factor(common).half_log_det(d)[0] / d)
    return size * jnp.exp(log_volume), common / size


def _log_volumes(covs, share):
    """The minimum u of f (k,), of weighted mean zero."""
    return jax.lax.custom_root(
        lambda log_volume: _slope(log_volume, covs, share)[0],
        jax.lax.stop_gradient(_first_guess(covs, share)),
        lambda _, start: _minimise(start, *jax.lax.stop_gradient((covs, share))),
        lambda slope, y: jnp.linalg.solve(jax.jacobian(slope)(y), y),
    )


def _first_guess(covs, share):
    """The logarithms of the mean variances, of weighted mean zero."""
    mean = covs.mean(-1) if covs.ndim == 2 else jnp.trace(covs, axis1=1, axis2=2) / covs.shape[-1]
    logs = jnp.log(mean)
    return logs - matmul(share, where(share > 0, logs, 0))


def _common(log_volume, covs, share):
    """sum_k p_k C_k / v_k."""
    return jnp.tensordot(share * jnp.exp(-log_volume), covs, 1, precision=jax.lax.Precision.HIGHEST)


def _factor(common) -> Factor:
    """The square root of one covariance, a matrix (d, d) or variances (d,)."""
    return ScaleFactor(jnp.sqrt(common)[None]) if common.ndim == 1 else TriangularFactor.of(common[None])


def _slope(log_volume, covs, share):
    """The gradient of f (k,), divided by the shares, so that it tells of absent components too; and C_k / v_k (k, q)
    relative to their weighted sum.

    f does not change with the mean of u. That is held at zero by a term of its own.
    """
    d, common = covs.shape[-1], _common(log_volume, covs, share)
    factor = _factor(common)
    relative = jnp.exp(-log_volume)[:, None] * factor.relative(covs, d)
    unit = np.ones(d) if covs.ndim == 2 else np.eye(d).ravel()
    trace = matmul(relative, unit.astype(covs.dtype))
    return d - trace + d * matmul(share, log_volume), relative


def _minimise(start, covs, share):
    """Newton's method from ``start`` (k,), each step cut so that f cannot rise.

    Along a line f'' grows at most as e^{r t}, with r the range of the step: then the part log(1 + r) / r of it is safe
    (Sun & Tran-Dinh 2019, theorem 2).
    """
    d, k = covs.shape[-1], len(share)
    tol = jnp.finfo(covs.dtype).eps ** 0.5

    def step(state):
        log_volume, _, count = state
        slope, relative = _slope(log_volume, covs, share)
        trace = d * (1 + matmul(share, log_volume)) - slope
        bend = np.eye(k, dtype=covs.dtype) * trace[:, None] + share[None] * (d - matmul(relative, relative.T))
        whole = -jnp.linalg.solve(bend, slope)
        reach = whole.max() - whole.min()
        part = where(reach > tol, jnp.log1p(reach) / where(reach > tol, reach, 1), 1)
        return varying_as((log_volume + part * whole, reach, count + 1), state)

    def moving(state):
        _, reach, count = state
        return (reach > tol) & (count < MOST_STEPS)

    first = start, jnp.full((), jnp.inf, covs.dtype), jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(moving, step, varying_as(first, covs, share))[0]
