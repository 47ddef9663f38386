"""A mixture whose features are given in other units: x'_j = u_j x_j, for factors u (d,) that are powers of two."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._covariance.families import Diag, Full, Spherical, Tied
from jgmm._covariance.family import Covariance
from jgmm._covariance.projection import Projection
from jgmm._mixture.gmm import GMM

PLAIN = Full, Tied, Diag, Spherical  # whose numbers are the values of the form


def shares_units(family: type[Covariance]) -> bool:
    """Whether all features have one unit: in a family that may not hold covariances of features scaled one by one."""
    return family.shares_units


def rescaled(values, units) -> Any:
    """Covariances, or a scatter, in the shape of their form, times u_i u_j or u_j^2, which alone could overflow."""
    if isinstance(values, Projection):
        return values.in_units(units)
    if values.ndim == 3:
        return values * units[None, :, None] * units[None, None]
    units = units[None, : values.shape[-1]]
    return values * units * units


def in_units(params: GMM, units: np.ndarray) -> GMM:
    """The density of the features in other units, of a mixture whose values are known.

    NumPy multiplies, because XLA takes the last numbers that a dtype holds, less precisely, for zero.
    """
    k, d = params.means.shape
    values = np.asarray(params.cov.values(k, d))
    new = (params.cov.form.rescaled if params.cov.own_statistics else rescaled)(values, units)
    if type(params.cov) in PLAIN:
        cov = jax.tree.map(lambda leaf: jnp.asarray(new.reshape(leaf.shape)), params.cov)
    else:
        cov = type(params.cov).from_values(jnp.asarray(new), jnp.asarray(np.ones(k, new.dtype)), d)
    return GMM(params.weights, jnp.asarray(np.asarray(params.means) * units), cov)
