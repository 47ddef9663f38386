"""Covariance families with correlations: a matrix for each component (`Full`), or one for all (`Tied`)."""

from typing import Any, Self

import jax
import jax.numpy as jnp

from jgmm._base.pytree import public, pytree
from jgmm._covariance import forms
from jgmm._covariance.factor import Factor, TriangularFactor, matmul, symmetrised
from jgmm._covariance.family import Covariance, diagonal_matrix, divisor


class _Matrix(Covariance):
    """What the families of matrices do without leaving themselves."""

    cov: jax.Array

    shares_units = False

    def _with(self, cov):
        family: Any = type(self)
        return family(cov.reshape(*self.cov.shape[:-2], *cov.shape[-2:]))

    def marginal(self, dims) -> Any:
        """The covariance of the features ``dims`` alone: their rows and columns."""
        return self._with(self.cov[..., dims[:, None], dims])

    def conditional(self, factor: TriangularFactor, given, rest) -> Any:
        """Slopes (k or 1, |rest|, |given|) and covariance of the features ``rest`` where ``given`` are known.

        With W = L^-1 Sigma_gr, L the ``factor`` of Sigma_gg: slopes W^T L^-1, covariance Sigma_rr - W^T W.
        """
        cov = self.cov.reshape(-1, *self.cov.shape[-2:])
        joint = matmul(factor.inverse, cov[:, given[:, None], rest])
        across = jnp.swapaxes(joint, -1, -2)
        slopes = matmul(across, factor.inverse)
        left = cov[:, rest[:, None], rest] - matmul(across, joint)
        return slopes, self._with(symmetrised(left))

    def plus(self, noise: jax.Array) -> Any:
        """The covariance with independent noise added: a variance (), one per feature (d,), or a matrix (d, d)."""
        d = self.cov.shape[-1]
        noise = noise if noise.ndim == 2 else jnp.diag(jnp.broadcast_to(noise, (d,)))
        return self._with(self.cov + jnp.broadcast_to(noise, self.cov.shape))

    def transformed(self, A: jax.Array) -> Any:
        """The covariance of A x: A a factor (), one per feature (d,), or a matrix (q, d)."""
        if A.ndim < 2:
            cov = self.cov.reshape(-1, *self.cov.shape[-2:])
            return self._with(cov * A[None, :, None] * A[None, None] if A.ndim else cov * A**2)
        return self._with(symmetrised(matmul(matmul(A, self.cov), A.T)))


@pytree
@public
class Full(_Matrix):
    """A covariance matrix for each component.

    Args:
        cov: (k, d, d) symmetric positive definite, squared data units.
    """

    cov: jax.Array

    form = forms.full

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """Sigma_k = S_k / N_k + diag(ridge), for scatter (k, d, d), weight (k,), ridge (d,)."""
        return cls(symmetrised(scatter / divisor(weight)[:, None, None]) + diagonal_matrix(ridge)[None])

    def factor(self) -> Factor:
        """The Cholesky factors, NaN where a matrix is not positive definite."""
        return TriangularFactor.of(self.cov)

    def dense(self, num_components: int, num_features: int) -> jax.Array:
        """(k, d, d)."""
        return self.cov

    @classmethod
    def from_values(cls, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The matrices themselves."""
        return cls(values)

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """k d (d + 1) / 2."""
        return num_components * num_features * (num_features + 1) // 2


@pytree
@public
class Tied(_Matrix):
    """One covariance matrix for all components.

    Args:
        cov: (d, d) symmetric positive definite, squared data units.
    """

    cov: jax.Array

    form = forms.tied

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """Sigma = sum_k S_k / sum_k N_k + diag(ridge), for scatter (1, d, d), weight (k,), ridge (d,)."""
        return cls(symmetrised(scatter.sum(0) / divisor(weight.sum())) + diagonal_matrix(ridge))

    def factor(self) -> Factor:
        """The Cholesky factor (1, d, d), NaN where the matrix is not positive definite."""
        return TriangularFactor.of(self.cov[None])

    def dense(self, num_components: int, num_features: int) -> jax.Array:
        """(k, d, d)."""
        return jnp.broadcast_to(self.cov, (num_components, num_features, num_features))

    def values(self, num_components: int, num_features: int) -> jax.Array:
        """The matrix (1, d, d)."""
        return self.cov[None]

    @classmethod
    def from_values(cls, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The matrix itself."""
        return cls(values[0])

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """d (d + 1) / 2."""
        return num_features * (num_features + 1) // 2
