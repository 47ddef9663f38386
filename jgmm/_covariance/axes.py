"""Axes of covariances: those of each component, or the ones of highest likelihood that all components share.

Of shared axes D, orthonormal columns, with variances v_kj = (D^T C_k D)_jj along them, D minimises the logarithm of
the mean volume,

    sum_k p_k u_k   or   log sum_k p_k e^{u_k},   u_k = mean_j log v_kj

where volumes may vary (common principal components; Flury 1984, eq. 2.5), or have to be equal. Every step turns each
pair of axes i, j by their own Newton step, all at once, D <- D cayley(t W), with

    W_ij = -sum_k w_k M_kij (1 / v_kj - 1 / v_ki) / sum_k w_k (v_ki - v_kj)^2 / (v_ki v_kj),   M_k = D^T C_k D

and takes the best of several lengths t, or none: the likelihood cannot fall. Ten or twenty steps reach what rounding
permits, where majorisation (Browne & McNicholas 2014) takes hundreds.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.pytree import varying_as
from jgmm._base.types import where
from jgmm._covariance.factor import HIGHEST, TriangularFactor, diagonal, identity, matmul

LENGTHS = 2.0, 1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.001
LARGEST = 0.8  # of a turn, in radians
MOST_STEPS = 200


def own_axes(covs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Variances (k, d), ascending, along the axes (k, d, d) of each matrix, its eigenvectors."""
    return jnp.linalg.eigh(covs, symmetrize_input=False)


def aligned(axes: jax.Array, old: jax.Array) -> jax.Array:
    """The axes (k, d, d), of which the sign says nothing, each on the side of the old one (k or 1, d, d)."""
    return where((axes * old).sum(-2, keepdims=True) < 0, -axes, axes)


def orthonormal(axes: jax.Array) -> jax.Array:
    """Orthonormal axes (..., d, d) by Gram's and Schmidt's method: orthonormal ones are left as they are."""
    inverse = TriangularFactor.of(matmul(jnp.swapaxes(axes, -1, -2), axes)).inverse
    return matmul(axes, jnp.swapaxes(inverse, -1, -2))


def along(axes: jax.Array, covs: jax.Array) -> jax.Array:
    """The variances (k, d) of matrices (k, d, d) along shared axes (d, d)."""
    return (matmul(covs, axes) * axes[None]).sum(-2)


def common_axes(covs: jax.Array, share: jax.Array, start: jax.Array, equal: bool) -> jax.Array:
    """The axes (d, d) that fit all the matrices best, from a start; differentiable.

    Until no step gains more than rounding. That leaves angles an error of about the root of it.

    Args:
        covs: (k, d, d) matrices.
        share: (k,) of the rows.
        start: (d, d) orthonormal axes.
        equal: whether the volumes have to be equal.
    """
    constants = jax.lax.stop_gradient((covs, share))
    axes = jax.lax.stop_gradient(_minimise(*constants, jax.lax.stop_gradient(start), equal))
    stiffness = jax.lax.stop_gradient(_newton(axes, *constants, equal)[2]) / len(axes)

    def slope(turn):
        return jax.grad(lambda turn: _log_volume(along(_turned(axes, turn), covs), share, equal))(turn)

    def solve(bend, y):
        return jax.lax.custom_linear_solve(bend, y, lambda bend, y: _descend(bend, y, stiffness), symmetric=True)

    return _turned(axes, jax.lax.custom_root(slope, jnp.zeros_like(axes), lambda _, turn: turn, solve))


def _turned(axes, turn):
    """D exp(W) to second order, W = (turn - turn^T) / 2."""
    first = matmul(axes, (turn - turn.T) / 2)
    return axes + first + matmul(first, (turn - turn.T) / 4)


def _log_volume(variances, share, equal):
    """The logarithm of the mean volume (), from variances (..., k, d)."""
    logs = jnp.log(variances).mean(-1)
    if equal:
        return jax.scipy.special.logsumexp(logs, axis=-1, b=jnp.broadcast_to(share, logs.shape))
    return matmul(logs, share)


def _newton(axes, covs, share, equal):
    """M_k (k, d, d), the turns W (d, d) of all pairs, and how much the objective, times d, resists them (d, d)."""
    seen = matmul(matmul(axes.T, covs), axes)
    variances = diagonal(seen)
    logs = jnp.log(variances).mean(-1)
    weight = share * jnp.exp(logs - _log_volume(variances, share, equal)) if equal else share
    row, column = variances[:, :, None], variances[:, None]
    slope = jnp.tensordot(weight, seen * (1 / column - 1 / row), 1, precision=HIGHEST)
    ratio = (row - column) ** 2 / (row * column)
    stiffness = jnp.tensordot(weight, ratio, 1, precision=HIGHEST)
    stiffness = stiffness + jnp.finfo(covs.dtype).eps  # round components have any axes
    turn = jnp.clip(-slope / stiffness, -LARGEST, LARGEST)
    return seen, (turn - turn.T) / 2, stiffness


def _descend(bend, y, stiffness):
    """x with bend(x) = y (d, d), by conjugate gradients (Golub & Van Loan 2013, algorithm 11.5.1)."""

    def step(state):
        x, rest, way, size, count = state
        bent = bend(way)
        resists = (way * bent).sum()
        bends = resists > 0  # what rounding leaves on the diagonal, where nothing turns, does not
        length = where(bends, size / where(bends, resists, 1), 0)
        rest = rest - length * bent
        new = where(bends, (rest**2 / stiffness).sum(), 0)
        return varying_as((x + length * way, rest, rest / stiffness + new / size * way, new, count + 1), state)

    def left(state):
        *_, size, count = state
        return (size > least) & (count < 2 * y.size)

    size = (y**2 / stiffness).sum()
    least = jnp.finfo(y.dtype).eps ** 2 * size
    first = jnp.zeros_like(y), y, y / stiffness, size, jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(left, step, varying_as(first, y, stiffness))[0]


def _cayley(turns):
    """(I - W / 2)^-1 (I + W / 2), orthogonal, for skew matrices W (s, d, d)."""
    unit = identity(turns.shape[-1], turns.dtype)[None]
    return jnp.linalg.solve(unit - turns / 2, unit + turns / 2)


def _minimise(covs, share, start, equal):
    lengths = np.array(LENGTHS, covs.dtype)[:, None, None]
    least = 4 * jnp.finfo(covs.dtype).eps

    def step(state):
        axes, value, _, count = state
        seen, turn, _ = _newton(axes, covs, share, equal)
        turned = _cayley(lengths * turn[None])
        tried = (jnp.einsum("kab,sbj->skaj", seen, turned, precision=HIGHEST) * turned[:, None]).sum(-2)
        values = _log_volume(tried, share, equal)
        values = where(jnp.isnan(values), jnp.inf, values)
        best = jnp.argmin(values)
        gain = value - values[best]
        axes = where(gain > 0, matmul(axes, turned[best]), axes)
        return varying_as((axes, jnp.minimum(value, values[best]), gain, count + 1), state)

    def moving(state):
        _, value, gain, count = state
        return (gain > least * jnp.maximum(1, jnp.abs(value))) & (count < MOST_STEPS)

    value = _log_volume(along(start, covs), share, equal)
    first = start, value, jnp.full((), jnp.inf, covs.dtype), jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(moving, step, varying_as(first, covs, share))[0]
