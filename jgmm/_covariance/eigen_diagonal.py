"""Families of variances with numbers in common: `EII`, `EEI`, `VEI`, `EVI`.

Three letters say whether volume, shape and orientation are equal in all components (E), variable (V), or the
identity's (I) (Banfield & Raftery 1993; Celeux & Govaert 1995, table 1). `Spherical` is VII, and `Diag` VVI.

Any positive numbers are a member, so that an accelerator may add to them. So what the papers normalise, the shape to
a product of one, an M-step does, and nobody relies on it.
"""

import abc
from typing import Any, Self

import jax
import jax.numpy as jnp

from jgmm._base.pytree import public, pytree
from jgmm._covariance import forms
from jgmm._covariance.diagonal import Diag, Variances
from jgmm._covariance.factor import Factor, ScaleFactor, by_feature, matmul
from jgmm._covariance.family import component_covariances, divisor
from jgmm._covariance.volumes import proportional


class PerFeature(Variances):
    """What these families have in common where each feature has a variance of its own.

    A family gives ``var``, its variances (k or 1, d), and `of`, its members nearest to the variances of components.
    """

    form = forms.diag
    shares_units = False

    @classmethod
    @abc.abstractmethod
    def of(cls, variances: jax.Array, share: jax.Array) -> Self:
        """The M-step: from the variances (k, d) of components with these shares (k,) of the rows."""

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """The M-step `of` the variances S_kj / N_k + ridge_j, for scatter (k, d), weight (k,), ridge (d,)."""
        return cls.of(*component_covariances(scatter, weight, ridge))

    def factor(self) -> Factor:
        """The standard deviations (k or 1, d)."""
        return ScaleFactor(jnp.sqrt(self.var))

    def values(self, num_components: int, num_features: int) -> jax.Array:
        """The variances (k, d)."""
        return jnp.broadcast_to(self.var, (num_components, num_features))

    def marginal(self, dims) -> Any:
        """The variances of the features ``dims`` alone, as `Diag`."""
        return Diag(self.var[:, dims])

    def plus(self, noise: jax.Array) -> Any:
        """The variances with independent noise added, as `Diag`: a variance () or one per feature (d,); no matrix."""
        return Diag(self.var).plus(noise)


@pytree
@public
class EII(Variances):
    """One variance for all components and features.

    Args:
        var: () positive, squared data units.
    """

    var: jax.Array

    form = forms.spherical

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """var = sum_k S_k / (N d) + mean(ridge), for scatter (k, 1), weight (k,), ridge (d,)."""
        return cls(scatter.sum() / (divisor(weight.sum()) * ridge.size) + ridge.mean())

    def factor(self) -> Factor:
        """The standard deviation (1, 1)."""
        return ScaleFactor(jnp.sqrt(self.var)[None, None])

    def values(self, num_components: int, num_features: int) -> jax.Array:
        """The variance (k, 1)."""
        return jnp.broadcast_to(self.var, (num_components, 1))

    @classmethod
    def least_rows(cls, num_features: int) -> int:
        """1: the rows of all components serve the variance."""
        return 1

    def marginal(self, dims) -> Any:
        """The variance as it is."""
        return self

    def plus(self, noise: jax.Array) -> Any:
        """With independent noise: a variance (), or, as `EEI`, one per feature (d,); no matrix."""
        return NotImplemented if noise.ndim == 2 else EEI(self.var + noise) if noise.ndim else EII(self.var + noise)

    def transformed(self, A: jax.Array) -> Any:
        """Of A x: A a factor (), or, as `EEI`, one per feature (d,); no matrix."""
        return NotImplemented if A.ndim == 2 else EEI(self.var * A**2) if A.ndim else EII(self.var * A**2)

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """1."""
        return 1


@pytree
@public
class EEI(PerFeature):
    """A variance for each feature, the same in all components.

    Args:
        shared: (d,) positive, squared data units.
    """

    shared: jax.Array

    @property
    def var(self) -> jax.Array:
        """The variances (1, d)."""
        return self.shared[None]

    @classmethod
    def of(cls, variances: jax.Array, share: jax.Array) -> Self:
        """sum_k p_k c_k."""
        return cls(matmul(share, variances))

    @classmethod
    def least_rows(cls, num_features: int) -> int:
        """1: the rows of all components serve the variances."""
        return 1

    def marginal(self, dims) -> Any:
        """The variances of the features ``dims`` alone."""
        return EEI(self.shared[dims])

    def plus(self, noise: jax.Array) -> Any:
        """With independent noise: a variance () or one per feature (d,); no matrix."""
        return NotImplemented if noise.ndim == 2 else EEI(self.shared + noise)

    def transformed(self, A: jax.Array) -> Any:
        """Of A x: A a factor () or one per feature (d,); no matrix."""
        return NotImplemented if A.ndim == 2 else EEI(self.shared * A**2)

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """d."""
        return num_features


@pytree
@public
class VEI(PerFeature):
    """Variances in the same proportions in all components: var_kj = volume_k shape_j.

    Args:
        volume: (k,) positive, squared data units.
        shape: (d,) positive; of an M-step, with product one.
    """

    volume: jax.Array
    shape: jax.Array

    @property
    def var(self) -> jax.Array:
        """The variances (k, d)."""
        return self.volume[:, None] * self.shape[None]

    @classmethod
    def of(cls, variances: jax.Array, share: jax.Array) -> Self:
        """volume_k = mean_j c_kj / shape_j where shape ~ sum_k p_k c_k / volume_k, by Newton's method."""
        return cls(*proportional(variances, share))

    def marginal(self, dims) -> Any:
        """The variances of the features ``dims`` alone."""
        return VEI(self.volume, self.shape[dims])

    def transformed(self, A: jax.Array) -> Any:
        """Of A x: A a factor () or one per feature (d,); no matrix."""
        return NotImplemented if A.ndim == 2 else VEI(self.volume, self.shape * A**2)

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """k + d - 1."""
        return num_components + num_features - 1


@pytree
@public
class EVI(PerFeature):
    """Variances with the same product in all components: var_kj = volume shape_kj.

    Args:
        volume: () positive, squared data units: the geometric mean of the variances of each component.
        shape: (k, d) positive, in proportion to the variances; of an M-step, with products one.
    """

    volume: jax.Array
    shape: jax.Array

    @property
    def var(self) -> jax.Array:
        """The variances (k, d)."""
        return self.volume * _unit_product(self.shape)[1]

    @classmethod
    def of(cls, variances: jax.Array, share: jax.Array) -> Self:
        """shape_k ~ c_k, and volume = sum_k p_k (product of c_k)^(1 / d)."""
        volume, shape = _unit_product(variances)
        return cls(matmul(share, volume), shape)

    def transformed(self, A: jax.Array) -> Any:
        """Of A x: A a factor () or one per feature (d,); no matrix."""
        if A.ndim == 2:
            return NotImplemented
        volume, _ = _unit_product(jnp.broadcast_to(A**2, self.shape.shape[1:]))
        return EVI(self.volume * volume, self.shape * by_feature(A) ** 2)

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """1 + k (d - 1)."""
        return 1 + num_components * (num_features - 1)


def _unit_product(variances):
    """The geometric mean of variances (..., d), and these divided by it."""
    mean = jnp.exp(jnp.log(variances).mean(-1))
    return mean, variances / mean[..., None]
