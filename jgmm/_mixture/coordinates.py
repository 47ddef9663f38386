"""A mixture in unconstrained coordinates: any real numbers are a valid one, and back again.

    weights      log(pi_k / pi_K), k < K                            (the last logit is 0, and left out)
    means        mu_k
    covariances  the family's: log-Cholesky factors or log variances     (Pinheiro & Bates 1996, sec. 2.2)

Two maps, each the other's inverse on mixtures without empty components. There are as many coordinates
as free parameters, so that gradients, extrapolations and Hessians in them mean what they say.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jgmm._base.arrays import as_array
from jgmm._base.programs import program
from jgmm._base.pytree import public, pytree, zeros_of
from jgmm._covariance.families import as_family
from jgmm._covariance.family import Covariance
from jgmm._mixture.frozen import with_frozen
from jgmm._mixture.gmm import GMM
from jgmm._mixture.validity import check_shapes


@pytree
@public
class Unconstrained:
    """The coordinates of a mixture, real numbers without any condition on them.

    Args:
        logits: (k-1,) log(pi_k / pi_K), of the (k,) weights without the last.
        means: (k, d) component means, data units.
        cov: the family's coordinates: (k, d (d + 1) / 2) for `Full`, (d (d + 1) / 2,) for `Tied`, (k, d) for
            `Diag`, (k,) for `Spherical`. A family between these has those of the one that holds it, more than its
            free numbers: what leads out of the family changes nothing.
    """

    logits: jax.Array
    means: jax.Array
    cov: jax.Array


def to_unconstrained(params: GMM) -> Unconstrained:
    """The coordinates of a mixture.

    Args:
        params: the mixture. A weight of zero has no finite coordinate.

    Returns:
        `Unconstrained`: (k-1,) logits, (k, d) means and the family's; ``jax.flatten_util.ravel_pytree`` makes a
        vector of it.

    Raises:
        ValueError, TypeError: no mixture, or shapes that do not belong together.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.zeros((2, 1)), jgmm.Spherical(jnp.ones(2)))
        >>> print(jgmm.to_unconstrained(params).logits, jgmm.to_unconstrained(params).cov)
        [0.] [0. 0.]
    """
    check_shapes(params)
    return _to_unconstrained(params.astype(as_array("means", params.means).dtype))


@program()
def _to_unconstrained(params):
    return _coordinates(params, params.cov.factor())


def _coordinates(params, factor):
    logs = jnp.log(params.weights)
    return Unconstrained(logs[:-1] - logs[-1], params.means, params.cov.coordinates(factor, *params.means.shape))


def from_unconstrained(family: str | type[Covariance], coordinates: Unconstrained) -> GMM:
    """The mixture with these coordinates: the inverse of `to_unconstrained`.

    Args:
        family: the covariance class, `Full`, `Tied`, `Diag`, `Spherical` or another, or its name (static).
        coordinates: real numbers. Beyond the range of ``exp`` (logarithms of about 700 in float64, 80 in
            float32) variances overflow or vanish.

    Returns:
        `GMM`.

    Raises:
        ValueError: ``family`` is none of the families.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> u = jgmm.Unconstrained(jnp.zeros(1), jnp.zeros((2, 1)), jnp.zeros((2, 1)))
        >>> params = jgmm.from_unconstrained(jgmm.Full, u)
        >>> print(params.weights, params.cov.cov.ravel())
        [0.5 0.5] [1. 1.]
    """
    return _from_unconstrained(as_family("family", family), coordinates)


@program("family")
def _from_unconstrained(family, coordinates):
    return _mixture(family, coordinates)


def _mixture(family, coordinates):
    weights = jax.nn.softmax(jnp.append(coordinates.logits, 0))
    return GMM(weights, coordinates.means, family.from_coordinates(coordinates.cov, *coordinates.means.shape))


def free_coordinates(start, frozen=()):
    """Vectors (p,) of what is not frozen: vector -> mixture, the ``frozen`` parts those of ``start``; and its inverse,
    of a mixture and the factor of its covariances.

    A loop that sees mixtures only as these vectors cannot move what is frozen, nor be disturbed by it.
    """
    absent = dict.fromkeys("logits" if part == "weights" else part for part in frozen)
    anything = zeros_of(to_unconstrained, start)
    _, unravel = ravel_pytree(dataclasses.replace(anything, **absent))

    def build(vector):
        free = {name: value for name, value in vars(unravel(vector)).items() if name not in absent}
        return with_frozen(_mixture(type(start.cov), dataclasses.replace(anything, **free)), start, frozen)

    def to_vector(params, factor):
        return ravel_pytree(dataclasses.replace(_coordinates(params, factor), **absent))[0]

    return build, to_vector
