"""The complete data's information as a metric: changes of a mixture as vectors whose length it measures.

    |z|^2 = sum_k d pi_k^2 / pi_k + pi_k (|L_k^-1 d mu_k|^2 + |L_k^-1 d Sigma_k L_k^-T|^2 / 2)

per row. Lengths so measured depend neither on units nor on coordinates, and EM's Jacobian at a maximum of the
likelihood is a symmetric matrix in these vectors (Dempster, Laird & Rubin 1977, sec. 3).
"""

import jax
import jax.numpy as jnp

from jgmm._base.pytree import pytree
from jgmm._covariance.factor import Factor, matmul
from jgmm._mixture.gmm import GMM


@pytree
class Chart:
    """The vectors (q,) of changes of ``params``, whose covariances have the ``factor``.

    q counts a symmetric matrix in full and every weight, so some vectors are no change of a mixture: `change`
    takes the nearest one that is.
    """

    params: GMM
    factor: Factor

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
        return jnp.concatenate([change.weights / root[:, 0], means.ravel(), cov.ravel()])

    def change(self, vector):
        """The change (`GMM`) of a vector (q,): the inverse of `vector`."""
        k, d = self.params.means.shape
        root, cov_root = self._roots
        weights, means, cov = jnp.split(vector, [k, k + k * d])
        weights = weights - root[:, 0] * matmul(root[:, 0], weights)  # they go on summing to one
        means = jax.vmap(self.factor.color)(means.reshape(k, d), jnp.arange(k)) / root
        cov = self.factor.absolute(2**0.5 * cov.reshape(len(cov_root), -1) / cov_root, d)
        cov = self.params.cov.from_tangent(cov, self.params.weights, d)
        return GMM(root[:, 0] * weights, means, cov)
