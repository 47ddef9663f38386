"""Factors and noise of many features: what `lowrank(q, wide=True)` does without any matrix (d, d).

The M-step is one step of EM in the factors (`projection`), in which the likelihood cannot fall.
"""

from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._covariance.factor import Factor
from jgmm._covariance.family import Covariance, component_covariances, divisor
from jgmm._covariance.projection import Projection, WoodburyFactor

EXPLAINED = 0.2  # of the variance of each feature, by the factors of a start


def least_share(dtype, num_features: int) -> float:
    """The least noise as a share of a variance: below, loadings lose their digits, or sums of products theirs."""
    eps = float(jnp.finfo(dtype).eps)
    return max(eps**0.5, 2 * num_features * eps)


def directions(num_features: int, num_factors: int) -> np.ndarray:
    """(d, q) rows of length one, the same at every call: EM does not find factors from none."""
    x = np.random.default_rng(0).normal(size=(num_features, num_factors))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


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

    def factor(self) -> Factor:
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
        return cls._made(loadings, jnp.broadcast_to(noise.mean(-1, keepdims=True), noise.shape) if cls.shares_units else noise)

    def near(self, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The same: values are the numbers themselves."""
        return self.from_values(values, weight, num_features)
