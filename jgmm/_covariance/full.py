"""Covariance families with correlations: a matrix for each component (`Full`), or one for all (`Tied`).

What a family is, and what its methods mean, says `jgmm._cov`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.pytree import public, pytree
from jgmm._covariance.diagonal import Separate, divisor, need
from jgmm._covariance.factor import HIGHEST, TriangularFactor, from_log_cholesky, log_cholesky, matmul, symmetrised


def _pairs(d):
    """The pairs i <= j of d features and, for j = d, a constant; not the constant with itself."""
    return np.triu_indices(d + 1)[0][:-1], np.triu_indices(d + 1)[1][:-1]


class Correlated:
    """What the families of matrices have in common."""

    rows_last = False

    def coordinates(self, factor):
        """(k, d (d + 1) / 2), or without k, unconstrained: log L_jj, then L_ij for j < i, of the Cholesky factors."""
        return log_cholesky(factor.lower.reshape(self.cov.shape))

    @classmethod
    def from_coordinates(cls, coordinates):
        """The inverse of `coordinates`."""
        return cls(from_log_cholesky(coordinates))

    def scale(self):
        """sigma_i sigma_j of each entry, in the family's own shape."""
        std = jnp.sqrt(jnp.diagonal(self.cov, axis1=-2, axis2=-1))
        return type(self)(std[..., :, None] * std[..., None, :])

    def marginal(self, dims):
        """The covariance of the features ``dims`` alone: their rows and columns."""
        return type(self)(self.cov[..., dims[:, None], dims])

    def conditional(self, factor, given, rest):
        """Slopes (k or 1, |rest|, |given|) and covariance of the features ``rest`` where ``given`` are known.

        With W = L^-1 Sigma_gr, L the ``factor`` of Sigma_gg: slopes W^T L^-1, covariance Sigma_rr - W^T W.
        """
        cov = self.rows()
        joint = matmul(factor.inverse, cov[:, given[:, None], rest])
        across = jnp.swapaxes(joint, -1, -2)
        slopes = matmul(across, factor.inverse)
        left = cov[:, rest[:, None], rest] - matmul(across, joint)
        return slopes, self.from_rows(symmetrised(left))

    def plus(self, noise):
        """The covariance with independent noise added: a variance (), one per feature (d,), or a matrix (d, d)."""
        d = self.cov.shape[-1]
        return type(self)(self.cov + (noise if noise.ndim == 2 else jnp.diag(jnp.broadcast_to(noise, (d,)))))

    def transformed(self, A):
        """The covariance of A x: A a factor (), one per feature (d,), or a matrix (q, d)."""
        if A.ndim < 2:
            return type(self)(self.cov * A[..., None] * A if A.ndim else self.cov * A**2)
        left = matmul(A, self.cov)
        return type(self)(symmetrised(matmul(left, A.T)))


@pytree
@public
class Full(Correlated, Separate):
    """A covariance matrix for each component.

    Args:
        cov: (k, d, d) symmetric positive definite, squared data units.
    """

    cov: jax.Array

    rows_last = True

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        """Sigma_k = S_k / N_k + diag(ridge), for scatter (k, d, d), weight (k,), ridge (d,)."""
        need("full", scatter.ndim == 3 and scatter.shape[0] == weight.shape[0], scatter)
        return cls(symmetrised(scatter / divisor(weight)[:, None, None]) + jnp.diag(ridge))

    @staticmethod
    def scatter(weighted, diff):
        """sum_n weighted_n diff_n^T (k, d, d), for two arrays (k, d, m)."""
        return jnp.einsum("kim,kjm->kij", weighted, diff, precision=HIGHEST)

    @staticmethod
    def features(Z):
        """z_i z_j for i <= j and z_i, from y = (z, 1): ((d (d + 3) / 2, m),)."""
        i, j = _pairs(Z.shape[-1])
        # A concatenation is written to memory, so that the products read it as it stands.
        y = jnp.concatenate([Z.T, jnp.ones_like(Z[:, 0])[None]])
        return (y.at[i].get(mode="promise_in_bounds") * y.at[j].get(mode="promise_in_bounds"),)

    @staticmethod
    def natural(precision, linear):
        """((k, d (d + 3) / 2),): the upper triangle of [[-P / 2, b / 2], [., .]], what lies off its diagonal twice."""
        i, j = _pairs(linear.shape[-1])
        above = jnp.concatenate([-precision / 2, linear[:, :, None] / 2], axis=-1)
        return (above[:, i, j] * jnp.where(i == j, 1, 2).astype(linear.dtype),)

    @staticmethod
    def moments(sums, frame_scatter):
        """Scatter (k, d, d) and shift (k, d), from sums (k, d (d + 3) / 2) of features."""
        d = frame_scatter.shape[-1]
        i, j = _pairs(d)
        place = np.zeros((d + 1, d + 1), int)
        place[i, j] = place[j, i] = np.arange(len(i))
        whole = sums[0][:, place[:d]]
        return whole[:, :, :d], whole[:, :, d]

    def factor(self):
        """The Cholesky factors, NaN where a matrix is not positive definite."""
        return TriangularFactor.of(self.cov)

    def rows(self):
        """The values with the component (or a shared 1) as first axis."""
        return self.cov

    @classmethod
    def from_rows(cls, rows):
        """The inverse of `rows`."""
        return cls(rows)

    def dense(self, num_components, num_features):
        """(k, d, d)."""
        return self.cov

    def variances(self, num_components, num_features):
        """(k, d)."""
        return jnp.diagonal(self.cov, axis1=-2, axis2=-1)

    @staticmethod
    def shape(num_components, num_features):
        """The shape of the values."""
        return (num_components, num_features, num_features)

    @staticmethod
    def least_rows(num_features):
        """d + 1: on fewer rows a covariance is singular, and the likelihood whatever the ridge lets it be."""
        return num_features + 1

    @staticmethod
    def num_parameters(num_components, num_features):
        """k d (d + 1) / 2."""
        return num_components * num_features * (num_features + 1) // 2


@pytree
@public
class Tied(Correlated):
    """One covariance matrix for all components.

    Args:
        cov: (d, d) symmetric positive definite, squared data units.
    """

    cov: jax.Array

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        """Sigma = sum_k S_k / sum_k N_k + diag(ridge), for scatter (k or 1, d, d)."""
        need("tied", scatter.ndim == 3, scatter)
        return cls(symmetrised(scatter.sum(0) / divisor(weight.sum())) + jnp.diag(ridge))

    @staticmethod
    def scatter(weighted, diff):
        """sum_k sum_n weighted_kn diff_kn^T (1, d, d), for two arrays (k, d, m)."""
        return jnp.einsum("kim,kjm->ij", weighted, diff, precision=HIGHEST)[None]

    @classmethod
    def frame(cls):
        """The family whose scatter of all rows every E-step can use: it is constant, and so taken once."""
        return cls

    @staticmethod
    def features(Z):
        """((d, m),), the rows themselves: z^T P z is the same for all components."""
        return (Z.T,)

    @staticmethod
    def natural(precision, linear):
        """((k, d),)."""
        return (linear,)

    @staticmethod
    def moments(sums, frame_scatter):
        """Scatter (1, d, d) and shift (k, d), from sums (k, d) of features."""
        return frame_scatter, sums[0]

    @staticmethod
    def common_log_prob(precision, frame_scatter):
        """-sum_n s_n x_n^T P x_n / 2, from the scatter of all rows."""
        return -(precision * frame_scatter).sum() / 2

    def factor(self):
        """The Cholesky factor (1, d, d), NaN where the matrix is not positive definite."""
        return TriangularFactor.of(self.cov[None])

    def rows(self):
        """The value with a first axis of 1 for the components."""
        return self.cov[None]

    @classmethod
    def from_rows(cls, rows):
        """The inverse of `rows`."""
        return cls(rows[0])

    def dense(self, num_components, num_features):
        """(k, d, d)."""
        return jnp.broadcast_to(self.cov, (num_components, num_features, num_features))

    def variances(self, num_components, num_features):
        """(k, d)."""
        return jnp.broadcast_to(jnp.diagonal(self.cov), (num_components, num_features))

    @staticmethod
    def shape(num_components, num_features):
        """The shape of the value."""
        return (num_features, num_features)

    @staticmethod
    def least_rows(num_features):
        """1: the rows of the others serve the covariance too."""
        return 1

    @staticmethod
    def num_parameters(num_components, num_features):
        """d (d + 1) / 2."""
        return num_features * (num_features + 1) // 2
