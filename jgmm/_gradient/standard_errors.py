"""How well the data determine a fit: standard errors, and EM's rate of convergence, from one operator.

    V = I_o^-1 = (I - J)^-1 I_c^-1 / N

with the information I_c of a complete row, EM's Jacobian J at the maximum, and N the rows' weight. J is the fraction of
the information that is missing, its largest eigenvalue EM's rate (Dempster, Laird & Rubin 1977, sec. 3; Meng & Rubin
1991, eq. 2.3.6, whose SEM takes J from differences of steps where here it is a derivative).
"""

import jax
import jax.numpy as jnp

from jgmm._base.programs import program
from jgmm._base.pytree import public, pytree
from jgmm._base.status import Status
from jgmm._base.sweep import as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._em.implicit import linearised
from jgmm._em.iteration import RUNNING
from jgmm._em.loop import start_status
from jgmm._em.steps import as_start
from jgmm._expectation.moments import frame_on_shards
from jgmm._mixture.gmm import GMM

LANES = 16  # columns of J taken side by side
ENOUGH = 0.1  # of a standard error: what the optimum may be away


@pytree
@public
class StandardErrors:
    """How well the data determine the parameters of a mixture.

    Args:
        errors: a `GMM` that holds a standard error in the place of each parameter, in its units.
        rate: () EM's rate of convergence, the largest fraction of the information that is missing: each step leaves
            that much of the distance to the optimum; near 1 where components overlap.
        residual: () how far from the maximum of the likelihood the parameters are, in standard errors: the length
            of the Newton step in the metric of V^-1. On N rows the log-likelihood lacks half its square.
        status: () `Status` code: CONVERGED, OFF_OPTIMUM or NOT_ISOLATED; the errors are NaN unless CONVERGED.
    """

    errors: GMM
    rate: jax.Array
    residual: jax.Array
    status: jax.Array


@program("sweep")
def _standard_errors(params, X, sample_weight, sweep):
    ridge = jnp.zeros(X.shape[1], X.dtype)
    chart, step, jacobian = linearised(params, X, sample_weight, ridge, sweep)
    identity = jnp.eye(step.size, dtype=step.dtype)
    missing = jax.lax.map(jacobian, identity, batch_size=LANES)
    missing = (missing + missing.T) / 2  # what is not symmetric in it vanishes at the optimum
    root = jnp.linalg.cholesky(identity - missing)
    inverse = jax.lax.linalg.triangular_solve(root, identity, left_side=True, lower=True)
    total = sample_weight.sum()
    residual = jnp.sqrt(total) * jnp.linalg.norm(inverse @ step)

    frame = frame_on_shards(type(params.cov), X, sample_weight, sweep)
    status = start_status(chart.params, chart.factor, frame)
    settled = where(residual <= ENOUGH, Status.CONVERGED, Status.OFF_OPTIMUM)
    # The pivots, relative to the 1 of a direction about which nothing is missing.
    isolated = jnp.min(jnp.diagonal(root)) ** 2 > jnp.finfo(step.dtype).eps ** 0.5
    settled = where(isolated, settled, Status.NOT_ISOLATED)  # NaN is not isolated
    status = where(status == RUNNING, settled, status).astype(jnp.int32)

    changes = jax.vmap(chart.change)(inverse)
    errors = jax.tree.map(lambda change: jnp.sqrt((change**2).sum(0) / total), changes)
    errors = [where(status == Status.CONVERGED, error, jnp.nan) for error in jax.tree.leaves(errors)]
    errors = jax.tree.unflatten(jax.tree.structure(params), errors)
    return StandardErrors(errors, jnp.linalg.eigvalsh(missing)[-1], residual, status)


def standard_errors(
    params: GMM, X: ArrayLike, sample_weight: ArrayLike | None = None, *, chunk_size: int | None = None
) -> StandardErrors:
    """The standard errors of the parameters of a fit, and the rate at which EM converges to it.

    Errors are the square roots of the diagonal of the inverse observed information, carried over to weights, means
    and covariances by the delta method (Dempster, Laird & Rubin 1977; Meng & Rubin 1991). They hold for many rows,
    a mixture that is the right one, and no ridge that matters. Time grows with the square of the number of
    parameters, for p E-steps and more are taken, and so does the memory: a square matrix is held, of about twice as
    many rows as there are parameters.

    Args:
        params: the fit, a maximum of the likelihood.
        X: (n, d) the rows that it was fitted to, data units; their dtype is the result's.
        sample_weight: (n,) nonnegative weights of the rows: two counts as two rows; ``None`` for ones.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.

    Returns:
        `StandardErrors`: a `GMM` of errors, () rate, () residual and () status. Where the parameters are more than
        a tenth of a standard error from the maximum, or this is flat or none in some direction, the status says so
        and the errors are NaN.

    Raises:
        ValueError, TypeError: the data or the parameters are not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> X = jnp.tile(jnp.array([[-1.0], [1.0]]), (200, 1))  # of mean 0 and variance 1
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Diag(jnp.ones((1, 1))))
        >>> errors = jgmm.standard_errors(params, X).errors
        >>> print(errors.means, errors.cov.var.round(4))
        [[0.05]] [[0.0707]]
    """
    params, X, sample_weight = as_start(params, X, sample_weight)
    return _standard_errors(params, X, sample_weight, as_sweep(X, chunk_size))
