"""A mixture in unconstrained coordinates: any real numbers are a valid one, and back again.

    weights      log(pi_k / pi_K), k < K                            (the last logit is 0, and left out)
    means        mu_k
    covariances  the family's: log-Cholesky factors or log variances     (Pinheiro & Bates 1996, sec. 2.2)

Two maps, each the other's inverse on mixtures without empty components. There are as many coordinates
as free parameters, so that gradients, extrapolations and Hessians in them mean what they say.
"""

import jax
import jax.numpy as jnp

from jgmm._gmm import GMM
from jgmm._pytree import pytree


@pytree
class Unconstrained:
    """The coordinates of a mixture, real numbers without any condition on them.

    Args:
        logits: (k-1,) log(pi_k / pi_K) of all components but the last.
        means: (k, d) component means, data units.
        cov: the family's coordinates: (k, d (d + 1) / 2) for `Full`, (d (d + 1) / 2,) for `Tied`, (k, d) for
            `Diag`, (k,) for `Spherical`.
    """

    logits: jax.Array
    means: jax.Array
    cov: jax.Array


def to_unconstrained(params: GMM) -> Unconstrained:
    """The coordinates of a mixture.

    Args:
        params: the mixture. A weight of zero has no finite coordinate.

    Returns:
        `Unconstrained`; ``jax.flatten_util.ravel_pytree`` makes a vector of it.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> from jgmm._coordinates import to_unconstrained
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.zeros((2, 1)), jgmm.Spherical(jnp.ones(2)))
        >>> print(to_unconstrained(params).logits, to_unconstrained(params).cov)
        [0.] [0. 0.]
    """
    logs = jnp.log(params.weights)
    return Unconstrained(logs[:-1] - logs[-1], params.means, params.cov.coordinates())


def from_unconstrained(family, coordinates: Unconstrained) -> GMM:
    """The mixture with these coordinates: the inverse of `to_unconstrained`.

    Args:
        family: the covariance class, `Full`, `Tied`, `Diag` or `Spherical`.
        coordinates: real numbers. Beyond the range of ``exp`` (logarithms of about 700 in float64, 80 in
            float32) variances overflow or vanish.

    Returns:
        `GMM`.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> from jgmm._coordinates import Unconstrained, from_unconstrained
        >>> u = Unconstrained(jnp.log(jnp.array([3.0])), jnp.zeros((2, 1)), jnp.zeros((2, 1)))
        >>> params = from_unconstrained(jgmm.Full, u)
        >>> print(params.weights, params.cov.cov.ravel())
        [0.75 0.25] [1. 1.]
    """
    weights = jax.nn.softmax(jnp.append(coordinates.logits, 0))
    return GMM(weights, coordinates.means, family.from_coordinates(coordinates.cov))
