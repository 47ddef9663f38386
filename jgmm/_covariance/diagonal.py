"""Covariance families without correlations: a variance for each feature (`Diag`), or one for all (`Spherical`)."""

from typing import Any, Self

import jax
import jax.numpy as jnp

from jgmm._base.pytree import public, pytree
from jgmm._covariance import forms
from jgmm._covariance.factor import Factor, ScaleFactor, by_feature, identity
from jgmm._covariance.family import Covariance, divisor


class Variances(Covariance):
    """What the families of variances have in common."""

    var: Any

    def dense(self, num_components: int, num_features: int) -> jax.Array:
        """(k, d, d)."""
        values = self.values(num_components, num_features)
        return values[:, :, None] * identity(num_features, values.dtype)[None]

    @classmethod
    def least_rows(cls, num_features: int) -> int:
        """3: on fewer rows the variances are a matter of chance."""
        return 3

    def conditional(self, factor: Any, given, rest) -> Any:
        """Slopes (1, |rest|, |given|), zeros, and the variances of the features ``rest``: the others say nothing."""
        return jnp.zeros((1, len(rest), len(given)), factor.std.dtype), self.marginal(rest)


@pytree
@public
class Diag(Variances):
    """A variance for each component and feature; features are independent within a component.

    Args:
        var: (k, d) positive, squared data units.
    """

    var: jax.Array

    form = forms.diag
    shares_units = False

    @classmethod
    def of(cls, variances: jax.Array, share: jax.Array) -> Self:
        """These variances (k, d) of components, whatever their shares of the rows."""
        return cls(variances)

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """var_kj = S_kj / N_k + ridge_j, for scatter (k, d), weight (k,), ridge (d,)."""
        return cls(scatter / divisor(weight)[:, None] + ridge[None])

    def factor(self) -> Factor:
        """The standard deviations."""
        return ScaleFactor(jnp.sqrt(self.var))

    def values(self, num_components: int, num_features: int) -> jax.Array:
        """The variances (k, d)."""
        return self.var

    @classmethod
    def from_values(cls, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The variances themselves."""
        return cls(values)

    def marginal(self, dims) -> Any:
        """The variances of the features ``dims`` alone."""
        return Diag(self.var[:, dims])

    def plus(self, noise: jax.Array) -> Any:
        """The variances with independent noise added: a variance () or one per feature (d,); no matrix."""
        return NotImplemented if noise.ndim == 2 else Diag(self.var + by_feature(noise))

    def transformed(self, A: jax.Array) -> Any:
        """The variances of A x: A a factor () or one per feature (d,); no matrix."""
        return NotImplemented if A.ndim == 2 else Diag(self.var * by_feature(A) ** 2)

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """k d."""
        return num_components * num_features


@pytree
@public
class Spherical(Variances):
    """One variance for each component, the same for every feature.

    Args:
        var: (k,) positive, squared data units.
    """

    var: jax.Array

    form = forms.spherical

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """var_k = S_k / (N_k d) + mean(ridge), for scatter (k, 1), weight (k,), ridge (d,)."""
        return cls(scatter[:, 0] / (divisor(weight) * ridge.shape[0]) + ridge.mean())

    def factor(self) -> Factor:
        """The standard deviations (k, 1)."""
        return ScaleFactor(jnp.sqrt(self.var)[:, None])

    def values(self, num_components: int, num_features: int) -> jax.Array:
        """The variances (k, 1)."""
        return self.var[:, None]

    @classmethod
    def from_values(cls, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The variances themselves."""
        return cls(values[:, 0])

    def marginal(self, dims) -> Any:
        """The variances as they are: one for all features is one for some."""
        return self

    def plus(self, noise: jax.Array) -> Any:
        """The variances with independent noise added: a variance (), or, as `Diag`, one per feature; no matrix."""
        return NotImplemented if noise.ndim == 2 else self._with(lambda var: var + by_feature(noise), noise.ndim)

    def transformed(self, A: jax.Array) -> Any:
        """The variances of A x: A a factor (), or, as `Diag`, one per feature; no matrix."""
        return NotImplemented if A.ndim == 2 else self._with(lambda var: var * by_feature(A) ** 2, A.ndim)

    def _with(self, change, ndim):
        return Diag(change(self.var[:, None])) if ndim else Spherical(change(self.var))

    @staticmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """k."""
        return num_components
