"""Square roots of covariances of factors and noise by Woodbury's identity: of many features, without matrices (d, d).

Sigma^-1 = Psi^-1 - E^T E,    E = L^-1 A^T Psi^-1/2,    A = Psi^-1/2 W,    I + A^T A = L L^T
"""

import jax
import jax.numpy as jnp

from jgmm._base.pytree import pytree
from jgmm._covariance.factor import HIGHEST, TriangularFactor, identity, matmul, symmetrised
from jgmm._covariance.projection import Posterior, transposed


@pytree
class WoodburyFactor:
    """Square roots of Psi + W W^T in O(d q) numbers, with the methods of the other factors.

        Sigma^-1 = R^T R,    R = (I - A (L^T + I)^-1 L^-1 A^T) Psi^-1/2,    R^-1 = Psi^1/2 (I + A (L + I)^-1 A^T)

    Args:
        std: (k, d) Psi^1/2.
        scaled: (k, d, q) A = Psi^-1/2 W.
        inverse: (k, q, q) L^-1.
        shrink: (k, q, q) (L + I)^-1.
    """

    std: jax.Array
    scaled: jax.Array
    inverse: jax.Array
    shrink: jax.Array

    @classmethod
    def of(cls, loadings, noise):
        """The factors of loadings (k, d, q) and noise (k, d), NaN where this is negative."""
        std = jnp.sqrt(noise)
        scaled = loadings / std[:, :, None]
        unit = identity(loadings.shape[-1], loadings.dtype)[None]
        middle = TriangularFactor.of(symmetrised(matmul(transposed(scaled), scaled)) + unit)
        unit = jnp.broadcast_to(unit, middle.lower.shape)
        shrink = jax.lax.linalg.triangular_solve(middle.lower + unit, unit, left_side=True, lower=True)
        return cls(std, scaled, middle.inverse, shrink)

    @property
    def _explained(self):
        """L^-1 A^T (k, q, d)."""
        return matmul(self.inverse, transposed(self.scaled))

    def posterior(self):
        """The `Posterior` of the factors."""
        return Posterior(self._explained / self.std[:, None], self.inverse)

    def whiten(self, diff):
        """z = R diff, for diff (k, d, m)."""
        z = diff / self.std[:, :, None]
        explained = matmul(transposed(self.shrink), jnp.einsum("kqj,kjm->kqm", self._explained, z, precision=HIGHEST))
        return z - jnp.einsum("kjq,kqm->kjm", self.scaled, explained, precision=HIGHEST)

    def color(self, noise, component):
        """R_component^-1 noise, for one row of noise (d,)."""
        std, scaled, shrink = (
            jnp.take(x, component, axis=0, mode="clip") for x in (self.std, self.scaled, self.shrink)
        )
        return std * (noise + matmul(scaled, matmul(shrink, matmul(noise, scaled))))

    def pivots(self):
        """The noise (k, d): no less of a feature is left by those before it. NaN where loadings are."""
        return self.std**2 + 0 * self.inverse.sum((-2, -1))[:, None]

    def precision(self):
        """Sigma^-1 = 1 / psi - E^T E: 1 / psi (k, d) and E = L^-1 A^T Psi^-1/2 (k, q, d)."""
        return 1 / self.std**2, self._explained / self.std[:, None]

    @staticmethod
    def times(precision, offset):
        """Sigma^-1 offset (k, d), for a `precision` and an offset (k, d)."""
        inverse, explained = precision
        along = matmul(explained, offset[:, :, None])
        return inverse * offset - matmul(transposed(explained), along)[:, :, 0]

    @staticmethod
    def magnitude(precision, offset):
        """2 offset^T Psi^-1 offset (k,): what is taken from offset^T Psi^-1 offset, |E offset|^2, is no more."""
        return 2 * (precision[0] * offset**2).sum(-1)

    def half_log_det(self, num_features):
        """log det(Sigma) / 2, (k,)."""
        middle = TriangularFactor(self.inverse, self.inverse).half_log_det(num_features)
        return jnp.log(self.std).sum(-1) + middle

    def _precisions(self):
        """The diagonal of Sigma^-1 (k, d)."""
        return (1 - (self._explained**2).sum(-2)) / self.std**2

    def trace(self, variances):
        """tr(Sigma^-1 diag(variances)) (k,), for variances (d,)."""
        return (self._precisions() * variances[None]).sum(-1)

    def largest_share(self, variances):
        """The largest share (k,) that independent ``variances`` (k, d) have in a feature's variance given the others:
        of all directions those of the features alone are looked at."""
        return (self._precisions() * variances).max(-1)

    def feature_share(self, variances):
        """The `largest_share` for variances (d,)."""
        return self.largest_share(variances[None])

    def relative(self, change, num_features):
        """Changes of noise and loadings, in the form's values (k, d (q + 1)), relative to the noise.

        They are measured by the information of the complete data, the factors among them (Rubin & Thayer 1982).
        """
        change = change.reshape(*self.std.shape, -1) / self.std[:, :, None]
        noise, loadings = change[..., :1] / self.std[:, :, None], change[..., 1:] * 2**0.5
        return jnp.concatenate([noise, loadings], -1).reshape(len(change), -1)
