"""Square roots of covariances: what a density needs of Sigma_k = L_k L_k^T, from one factorisation.

`TriangularFactor` (full and tied) and `ScaleFactor` (diag and spherical) have the same methods: they
whiten residuals, give determinants and precisions, and colour noise. `log_cholesky` writes a matrix as
unconstrained numbers.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.pytree import pytree

HIGHEST = jax.lax.Precision.HIGHEST  # TF32 and bfloat16 products lose small variances


# Largest block given to LAPACK. From 32 on OpenBLAS solves in threads of its own, which then spin for 25 ms
# on the cores that the next E-step needs (measured: iterations at d = 32 took 1.5 times as long).
BLOCK = 24


def matmul(a, b) -> jax.Array:
    """The matrix product in full precision."""
    return jnp.matmul(a, b, precision=HIGHEST)


def diagonal(matrices):
    """The diagonals (..., d) of matrices (..., d, d): a slice, where ``jnp.diagonal`` is a gather and its indices."""
    *rest, d, _ = matrices.shape
    return matrices.reshape(*rest, d * d)[..., :: d + 1]


def by_feature(x):
    """A number (), or one for each feature (1, d), from (d,): what goes with rows and means."""
    return x[None] if x.ndim else x


def identity(d, dtype):
    """The unit matrix (d, d)."""
    return jnp.asarray(np.eye(d, dtype=dtype))


def _cholesky_and_inverse(cov):
    """L with L L^T = cov, and L^-1, by blocks: the upper left one, the Schur complement, what joins them."""
    d = cov.shape[-1]
    if d <= BLOCK:
        lower = jnp.linalg.cholesky(cov)
        unit = jnp.broadcast_to(identity(d, cov.dtype), cov.shape)
        return lower, jax.lax.linalg.triangular_solve(lower, unit, left_side=True, lower=True)
    half = BLOCK * max(1, d // (2 * BLOCK))
    first, first_inverse = _cholesky_and_inverse(cov[..., :half, :half])
    joint = matmul(cov[..., half:, :half], jnp.swapaxes(first_inverse, -1, -2))
    rest = cov[..., half:, half:] - matmul(joint, jnp.swapaxes(joint, -1, -2))
    second, second_inverse = _cholesky_and_inverse(rest)
    joint_inverse = -matmul(second_inverse, matmul(joint, first_inverse))
    return _lower_blocks(first, joint, second), _lower_blocks(first_inverse, joint_inverse, second_inverse)


def _lower_blocks(first, joint, second):
    above = jnp.zeros_like(jnp.swapaxes(joint, -1, -2))
    upper = jnp.concatenate([first, above], axis=-1)
    return jnp.concatenate([upper, jnp.concatenate([joint, second], axis=-1)], axis=-2)


@pytree
class TriangularFactor:
    """Cholesky factors and their inverses; a leading axis of 1 is shared by all components.

    Densities need the inverse alone: a loop that asks for nothing else carries nothing else.
    """

    lower: jax.Array  # (k, d, d) or (1, d, d)
    inverse: jax.Array  # the same shape

    @classmethod
    def of(cls, cov):
        """The factors of matrices (k or 1, d, d), NaN where one is not positive definite."""
        return cls(*_cholesky_and_inverse(cov))

    def whiten(self, diff):
        """z = L^-1 diff, for diff (k, d, m)."""
        return jnp.einsum("kij,kjm->kim", self.inverse, diff, precision=HIGHEST)

    def color(self, noise, component):
        """L_component noise, for one row of noise (d,)."""
        lower = jnp.take(self.lower, component, axis=0, mode="clip")
        return matmul(lower, noise)

    def pivots(self):
        """L_jj^2 (k or 1, d): the variance of feature j that features before j do not explain."""
        return 1 / diagonal(self.inverse) ** 2

    def half_log_det(self, num_features):
        """log det(Sigma) / 2, (k,) or (1,)."""
        return -jnp.log(diagonal(self.inverse)).sum(-1)

    def precision(self):
        """Sigma^-1 (k or 1, d, d)."""
        return matmul(jnp.swapaxes(self.inverse, -1, -2), self.inverse)

    @staticmethod
    def times(precision, offset):
        """Sigma^-1 offset (k, d), for a `precision` and an offset (k, d)."""
        return matmul(precision, offset[:, :, None])[:, :, 0]

    @staticmethod
    def magnitude(precision, offset):
        """sum_ij |offset_i| |Sigma^-1_ij| |offset_j| (k,): the terms of the quadratic form, unsigned."""
        return (jnp.abs(offset) * TriangularFactor.times(jnp.abs(precision), jnp.abs(offset))).sum(-1)

    def relative(self, change, num_features):
        """L^-1 change L^-T (k or 1, d * d), for a change of covariances L L^T."""
        left = matmul(self.inverse, change)
        whitened = matmul(left, jnp.swapaxes(self.inverse, -1, -2))
        return whitened.reshape(len(whitened), -1)

    def absolute(self, relative, num_features):
        """L relative L^T (k or 1, d, d), made symmetric: the inverse of `relative`."""
        middle = symmetrised(relative.reshape(-1, num_features, num_features))
        left = matmul(self.lower, middle)
        return matmul(left, jnp.swapaxes(self.lower, -1, -2))

    def trace(self, variances):
        """tr(Sigma^-1 diag(variances)), (k,) or (1,), for variances (d,)."""
        return (self.inverse**2 * variances[None, None]).sum((-2, -1))

    def largest_share(self, variances):
        """The largest share of the variance along any direction, (k,) or (1,), that an independent part
        with these ``variances`` (k, d) has in it: the top eigenvalue of L^-1 diag(variances) L^-T."""
        part = self.inverse * variances[: self.inverse.shape[0], None, :]
        return jnp.linalg.eigvalsh(matmul(part, jnp.swapaxes(self.inverse, -1, -2)))[:, -1]

    def feature_share(self, variances):
        """The largest share (k,) or (1,) that independent ``variances`` (d,) have in a feature's variance given the
        others, which is 1 / (Sigma^-1)_jj: no more than the `largest_share`, and no less than it / d."""
        return ((self.inverse**2).sum(-2) * variances[None]).max(-1)


@pytree
class ScaleFactor:
    """Standard deviations per feature (k, d), or one for all features (k, 1)."""

    std: jax.Array

    def whiten(self, diff):
        """z = diff / std, for diff (k, d, m)."""
        return diff / self.std[:, :, None]

    def color(self, noise, component):
        """std_component * noise, for one row of noise (d,)."""
        return self.std[component] * noise

    def pivots(self):
        """The variances (k, d) or (k, 1)."""
        return self.std**2

    def half_log_det(self, num_features):
        """log det(Sigma) / 2, (k,)."""
        return jnp.log(self.std).sum(-1) * (num_features / self.std.shape[-1])

    def precision(self):
        """1 / variance, (k, d) or (k, 1)."""
        return 1 / self.std**2

    @staticmethod
    def times(precision, offset):
        """Sigma^-1 offset (k, d), for a `precision` and an offset (k, d)."""
        return precision * offset

    @staticmethod
    def magnitude(precision, offset):
        """sum_j offset_j^2 / variance_j (k,)."""
        return (precision * offset**2).sum(-1)

    def relative(self, change, num_features):
        """The diagonal of Sigma^-1/2 change Sigma^-1/2 (k, d), for a change of variances like std; one number
        in place of d equal ones, of the same length."""
        return change / self.std**2 * (num_features / self.std.shape[-1]) ** 0.5

    def absolute(self, relative, num_features):
        """The change of variances (k, d) or (k, 1): the inverse of `relative`."""
        return relative * self.std**2 / (num_features / self.std.shape[-1]) ** 0.5

    def trace(self, variances):
        """tr(Sigma^-1 diag(variances)), (k,), for variances (d,)."""
        return (variances[None] / self.std**2).sum(-1)

    def largest_share(self, variances):
        """The largest share of the variance of any feature (k,) that ``variances`` (k, d) have in it; in one variance
        for all features that of their mean."""
        if self.std.shape[-1] == 1:
            variances = variances.mean(-1, keepdims=True)
        return (variances / self.std**2).max(-1)

    def feature_share(self, variances):
        """The `largest_share` for variances (d,)."""
        return self.largest_share(variances[None])


Factor = TriangularFactor | ScaleFactor


def symmetrised(matrix: jax.Array) -> jax.Array:
    """(matrix + its transpose) / 2: products of rounded factors differ in the last bit across the diagonal."""
    return (matrix + jnp.swapaxes(matrix, -1, -2)) / 2


def log_cholesky(lower: jax.Array) -> jax.Array:
    """log L_jj of each feature, then L_ij below the diagonal row by row: (..., d (d + 1) / 2).

    Any real numbers are such coordinates of a positive definite matrix L L^T (Pinheiro & Bates 1996, sec. 2.2).
    """
    below = np.tril_indices(lower.shape[-1], -1)
    log_diagonal = jnp.log(diagonal(lower))
    return jnp.concatenate([log_diagonal, lower[..., below[0], below[1]]], -1)


def from_log_cholesky(coordinates: jax.Array) -> jax.Array:
    """The matrices L L^T (..., d, d), symmetric to the last bit: the inverse of `log_cholesky`."""
    d = (math.isqrt(8 * coordinates.shape[-1] + 1) - 1) // 2
    below = np.tril_indices(d, -1)
    unit = np.eye(d, dtype=coordinates.dtype).reshape(*(1,) * (coordinates.ndim - 1), d, d)
    lower = jnp.exp(coordinates[..., :d, None]) * unit
    lower = lower.at[..., below[0], below[1]].set(coordinates[..., d:])
    return symmetrised(matmul(lower, jnp.swapaxes(lower, -1, -2)))
