"""The derivative of a fit, from its end alone: the implicit function theorem at a fixed point of EM.

The fitted parameters solve theta = F(theta; X, s, ridge), with F one step of EM. So, with J = dF / dtheta there,

    d theta = (I - J)^-1 dF(. ; dX, ds, dridge)

whatever way led there: no step of the loop is kept, and the start has no influence. J is applied, never formed; in
the metric of the complete data's information it is symmetric, but for a ridge (Dempster, Laird & Rubin 1977, sec. 3).
Where the fixed point is not reached, or I - J not positive definite (it is not isolated, or a saddle from which EM
would depart), there is no derivative, and it is NaN.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from jgmm._base.status import Status
from jgmm._base.types import where
from jgmm._em.krylov import solve
from jgmm._em.metric import Chart
from jgmm._em.steps import maximisation
from jgmm._expectation.kernels import expectation, whitened
from jgmm._expectation.moments import frame_on_shards
from jgmm._mixture.frozen import still, with_frozen


def em_step(params, e_step, ridge, frozen):
    """One step of EM."""
    factor = params.cov.factor()
    return maximisation(e_step(params, factor), params, factor, ridge, frozen)[0]


def of_settled(params):
    """The mixture with covariances of which a step of EM is one, to the maximum (`Covariance.settled`)."""
    return dataclasses.replace(params, cov=params.cov.settled())


def linearised(params, X, sample_weight, ridge, sweep, frozen=()):
    """EM at ``params``: the `Chart` there, its step as a vector (q,), and J as a function of vectors. What is
    ``frozen`` takes no part in it."""
    params = of_settled(params)
    rows, family = (X, sample_weight), type(params.cov)
    frame = frame_on_shards(family, X, sample_weight, sweep)

    def e_step(params, factor):
        on_shard = sweep.on_shards(lambda rows, given: expectation(*given, *rows, sweep=sweep))
        return on_shard(rows, (params, factor, frame))

    chart = Chart(params, params.cov.factor())
    new, along = jax.linearize(lambda params: em_step(params, e_step, ridge, frozen), params)
    step = chart.vector(still(jax.tree.map(jnp.subtract, new, params), frozen))

    def jacobian(z):
        return chart.vector(still(along(still(chart.change(z), frozen)), frozen))

    return chart, step, jacobian


def present(X, sample_weight):
    """Rows and weights without a row that holds NaN or infinity, and every other with a positive weight, if a tiny
    one: the derivative by a weight of zero is that of adding the row."""
    known = jnp.isfinite(X).all(-1)
    tiny = jnp.finfo(X.dtype).tiny
    return where(known[:, None], X, 0), where(known, sample_weight + tiny, 0)


@partial(jax.custom_jvp, nondiff_argnums=(5, 6))
def attach(result, start, X, sample_weight, ridge, sweep, frozen):
    """The `Result` of a fit of these, run on constants (``stop_gradient``), with its derivative.

    Parameters and statistics have one; how the fit went (``num_steps``, ``history``, ``restarts``) is constant. Of
    the ``start`` only what is ``frozen`` counts.
    """
    return result


@attach.defjvp
def _(sweep, frozen, primals, tangents):
    if sweep.axis_name and sweep.mesh is None:
        raise NotImplementedError(
            "The derivative of a fit cannot be taken inside shard_map (axis_name). Call it outside, with rows spread "
            "over a mesh: jax.device_put(X, NamedSharding(mesh, P('rows')))."
        )
    result = attach(*primals, sweep, frozen)  # anew, for derivatives of this derivative
    _, start, X, sample_weight, ridge = primals

    def e_step(params, factor, *rows):
        # A single use does not repay compiling the choice between two kernels.
        on_shard = sweep.on_shards(lambda rows, given: whitened(*given, *rows, sweep=sweep))
        return on_shard(present(*rows), (params, factor))

    def settled(start, X, sample_weight, ridge):
        params = of_settled(with_frozen(result.params, start, frozen))
        return em_step(params, lambda *given: e_step(*given, X, sample_weight), ridge, frozen)

    def counted(params, *rows):
        return e_step(params, params.cov.factor(), *rows)

    _, moved = jax.jvp(settled, (start, X, sample_weight, ridge), tangents[1:])
    chart, step, jacobian = linearised(result.params, *present(X, sample_weight), ridge, sweep, frozen)

    def curvature(z):
        return z - jacobian(z)

    # Any right-hand side can be solved for where a random one can. That of the data often lies where I - J is regular.
    probe = jax.random.normal(jax.random.key(0), step.shape, step.dtype)
    exists = jnp.isfinite(solve(curvature, probe)).all() & reached(result.status, step)
    change = solve(curvature, where(exists, 1, jnp.nan) * chart.vector(still(moved, frozen)))
    change = with_frozen(still(chart.change(change), frozen), moved, frozen)
    change = jax.tree.unflatten(jax.tree.structure(result.params), jax.tree.leaves(change))
    _, stats = jax.jvp(counted, (result.params, X, sample_weight), (change, *tangents[2:4]))
    return result, dataclasses.replace(tangents[0], params=change, stats=stats)


def reached(status, step):
    """Whether a fit ended at a fixed point: by its rule, or stopped by rounding; from EM's ``step`` there (q,)."""
    at_rest = jnp.linalg.norm(step) <= jnp.finfo(step.dtype).eps ** 0.5
    return (status == Status.CONVERGED) | (status == Status.STALLED) & at_rest
