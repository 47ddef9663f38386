"""Newton's method as an optax optimiser: the last steps of a fit, each of which doubles the digits.

    d = -Q |Lambda|^-1 Q^T g,    Q Lambda Q^T the Hessian of the loss

A direction of negative curvature counts by its size, so that steps lead away from saddles and not into them
(Dauphin et al. 2014, eq. 6); a step that raises the loss is halved.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jgmm._base.types import where
from jgmm._covariance.factor import matmul
from jgmm._em.stop import rounding

MOST_HALVINGS = 30


def _hessian(loss, vector):
    """(p, p), one product with it at a time; forward over reverse, for losses with a reverse rule of their own."""
    _, product = jax.linearize(jax.grad(loss), vector)
    return jax.lax.map(product, jnp.eye(vector.size, dtype=vector.dtype))


def newton() -> optax.GradientTransformationExtraArgs:
    """Newton's method with the whole Hessian: for the finish of a fit, from where EM has come near.

    A step costs p Hessian-vector products, each of two or three sweeps over the data, for the p free
    parameters, and the eigenvectors of a p x p matrix. Near an optimum with a definite Hessian the gradient's
    length is squared by every step, so that three or four lead from a rough fit to what rounding permits.

    Returns:
        `GradientTransformationExtraArgs`, an optimiser for ``fit_gradient(..., optimizer=...)``, or for any loss that
        optax's line searches take as ``value_fn``. It has no state and no options. Each call makes another: make it
        once.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.concatenate([jax.random.normal(jax.random.key(0), (50, 1)) + c for c in (-2.0, 2.0)])
        >>> rough = jgmm.em(jgmm.init.kmeans(jax.random.key(1), X, 2), X, stop=jgmm.LogProbStop(1e-4))
        >>> exact = jgmm.fit_gradient(rough.params, X, optimizer=jgmm.newton(), stop=jgmm.GradientStop(1e-6))
        >>> bool(exact.converged), int(exact.num_steps) <= 4
        (True, True)
    """

    def update(gradient, state, params, *, value, value_fn, **_):
        vector, unravel = ravel_pytree(params)
        gradient = ravel_pytree(gradient)[0]

        def loss(vector):
            return value_fn(unravel(vector))

        hessian = _hessian(loss, vector)
        curvatures, axes = jnp.linalg.eigh((hessian + hessian.T) / 2)
        size = jnp.abs(curvatures)
        size = jnp.maximum(size, vector.size * jnp.finfo(size.dtype).eps * size.max(initial=0))
        along = matmul(axes.T, gradient)
        whole = -matmul(axes, along / where(size > 0, size, 1))
        enough = value + rounding(value)

        def rises(search):
            _, reached, halvings = search
            return ~(reached <= enough) & (halvings < MOST_HALVINGS)

        def halve(search):
            share, _, halvings = search
            return share / 2, loss(vector + share / 2 * whole), halvings + 1

        search = jnp.ones((), vector.dtype), loss(vector + whole), 0
        share, reached, _ = jax.lax.while_loop(rises, halve, search)
        return unravel(where(reached <= enough, share * whole, 0)), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), cast(Any, update))
