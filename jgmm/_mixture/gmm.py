"""A Gaussian mixture: its parameters, and the density of a row under each component and all.

p(x) = sum_k pi_k N(x | mu_k, Sigma_k)                                   (Bishop 2006, eq. 9.7)
"""

import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import is_concrete, on_device
from jgmm._base.programs import program
from jgmm._base.pytree import public, pytree
from jgmm._base.types import where
from jgmm._covariance.factor import Factor
from jgmm._covariance.family import Covariance
from jgmm._mixture.validity import check_shapes, check_values


@pytree
@public
class GMM:
    """The parameters of a Gaussian mixture with k components in d dimensions: an immutable pytree.

    Args:
        weights: (k,) mixing proportions, nonnegative, summing to one.
        means: (k, d) component means, data units.
        cov: `Full`, `Tied`, `Diag` or `Spherical` covariances, of one of mclust's families in between (`EII` to
            `EVV`), of a few factors (`LowRank`), or of your own (`Covariance`), squared data units.

    The constructor checks nothing, so that ``vmap`` and ``jax.tree.map`` can rebuild it; `check`
    does, and every fit and query calls it, once for a mixture.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[-1.0], [1.0]]), jgmm.Diag(jnp.ones((2, 1))))
        >>> params.num_components, params.num_features
        (2, 1)
    """

    weights: jax.Array
    means: jax.Array
    cov: Covariance

    @property
    def num_components(self) -> int:
        """k."""
        return self.means.shape[-2]

    @property
    def num_features(self) -> int:
        """d."""
        return self.means.shape[-1]

    @property
    def covariances(self) -> jax.Array:
        """The covariance matrices (k, d, d), whatever the family."""
        return self.cov.dense(self.num_components, self.num_features)

    @property
    def num_parameters(self) -> Any:
        """Free parameters: k - 1 weights, k d means and the family's covariances, of the k components that are present.

        A component of weight zero is absent. An `int`; where the weights are traced, or of a batch, an array.
        """
        weights, d = self.weights, self.num_features
        k = ((np.asarray(weights) if is_concrete(weights) else weights) > 0).sum(-1)
        k: Any = int(k) if isinstance(k, np.integer) else k
        return k - 1 + k * d + self.cov.num_parameters(k, d)

    def check(self) -> "GMM":
        """Return the mixture if it is a valid one.

        Raises:
            ValueError: shapes that do not belong together, weights that are negative or do not sum
                to one, means that are not finite, covariances that are not symmetric or not positive
                definite; which components, and what to do. Under ``jit`` only shapes can be checked.
            TypeError: not arrays, or no covariance family.
        """
        if self in _SOUND:
            return self
        check_shapes(self)
        if is_concrete(self):
            sound = _soundness(self)
            if not is_concrete(sound):  # inside jit known values stay known only if told to
                with jax.ensure_compile_time_eval():
                    sound = _soundness(self)
            if is_concrete(sound):  # not in a shard_map without jit
                check_values(self, *sound)
                if all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(self)):
                    _SOUND.add(self)
        return self

    def astype(self, dtype: jax.typing.DTypeLike) -> "GMM":
        """The mixture with every number converted to ``dtype``."""
        return jax.tree.map(lambda x: on_device(x, dtype), self)


# Mixtures that were found sound, of arrays that cannot change: each is looked at once, however often it is asked.
_SOUND: "weakref.WeakSet[GMM]" = weakref.WeakSet()


@program()
def _soundness(params):
    """Per component (k,): finite mean, symmetric covariance, positive definite covariance."""
    sound = jnp.isfinite(params.means).all(-1), symmetric(params), definite(params.cov.factor())
    return tuple(jnp.broadcast_to(good, params.weights.shape) for good in sound)


def symmetric(params: GMM) -> jax.Array:
    """Whether each covariance is its own transpose, up to rounding in float32; (k,), or (1,) if shared."""
    values = params.cov.values(*params.means.shape)
    if values.ndim < 3:  # variances only
        return jnp.ones(values.shape[0], bool)
    asymmetry = jnp.abs(values - jnp.swapaxes(values, -1, -2)).max((-2, -1))
    # NaN and infinity are left to `definite`: symmetrising does not mend them.
    return ~(asymmetry > 1e-4 * jnp.abs(values).max((-2, -1)))


def definite(factor: Factor) -> jax.Array:
    """Whether each covariance is finite and positive definite, from the factors; (k,), or (1,) if shared."""
    pivots = factor.pivots()
    return ((pivots > 0) & jnp.isfinite(pivots)).all(-1)


def log_components(params: GMM, factor: Factor, diff: jax.Array) -> jax.Array:
    """log N(x | mu_k, Sigma_k) (k, m), from the residuals x - mu_k (k, d, m)."""
    return -(factor.whiten(diff) ** 2).sum(1) / 2 - log_normaliser(factor, params.num_features)[:, None]


def log_normaliser(factor: Factor, num_features: int) -> jax.Array:
    """log det(2 pi Sigma) / 2, (k,) or (1,): minus the log density at the mean."""
    return factor.half_log_det(num_features) + num_features * jnp.log(2 * jnp.pi) / 2


def residuals(params: GMM, X: jax.Array) -> jax.Array:
    """x - mu_k (k, d, m), rows last: taken exactly, before anything is multiplied."""
    return X.T[None] - params.means[:, :, None]


def mix(weights: jax.Array, log_component: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log sum_k pi_k exp(l_k) (m,) and the posterior of each component (k, m).

    Written with the weights as factors and not as logarithms, so that the derivative with respect
    to a weight of zero is the right one and not NaN.
    """
    least, largest = jnp.finfo(log_component.dtype).min, jnp.finfo(log_component.dtype).max
    # The best component that is there. Where none reaches x this is finite: log(0) below, not inf - inf. A weight is
    # not below the least positive number, so that what a better component makes underflow did not count.
    present = where((weights > 0)[:, None], jax.lax.stop_gradient(log_component), least)
    top = present.max(0, initial=least)
    # Only a component of weight zero can lie above `top`; it must not overflow into 0 * inf.
    most = jnp.log(largest) - 1
    joint = weights[:, None] * jnp.exp(jnp.minimum(log_component - top[None], most))
    evidence = joint.sum(0)
    return top + jnp.log(evidence), joint / evidence[None]
