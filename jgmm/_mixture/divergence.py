"""How far two Gaussian mixtures are from each other.

`squared_l2` and `squared_wasserstein` are closed forms, `kl_divergence` is a Monte-Carlo estimate with its
standard error: between mixtures it has no closed form.
"""

import jax
import jax.numpy as jnp

from jgmm._base.options import check_count
from jgmm._base.programs import program
from jgmm._covariance.factor import HIGHEST, TriangularFactor, matmul, symmetrised
from jgmm._covariance.families import Full
from jgmm._mixture.algebra import as_pair, pairs
from jgmm._mixture.gmm import GMM
from jgmm._mixture.queries import log_prob, sample


@program()
def _mean_and_error(x):
    return x.mean(), x.std(ddof=1) / x.size**0.5


def kl_divergence(key: jax.Array, p: GMM, q: GMM, n: int) -> tuple[jax.Array, jax.Array]:
    """The Kullback-Leibler divergence KL(p | q) = E_p log p(x) / q(x), by Monte Carlo (Hershey & Olsen 2007, sec. 2).

    Args:
        key: a JAX random key; the same key gives the same rows, so that estimates for close q compare well.
        p: the mixture that rows are drawn from.
        q: a mixture in the same features.
        n: how many rows are drawn (static); the standard error falls with its square root.

    Returns:
        The estimate () and its standard error (), nats. Differentiable by ``q``, and by the means and
        covariances of ``p`` through the drawn rows.

    Raises:
        ValueError, TypeError: the mixtures do not have the same features, or ``n`` is not at least 2.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> p = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Spherical(jnp.ones(1)))
        >>> kl, error = jgmm.kl_divergence(jax.random.key(0), p, jgmm.affine(p, 1.0, 1.0), 10_000)
        >>> bool(abs(kl - 0.5) < 4 * error), round(float(error), 3)
        (True, 0.01)
    """
    p, q = as_pair(p, q)
    n = check_count("n", n, least=2)
    X, _ = sample(key, p, n)
    return _mean_and_error(log_prob(p, X) - log_prob(q, X))


@program()
def _squared_l2(p, q):
    # The difference is one mixture of signed weights w, and its integrated square is w^T G w.
    weights, means, cov = jax.tree.map(
        lambda a, b: jnp.concatenate([a, b]),
        (p.weights, p.means, p.covariances),
        (-q.weights, q.means, q.covariances),
    )
    difference = GMM(weights, means, Full(cov))
    overlap = jnp.exp(pairs(difference, difference)[0])
    return weights @ matmul(overlap, weights)


def squared_l2(p: GMM, q: GMM) -> jax.Array:
    """The integrated squared difference of two densities, in closed form (Jian & Vemuri 2011, eq. 7).

    int (p(x) - q(x))^2 dx = sum_ij w_i w_j N(mu_i | mu_j, Sigma_i + Sigma_j),   w = (weights of p, -weights of q)

    Args:
        p: a mixture.
        q: a mixture in the same features.

    Returns:
        (), in units of a density (data units to the power -d); below rounding times the integral of p^2 it is noise.

    Raises:
        ValueError, TypeError: the mixtures do not have the same features.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> p = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Spherical(jnp.ones(1)))
        >>> print(round(float(jgmm.squared_l2(p, jgmm.affine(p, 1.0, 9.0))), 4))
        0.5642
    """
    return _squared_l2(*as_pair(p, q))


@program()
def _squared_wasserstein(p, q):
    S, T = p.covariances, q.covariances
    lower = TriangularFactor.of(S).lower
    inner = jnp.einsum("kji,ljm,kmn->klin", lower, T, lower, precision=HIGHEST)  # L^T T L
    # Only the eigenvalues are differentiated: equal ones do no harm.
    roots = jnp.sqrt(jnp.linalg.eigvalsh(symmetrised(inner))).sum(-1)
    traces = jnp.trace(S, axis1=1, axis2=2)[:, None] + jnp.trace(T, axis1=1, axis2=2)[None]
    distance = ((p.means[:, None] - q.means[None]) ** 2).sum(-1)
    return distance + jnp.maximum(traces - 2 * roots, 0)  # rounding can leave it below zero


def squared_wasserstein(p: GMM, q: GMM) -> jax.Array:
    """The squared 2-Wasserstein distance between each component of p and each of q.

    |mu - nu|^2 + tr(S + T - 2 (S^1/2 T S^1/2)^1/2)                                   (Dowson & Landau 1982, eq. 16)

    To match the components of two fits see `align`, whose cost does not depend on the units of the features.

    Args:
        p: a mixture of k components.
        q: a mixture of l components in the same features.

    Returns:
        (k, l), squared data units. NaN where a covariance is not positive definite. The weights play no part.

    Raises:
        ValueError, TypeError: the mixtures do not have the same features.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> p = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> print(jgmm.squared_wasserstein(p, jgmm.affine(p, 3.0, jnp.array([1.0, 0.0]))).round(3))
        [[9.]]
    """
    return _squared_wasserstein(*as_pair(p, q))
