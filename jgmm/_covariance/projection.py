"""Factors of many features, by their posterior: no matrix (d, d), and no product of d^2 numbers with a row.

Of x = mu + W z + noise, with A = Psi^-1/2 W and M = I + A^T A = L L^T, the factors of a row are, given the row,

    z | x ~ N(basis (x - mu), cov),    basis = M^-1 A^T Psi^-1/2,    cov = M^-1

and all that the M-step needs of the rows are the squares of their features and their products with basis (x - mu):
the diagonal of the scatter S and S basis^T (Ghahramani & Hinton 1996, eq. 5 to 8). Densities follow from Woodbury's
identity, of which `WoodburyFactor` is the square root.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.pytree import public, pytree
from jgmm._base.types import where
from jgmm._covariance.factor import HIGHEST, TriangularFactor, identity, matmul, symmetrised


def transposed(matrices):
    """Each of the matrices (k, p, q) transposed."""
    return jnp.swapaxes(matrices, -1, -2)


def rescaled(moments, units):
    """Numbers (k, d, q + 1), the first of a feature in its squared unit and the others in its unit, times units (d,).

    One unit after the other: a square alone could overflow.
    """
    first = (np.arange(moments.shape[-1]) == 0).astype(moments.dtype)[None, None]
    return moments * units[None, :, None] * (units[None, :, None] * first + (1 - first))


def alike(a, b):
    """Which matrices (k, p, q) are the same, but for the rounding of two programs."""
    most = jnp.finfo(a.dtype).eps ** 0.75 * jnp.abs(a).max((-2, -1))
    return jnp.abs(a - b).max((-2, -1)) <= most


@pytree
class Posterior:
    """The factors of a row given the row, for each component; as a form, the moments that the M-step needs.

    With u = L basis (x - mu), Sigma^-1 is Psi^-1 but for u^T u. About a centre for all components u, which is for
    densities, weighs the row for the sums as well: products of (m, d) with (d, k (q + 1)) numbers, and no (k, d, m).

    Args:
        explained: (k, q, d) L^-1 A^T Psi^-1/2, which makes u, 1 / data units.
        inverse: (k, q, q) L^-1.
    """

    explained: jax.Array
    inverse: jax.Array

    rows_last: ClassVar[bool] = False

    @property
    def basis(self):
        """(k, q, d) of the mean basis (x - mu) of the factors, 1 / data units."""
        return matmul(transposed(self.inverse), self.explained)

    @property
    def cov(self):
        """(k, q, q) the covariance of the factors."""
        return matmul(transposed(self.inverse), self.inverse)

    def scatter(self, weight, diff):
        """sum_m weight_km diff_kjm (diff_kjm, basis diff) (k, d, q + 1), for weights (k, m), residuals (k, d, m)."""
        factors = jnp.einsum("kqj,kjm->kqm", self.basis, diff, precision=HIGHEST)
        squares = jnp.einsum("km,kjm->kj", weight, diff**2, precision=HIGHEST)
        cross = jnp.einsum("kjm,kqm->kjq", diff, weight[:, None] * factors, precision=HIGHEST)
        return jnp.concatenate([squares[:, :, None], cross], -1)

    def whole(self, sums):
        """The scatter of these sums over all rows."""
        return Projection(sums, self.basis, self.cov)

    @staticmethod
    def features(Z):
        """z_j^2 and z_j, (d, m) each."""
        return (Z**2).T, Z.T

    @staticmethod
    def natural(precision, linear):
        """(k, d), -1 / (2 psi); and (k (q + 1), d): Sigma^-1 mu, then what makes u."""
        inverse, explained = precision
        return -inverse / 2, jnp.concatenate([linear, explained.reshape(-1, linear.shape[1])])

    def _parted(self, products):
        """The k rows of the `features` alone, and u (k, q, m)."""
        k, q, _ = self.explained.shape
        return products[:k], products[k:].reshape(k, q, -1)

    def log_terms(self, products):
        """The log densities (k, m) but for their constants: with u^T u / 2."""
        squares, (linear, u) = products[0], self._parted(products[1])
        return squares + linear + (u**2).sum(1) / 2

    def shares(self, resp, products):
        """By what the squares (k, m) and rows (k (q + 1), m) are weighed in sums: by resp, and by resp u."""
        _, u = self._parted(products[1])
        return resp, jnp.concatenate([resp, (resp[:, None] * u).reshape(-1, resp.shape[1])])

    def moments(self, sums, frame_scatter):
        """`Projection` and shift (k, d)."""
        squares, (shift, cross) = sums[0], self._parted(sums[1])
        cross = matmul(transposed(cross), self.inverse)
        return self.whole(jnp.concatenate([squares[:, :, None], cross], -1)), shift

    @staticmethod
    def common_log_prob(precision, frame_scatter):
        """What `features` leave out: nothing."""
        return 0


@pytree
@public
class Projection:
    """The scatter S of rows as far as the factors of one mixture need it, in the `Stats` of ``lowrank(q, wide=True)``.

    Of a row the factors of that mixture are N(basis (x - mu), cov). Scatters of one mixture add; the sum with that of
    another is NaN, unless one of them is of no rows.

    Args:
        moments: (k, d, q + 1) the diagonal of S, squared data units times rows, then S basis^T, data units times rows.
        basis: (k, q, d) what makes the mean of the factors, 1 / data units.
        cov: (k, q, q) the covariance of the factors, without unit.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> cov = jgmm.LowRank(jnp.ones((1, 3, 1)), jgmm.Diag(jnp.ones((1, 3))), wide=True)
        >>> scatter = jgmm.e_step(jgmm.GMM(jnp.ones(1), jnp.zeros((1, 3)), cov), jnp.ones((2, 3))).scatter
        >>> print(type(scatter).__name__, scatter.moments[0, 0])
        Projection [2.  1.5]
    """

    moments: jax.Array
    basis: jax.Array
    cov: jax.Array

    @property
    def shape(self):
        """(k, d), that of the poorer scatter which this one holds: its diagonal."""
        return self.moments.shape[:2]

    @property
    def ndim(self):
        """2."""
        return 2

    @property
    def squares(self):
        """The diagonal of the scatter (k, d)."""
        return self.moments[..., 0]

    def sum(self, axis, keepdims):
        """The sum of the diagonals: across components nothing else has one."""
        return self.squares.sum(axis, keepdims=keepdims)

    def products(self, a, b):
        """a_k b_k^T, for rows a, b (k, d), as far as it is kept here."""
        factors = matmul(self.basis, b[:, :, None])[:, None, :, 0]
        moments = jnp.concatenate([(a * b)[:, :, None], a[:, :, None] * factors], -1)
        return Projection(moments, self.basis, self.cov)

    def in_units(self, units):
        """The same of features in other units: x'_j = u_j x_j."""
        return Projection(rescaled(self.moments, units), self.basis / units[None, None], self.cov)

    def __add__(self, other):
        if not isinstance(other, Projection):
            return NotImplemented
        if self.basis is other.basis:
            return Projection(self.moments + other.moments, self.basis, self.cov)
        moments = where(self.adds_to(other)[:, None, None], self.moments + other.moments, jnp.nan)
        empty = self._is_empty[:, None, None]
        return Projection(moments, where(empty, other.basis, self.basis), where(empty, other.cov, self.cov))

    @property
    def _is_empty(self):
        """Which components have no rows (k,)."""
        return (self.moments == 0).all((-2, -1))

    def adds_to(self, other):
        """Which components' scatters have a sum (k,): of one mixture, or of no rows."""
        return self._is_empty | other._is_empty | alike(self.basis, other.basis)

    def __mul__(self, factor):
        return Projection(factor * self.moments, self.basis, self.cov)

    __rmul__ = __mul__

    def moved(self, posterior, loadings, weight, ridge):
        """The scatter as the mixture that was learnt from it would have it, of this ``posterior`` and ``loadings``.

        The last M-step turned and stretched the factors, z' = R^-1 z. In these terms the expected products of all rows
        behind the scatter with their factors are S basis^T R^-T, which are N W but for the ridge's share, and those of
        the factors N I. So statistics of successive mixtures have a sum, that of Cappe & Moulines (2009). A component
        that kept its covariance keeps its moments.
        """
        cross = weight[:, None, None] * (loadings - ridge[None, :, None] * transposed(posterior.basis))
        moved = jnp.concatenate([self.squares[:, :, None], cross], -1)
        moments = where(alike(self.basis, posterior.basis)[:, None, None], self.moments, moved)
        return Projection(moments, posterior.basis, posterior.cov)

    def squared_length(self, factor):
        """sum tr(Sigma^-1 S) (), for the `WoodburyFactor`; it and its first derivatives are right at this mixture.

        x^T Sigma^-1 x is the least |Psi^-1/2 (x - W z)|^2 + |z|^2 of any z, which is at z = basis x: near there z may
        stay that.
        """
        among = matmul(self.basis, self.moments[..., 1:])
        loadings = factor.std[:, :, None] * factor.scaled
        with_factors = (loadings * (matmul(loadings, among) - 2 * self.moments[..., 1:])).sum(-1)
        return ((self.squares + with_factors) / factor.std**2).sum() + jnp.trace(among, axis1=1, axis2=2).sum()

    def loadings_and_noise(self, weight, ridge):
        """W (k, d, q) and psi (k, d) of one step of EM in the factors, from rows of this ``weight`` (k,).

        With C = S basis^T / N and the factors' second moments cov + basis C = R R^T:  W = C R^-T,  psi = diag(S) / N -
        diag(W W^T), which may be rounding. EM itself has W = C (R R^T)^-1; that times R takes the moments for the
        covariance of the factors (parameter expansion; Liu, Rubin & Wu 1998). It climbs as surely and faster, and the
        variances stay those of the rows: those of EM are too large by orders where random directions explain little.
        """
        basis, moments = self.basis, self.moments / weight[:, None, None]
        variances, cross = moments[..., 0] + ridge[None], moments[..., 1:] + ridge[None, :, None] * transposed(basis)
        root = TriangularFactor.of(symmetrised(self.cov + matmul(basis, cross))).inverse
        loadings = matmul(cross, transposed(root))
        return loadings, variances - (loadings**2).sum(-1)


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
