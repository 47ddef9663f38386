"""Families of matrices with numbers in common: `VEE`, `EVV`, and by axes `EVE`, `VVE`, `EEV`, `VEV`.

Three letters say whether volume, shape and orientation are equal in all components (E) or variable (V) (Banfield &
Raftery 1993; Celeux & Govaert 1995, table 1). `Tied` is EEE, and `Full` VVV.

Four families are one of variances along axes, Sigma_k = D_k diag(var_k) D_k^T: those of each component, or shared
ones. As with the families of variances, numbers next to a member's are a member: axes are made orthonormal, and a
shape of determinant one, where they are used.

The E-step is that of `Full`. Rows rotated once to shared axes would make densities as cheap as `Diag`'s, but an M-step
needs the whole scatter, which is the other half: 93 ms would become about 50 (20,000 x 64, k = 10), 8.5 about 6.5
(x 4).
"""

from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from jgmm._base.pytree import public, pytree
from jgmm._covariance import forms
from jgmm._covariance.axes import aligned, along, common_axes, orthonormal, own_axes
from jgmm._covariance.diagonal import Diag
from jgmm._covariance.eigen_diagonal import EEI, EVI, VEI
from jgmm._covariance.factor import Factor, TriangularFactor, matmul, symmetrised
from jgmm._covariance.family import Covariance, component_covariances, statistics
from jgmm._covariance.full import Tied
from jgmm._covariance.volumes import proportional


class _Matrices(Covariance):
    """What these families have in common. ``cov`` are their matrices (k, d, d)."""

    form = forms.full
    cov: Any

    def factor(self) -> Factor:
        """The Cholesky factors, NaN where a matrix is not positive definite."""
        return TriangularFactor.of(self.cov)

    def dense(self, num_components: int, num_features: int) -> jax.Array:
        """(k, d, d)."""
        return self.cov


@pytree
@public
class VEE(_Matrices):
    """Matrices in proportion to each other: Sigma_k = volume_k shape.

    Args:
        volume: (k,) positive, squared data units.
        shape: (d, d) symmetric positive definite; of an M-step, with determinant one.
    """

    volume: jax.Array
    shape: jax.Array

    shares_units = False

    @property
    def cov(self) -> jax.Array:
        """The matrices (k, d, d)."""
        return self.volume[:, None, None] * self.shape[None]

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """volume_k = tr(shape^-1 C_k) / d where shape ~ sum_k p_k C_k / volume_k, by Newton's method."""
        return cls(*proportional(*component_covariances(scatter, weight, ridge)))

    @classmethod
    def least_rows(cls, num_features: int) -> int:
        """3: on fewer rows a volume is a matter of chance."""
        return 3

    def marginal(self, dims) -> Any:
        """The covariances of the features ``dims`` alone: their rows and columns."""
        return VEE(self.volume, Tied(self.shape).marginal(dims).cov)

    def conditional(self, factor: Any, given, rest) -> Any:
        """Slopes (1, |rest|, |given|), and the covariance of the features ``rest`` where ``given`` are known."""
        shape = Tied(self.shape)
        slopes, left = shape.conditional(shape.marginal(given).factor(), given, rest)
        return slopes, VEE(self.volume, left.cov)

    def transformed(self, A: jax.Array) -> Any:
        """Of A x: A a factor (), one per feature (d,), or a matrix (q, d)."""
        return VEE(self.volume, Tied(self.shape).transformed(A).cov)

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """k + (d - 1) + d (d - 1) / 2."""
        return VEI.num_parameters(num_components, num_features) + _rotations(num_features)


@pytree
@public
class EVV(_Matrices):
    """Matrices with the same determinant: Sigma_k = volume shape_k.

    Args:
        volume: () positive, squared data units: the geometric mean of the eigenvalues of each matrix.
        shape: (k, d, d) symmetric positive definite, in proportion to the matrices; of an M-step, of determinant one.
    """

    volume: jax.Array
    shape: jax.Array

    shares_units = False

    @property
    def cov(self) -> jax.Array:
        """The matrices (k, d, d)."""
        return self.volume * _unit_determinant(self.shape)[1]

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """shape_k ~ C_k, and volume = sum_k p_k |C_k|^(1 / d)."""
        covs, share = component_covariances(scatter, weight, ridge)
        volume, shape = _unit_determinant(covs)
        return cls(matmul(share, volume), shape)

    def transformed(self, A: jax.Array) -> Any:
        """Of A x: A a factor (); with anything else as `Full`."""
        return NotImplemented if A.ndim else EVV(self.volume * A**2, self.shape)

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """1 - k + k d (d + 1) / 2."""
        return EVI.num_parameters(num_components, num_features) + num_components * _rotations(num_features)


class _Axes(_Matrices):
    """Variances along axes. A family says which ``family`` the variances are of."""

    axes: Any
    var: Any
    family: ClassVar[Any]

    @classmethod
    def _of(cls, axes, var) -> Self:
        made: Any = cls
        return made(axes, var)

    @property
    def cov(self) -> jax.Array:
        """The matrices (k, d, d)."""
        axes = orthonormal(self.axes)
        axes = axes if axes.ndim == 3 else axes[None]
        return symmetrised(matmul(axes * self.var.var[:, None], jnp.swapaxes(axes, -1, -2)))

    def near(self, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The numbers next to these: on the same axes, and on the same sides of them."""
        return self.update(*statistics(values, weight, num_features))

    def transformed(self, A: jax.Array) -> Any:
        """Of A x: A a factor (); with anything else as `Full`."""
        return NotImplemented if A.ndim else self._of(self.axes, self.var.transformed(A))


class _OwnAxes(_Axes):
    """Each component has its own axes: the eigenvectors of its covariance."""

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """Axes that are eigenvectors, and the M-step of the variances from the eigenvalues in their order."""
        covs, share = component_covariances(scatter, weight, ridge)
        variances, axes = own_axes(covs)
        return cls._of(axes, cls.family.of(variances, share))

    def update(self, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """`estimate`, with each axis on the side of the old one, so that what changes little has small changes."""
        new = self.estimate(scatter, weight, ridge)
        return self._of(aligned(new.axes, self.axes), new.var)


class _CommonAxes(_Axes):
    """All components share their axes."""

    @classmethod
    def _from(cls, start, covs, share, best=False):
        axes = start if best else common_axes(covs, share, start, cls.family is EVI)
        return cls._of(axes, cls.family.of(along(axes, covs), share))

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """The best axes found from the eigenvectors of sum_k p_k C_k, and the M-step of the variances along them."""
        covs, share = component_covariances(scatter, weight, ridge)
        whole = jnp.tensordot(share, covs, 1, precision=jax.lax.Precision.HIGHEST)
        return cls._from(own_axes(whole)[1], covs, share, best=len(share) == 1)

    def update(self, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """The same from the old axes, so that the likelihood cannot fall."""
        return self._from(orthonormal(self.axes), *component_covariances(scatter, weight, ridge))

    @classmethod
    def least_rows(cls, num_features: int) -> int:
        """3: on fewer rows the variances are a matter of chance."""
        return 3


@pytree
@public
class EVE(_CommonAxes):
    """Axes that all components share, and variances along them that have the same product.

    Args:
        axes: (d, d) orthonormal columns.
        var: `EVI` variances along them.
    """

    axes: jax.Array
    var: EVI

    family = EVI

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """1 + k (d - 1) + d (d - 1) / 2."""
        return EVI.num_parameters(num_components, num_features) + _rotations(num_features)


@pytree
@public
class VVE(_CommonAxes):
    """Axes that all components share, and any variances along them (Flury's common principal components).

    Args:
        axes: (d, d) orthonormal columns.
        var: `Diag` variances along them.
    """

    axes: jax.Array
    var: Diag

    family = Diag

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """k + k (d - 1) + d (d - 1) / 2."""
        return Diag.num_parameters(num_components, num_features) + _rotations(num_features)


@pytree
@public
class EEV(_OwnAxes):
    """Ellipsoids that differ by a rotation alone: the same variances, along the axes of each component.

    Args:
        axes: (k, d, d) orthonormal columns.
        var: `EEI` variances along them.
    """

    axes: jax.Array
    var: EEI

    family = EEI

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """1 + (d - 1) + k d (d - 1) / 2."""
        return EEI.num_parameters(num_components, num_features) + num_components * _rotations(num_features)


@pytree
@public
class VEV(_OwnAxes):
    """Ellipsoids of the same shape: variances in the same proportions, along the axes of each component.

    Args:
        axes: (k, d, d) orthonormal columns.
        var: `VEI` variances along them.
    """

    axes: jax.Array
    var: VEI

    family = VEI

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """k + (d - 1) + k d (d - 1) / 2."""
        return VEI.num_parameters(num_components, num_features) + num_components * _rotations(num_features)


def _rotations(num_features):
    """d (d - 1) / 2, the free numbers of orthonormal axes."""
    return num_features * (num_features - 1) // 2


def _unit_determinant(matrices):
    """|C|^(1 / d) of matrices (k, d, d), and these divided by it."""
    d = matrices.shape[-1]
    volume = jnp.exp(2 / d * TriangularFactor.of(matrices).half_log_det(d))
    return volume, matrices / volume[:, None, None]
