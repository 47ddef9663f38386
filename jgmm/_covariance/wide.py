"""Factors and noise of many features: what `lowrank(q, wide=True)` does without any matrix (d, d).

The M-step is one step of EM in the factors (`projection`), in which the likelihood cannot fall.
"""

from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._covariance import forms
from jgmm._covariance.family import Covariance, component_covariances, divisor
from jgmm._covariance.projection import Projection, rescaled
from jgmm._covariance.woodbury import WoodburyFactor

EXPLAINED = 0.2  # of the variance of each feature, by the factors of a start


def least_share(dtype, num_features: int) -> float:
    """The least noise as a share of a variance: below, loadings lose their digits, or sums of products theirs."""
    eps = float(jnp.finfo(dtype).eps)
    return max(eps**0.5, 2 * num_features * eps)


def directions(num_features: int, num_factors: int) -> np.ndarray:
    """(d, q) rows of length one, the same at every call: EM does not find factors from none."""
    x = np.random.default_rng(0).normal(size=(num_features, num_factors))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


class Factors:
    """A variance for each component and feature, of which a start is made. The E-step collects by `Posterior`.

    Values are, feature by feature, the noise and the loadings: (k, d (q + 1)).
    """

    frame = forms.diag
    shape, scatter, whole = (staticmethod(getattr(forms.diag, name)) for name in ("shape", "scatter", "whole"))

    def __init__(self, num_factors):
        self.num_factors = num_factors

    def _by_feature(self, values):
        """The values (k, d, q + 1)."""
        return values.reshape(len(values), -1, self.num_factors + 1)

    def reduced(self, scatter, num_components, num_features):
        """The scatter as it is if it is of factors, or of one as rich as `diag` the variances (k, d)."""
        if not isinstance(scatter, Projection):
            return forms.diag.reduced(scatter, num_components, num_features)
        forms.need("factors", scatter.moments.shape == (num_components, num_features, self.num_factors + 1), scatter)
        return scatter

    def diagonal(self, values):
        """The variances (k, d): of noise and factors."""
        values = self._by_feature(values)
        return values[..., 0] + (values[..., 1:] ** 2).sum(-1)

    def scale(self, values):
        """The variance of its feature for noise, its root for loadings."""
        variances = self.diagonal(values)[:, :, None]
        loadings = jnp.broadcast_to(jnp.sqrt(variances), (*variances.shape[:2], self.num_factors))
        return jnp.concatenate([variances, loadings], -1).reshape(values.shape)

    def rescaled(self, values, units):
        """The values of features in other units."""
        return rescaled(self._by_feature(values), units).reshape(values.shape)

    def coordinates(self, values, factor):
        """(k, d (q + 1)) unconstrained: the values, with the logarithm of the noise."""
        values = self._by_feature(values)
        return values.at[..., 0].set(jnp.log(values[..., 0])).reshape(len(values), -1)

    def from_coordinates(self, coordinates):
        """The values: the inverse of `coordinates`."""
        values = self._by_feature(coordinates)
        return values.at[..., 0].set(jnp.exp(values[..., 0])).reshape(len(values), -1)


def check_features(family, num_features):
    """Raise unless there are more features than factors."""
    if family.num_factors >= num_features:
        raise ValueError(
            f"{family.__name__} needs more features than factors, got {num_features} features. Use fewer factors, "
            "or 'full'."
        )


class Wide(Covariance):
    """What differs in a family of factors and noise for many features."""

    loadings: Any
    noise: Any
    family: ClassVar[Any]
    num_factors: ClassVar[int]
    narrow: ClassVar[Any]

    own_statistics = True

    @classmethod
    def estimate(cls, scatter: Any, weight: jax.Array, ridge: jax.Array) -> Self:
        """A step of EM in the factors, from their `Projection`; a start, of variances (k, d)."""
        d = len(ridge)
        check_features(cls, d)
        if isinstance(scatter, Projection):
            loadings, noise = scatter.loadings_and_noise(divisor(weight), ridge)
            variances = scatter.squares / divisor(weight)[:, None] + ridge[None]
        else:
            variances, _ = component_covariances(scatter, weight, ridge)
            along = jnp.asarray(directions(d, cls.num_factors), variances.dtype)
            loadings = jnp.sqrt(EXPLAINED * variances)[:, :, None] * along[None]
            noise = (1 - EXPLAINED) * variances
        if cls.shares_units:
            noise, variances = (jnp.broadcast_to(x.mean(-1, keepdims=True), x.shape) for x in (noise, variances))
        noise = jnp.maximum(noise, least_share(noise.dtype, d) * variances)
        return cls._made(loadings, noise)

    def update(self, scatter: Any, weight: jax.Array, ridge: jax.Array) -> Self:
        """The same: the scatter holds what a step needs of these covariances."""
        return self.estimate(scatter, weight, ridge)

    def settled(self) -> Any:
        """The same numbers in the family of matrices (k, d, d), whose M-step is the maximum."""
        made: Any = self.narrow
        return made(self.loadings, self.noise)

    @classmethod
    def _made(cls, loadings, noise) -> Self:
        """The covariances of loadings (k, d, q) and noise (k, d)."""
        made: Any = cls
        kind = cls.family
        return made(loadings, kind.from_values(noise, noise, noise.shape[-1]))

    def _noises(self):
        """The noise of each feature (k, d)."""
        k, d, _ = self.loadings.shape
        return jnp.broadcast_to(self.noise.values(k, d), (k, d))

    def factor(self) -> Any:
        """The square roots by Woodbury's identity."""
        return WoodburyFactor.of(self.loadings, self._noises())

    def collects(self, factor: Any) -> Any:
        """The posterior of the factors."""
        return factor.posterior()

    def values(self, num_components: int, num_features: int) -> jax.Array:
        """Noise and loadings, feature by feature: (k, d (q + 1))."""
        values = jnp.concatenate([self._noises()[:, :, None], self.loadings], -1)
        return values.reshape(len(values), -1)

    @classmethod
    def from_values(cls, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The covariances of these values; the same noise of all features is the mean of what they say."""
        values = values.reshape(len(values), num_features, cls.num_factors + 1)
        loadings, noise = values[..., 1:], values[..., 0]
        return cls._made(
            loadings, jnp.broadcast_to(noise.mean(-1, keepdims=True), noise.shape) if cls.shares_units else noise
        )

    def near(self, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The same: values are the numbers themselves."""
        return self.from_values(values, weight, num_features)
