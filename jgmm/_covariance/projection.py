"""Factors of many features, by their posterior: no matrix (d, d), and no product of d^2 numbers with a row.

Of x = mu + W z + noise, with A = Psi^-1/2 W and M = I + A^T A = L L^T, the factors of a row are, given the row,

    z | x ~ N(basis (x - mu), cov),    basis = M^-1 A^T Psi^-1/2,    cov = M^-1

and all that the M-step needs of the rows are the squares of their features and their products with basis (x - mu):
the diagonal of the scatter S and S basis^T (Ghahramani & Hinton 1996, eq. 5 to 8).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.pytree import public, pytree
from jgmm._base.types import where
from jgmm._covariance.factor import HIGHEST, TriangularFactor, matmul, symmetrised


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

    With E = L^-1 A^T Psi^-1/2, x^T Sigma^-1 x is x^T Psi^-1 x - |E x|^2. For rows z about one centre for all components
    u = E z has two uses: densities need its square, and in the sums it weighs z. All is products of rows (m, d) with
    k (q + 2) others, and nothing has the size (k, d, m).

    Args:
        explained: (k, q, d) E, 1 / data units.
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
        """-1 / (2 psi) (k, d); and (k (q + 1), d), k rows of Sigma^-1 mu and then all those of E."""
        inverse, explained = precision
        return -inverse / 2, jnp.concatenate([linear, explained.reshape(-1, linear.shape[1])])

    def _parted(self, products):
        """The first k of k (q + 1) rows, and the others (k, q, m)."""
        k, q, _ = self.explained.shape
        return products[:k], products[k:].reshape(k, q, -1)

    def log_terms(self, products):
        """The log densities (k, m) but for their constants: linear in the features, and |u|^2 / 2."""
        squares, (linear, u) = products[0], self._parted(products[1])
        return squares + linear + (u**2).sum(1) / 2

    def shares(self, resp, products):
        """By what the squares (k, m) and rows (k (q + 1), m) are weighed in sums: by resp, and by resp u."""
        _, u = self._parted(products[1])
        return resp, jnp.concatenate([resp, (resp[:, None] * u).reshape(-1, resp.shape[1])])

    def moments(self, sums, frame_scatter):
        """`Projection` and shift (k, d), from sums (k, d) of squares and (k (q + 1), d) of rows."""
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
