"""The complete data's information as a metric: changes of a mixture as vectors whose length it measures.

    |z|^2 = sum_k d pi_k^2 / pi_k + pi_k (|L_k^-1 d mu_k|^2 + |L_k^-1 d Sigma_k L_k^-T|^2 / 2)

per row. Lengths so measured depend neither on units nor on coordinates, and EM's Jacobian at a maximum of the
likelihood is a symmetric matrix in these vectors (Dempster, Laird & Rubin 1977, sec. 3).
"""

import jax
import jax.numpy as jnp

from jgmm._base.pytree import pytree
from jgmm._base.types import where
from jgmm._covariance.factor import Factor, matmul
from jgmm._mixture.gmm import GMM


def squared_length(vector):
    """|z|^2 (), by a product: a sum would be two kernels."""
    return matmul(vector, vector)


@pytree
class Chart:
    """The vectors (q,) of changes of ``params``, whose covariances have the ``factor``.

    q counts a symmetric matrix in full and every weight, so some vectors are no change of a mixture: `change`
    takes the nearest one that is.
    """

    params: GMM
    factor: Factor

    @property
    def _inverse(self):
        """1 / the square root of each component's weight (k, 1), 0 for what is absent."""
        weight = self.params.weights[:, None]
        return where(weight > 0, 1 / jnp.sqrt(where(weight > 0, weight, 1)), 0)

    @property
    def _roots(self):
        """The square root of each component's weight: of the mean (k, 1), of the covariance (k or 1, 1)."""
        root = jnp.sqrt(self.params.weights)[:, None]
        rows = self.params.cov.form.shape(*self.params.means.shape)[0]
        return root, root if rows == len(root) else jnp.ones_like(root[:1])

    def vector(self, change):
        """The vector (q,) of a change: a `GMM` of differences or derivatives."""
        root, cov_root = self._roots
        means = root * self.factor.whiten(change.means[:, :, None])[:, :, 0]
        cov = self.params.cov.tangent(change.cov, *change.means.shape)
        cov = cov_root * self.factor.relative(cov, change.num_features) / 2**0.5
        return jnp.concatenate([change.weights * self._inverse[:, 0], means.ravel(), cov.ravel()])

    def gain(self, change):
        """What the change adds to the expected log density of a complete row (), nats, to second order: |z|^2 / 2."""
        return squared_length(self.vector(change)) / 2

    def change(self, vector):
        """The change (`GMM`) of a vector (q,): the inverse of `vector`."""
        k, d = self.params.means.shape
        root, cov_root = self._roots
        weights, means, cov = jnp.split(vector, [k, k + k * d])
        weights = weights - root[:, 0] * matmul(root[:, 0], weights)  # they go on summing to one
        means = jax.vmap(self.factor.color)(means.reshape(k, d), jnp.arange(k)) * self._inverse
        cov_inverse = self._inverse if len(cov_root) == k else jnp.ones_like(cov_root)
        cov = self.factor.absolute(2**0.5 * cov.reshape(len(cov_root), -1) * cov_inverse, d)
        cov = self.params.cov.from_tangent(cov, self.params.weights, d)
        return GMM(root[:, 0] * weights, means, cov)


def information(build, vector, factor):
    """The inner product of the complete data's information per row (`Chart`): v -> F v (m, q), for vectors v (m, p).

    Args:
        build: the mixture of a vector.
        vector: (p,) where.
        factor: the factor of the covariances there.
    """
    params, linear = jax.linearize(build, vector)
    chart = Chart(params, factor)
    return jax.vmap(lambda v: chart.vector(linear(v)))
