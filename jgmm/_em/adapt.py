"""A background mixture adapted to few rows of one source: speaker adaptation, and MAP estimation as a whole.

A conjugate prior is pseudo-observations: in this library's additive statistics the background counts as
``relevance`` more rows of each component, with that component's mean and covariance,

    stats + Stats(center=mu, weight=relevance, shift=0, scatter=relevance * Sigma)

(Reynolds, Quatieri & Dunn 2000, eqs. 12 to 14; Gauvain & Lee 1994). The weights have a rule of their own (eq. 11).
"""

import dataclasses
from collections.abc import Collection

import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import as_array, is_concrete
from jgmm._base.programs import program
from jgmm._base.types import ArrayLike, where
from jgmm._covariance.family import check_additive, divisor
from jgmm._em.steps import maximisation
from jgmm._expectation.stats import Stats
from jgmm._mixture.frozen import as_frozen, with_frozen
from jgmm._mixture.gmm import GMM
from jgmm._mixture.validity import check_mixture


def _background(params, weight, shape):
    """`Stats` of ``weight`` rows of each component, with its mean and covariance; ``shape`` of the scatter."""
    k, d = params.means.shape
    spread = params.covariances if len(shape) == 3 else params.cov.variances(k, d)
    reduced = tuple(axis for axis, size in enumerate(shape) if size == 1)
    nothing = jnp.zeros((), weight.dtype)
    return Stats(
        params.means,
        jnp.full(k, weight),
        jnp.zeros_like(params.means),
        weight * spread.sum(reduced, keepdims=True),
        nothing,
        nothing,
    )


@program("frozen")
def _adapt(params, stats, relevance, frozen):
    # Data and background in proportion 1 : relevance, scaled so that an infinite relevance leaves finite numbers.
    infinite = jnp.isinf(relevance)
    finite = where(infinite, 1, relevance)
    share = where(infinite, 0, 1 / (1 + finite))
    data = share * stats
    joint = _background(params, where(infinite, 1, finite / (1 + finite)), stats.scatter.shape) + data
    adapted = maximisation(joint, params, params.cov.factor(), jnp.zeros_like(params.means[0]), frozen)[0]

    alpha = data.weight / divisor(joint.weight)
    weights = alpha * stats.weight / divisor(stats.total) + (1 - alpha) * params.weights
    return with_frozen(dataclasses.replace(adapted, weights=weights / weights.sum()), params, frozen)


def _as_relevance(relevance, dtype):
    value = as_array("relevance", relevance)
    if value.ndim or (is_concrete(value) and not np.asarray(value) >= 0):
        raise ValueError(f"relevance must be a nonnegative number, got {relevance}. Use jax.vmap over several.")
    return value.astype(dtype)


def adapt(params: GMM, stats: Stats, relevance: ArrayLike = 16.0, *, frozen: Collection[str] = ()) -> GMM:
    """Maximum a posteriori estimate of a mixture whose prior is a background mixture.

        alpha_k  = N_k / (N_k + relevance)                                                     (eq. 14)
        pi_k'    = (alpha_k N_k / N + (1 - alpha_k) pi_k) gamma,  gamma such that they sum to one   (eq. 11)
        mu_k'    = alpha_k E_k x + (1 - alpha_k) mu_k                                          (eq. 12)
        Sigma_k' = alpha_k E_k xx^T + (1 - alpha_k) (Sigma_k + mu_k mu_k^T) - mu_k' mu_k'^T    (eq. 13)

    (Reynolds, Quatieri & Dunn 2000, there for diagonal covariances.) A component moves as far as its own rows
    carry it: one without rows stays the background's, except that the weights are normalised. A tied
    covariance takes the second moments of all components together. One step, as is usual in
    speaker recognition; for a fixed point, collect the statistics again with the result and repeat, each
    time with the same background.

    Args:
        params: the background mixture, say of all speakers.
        stats: the statistics of one source's rows under it, ``e_step(params, X)``; parts may be added.
        relevance: how many rows the background counts for in each component, a nonnegative number; traced.
            0 is maximum likelihood, infinity the background itself.
        frozen: which of "weights", "means" and "cov" stay as they are (static). Speaker recognition
            adapts the means alone, ``frozen=("weights", "cov")``. About means that stay, the covariances are
            the second moments.

    Returns:
        `GMM` of the same family, in the dtype of ``stats``. A covariance that would not be positive definite
        (possible where ``relevance`` is 0) stays the background's.

    Raises:
        ValueError, TypeError: no mixture or no `Stats`, of other shapes or too poor a scatter for the family;
            a relevance that is negative or not one number; an unknown part in ``frozen``.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> background = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Diag(jnp.ones((1, 1))))
        >>> stats = jgmm.e_step(background, jnp.array([[3.0], [5.0]]))
        >>> print(jgmm.adapt(background, stats, 2.0).means, jgmm.adapt(background, stats, 6.0).means)
        [[2.]] [[1.]]
    """
    check_mixture(params)
    check_additive(type(params.cov), "adapt")
    if not isinstance(stats, Stats):
        raise TypeError(f"stats must be the jgmm.Stats that e_step returns, got {type(stats).__name__}.")
    if stats.center.shape != params.means.shape:
        raise ValueError(
            f"stats must be of the mixture's {params.num_components} components in {params.num_features} features, got "
            f"a center of shape {stats.center.shape}. Collect them with e_step(params, X); for a batch use jax.vmap."
        )
    dtype = stats.center.dtype
    return _adapt(params.astype(dtype), stats, _as_relevance(relevance, dtype), as_frozen(frozen))
