"""Standard errors: the Hessian by autodiff and the spread over bootstrap refits as oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, random_data
from jax.flatten_util import ravel_pytree

import jgmm
from jgmm import GradientStop, Status

TIGHT = GradientStop(1e-12)


@pytest.mark.parametrize("cov", FAMILIES)
def test_they_are_those_of_the_hessian(cov):
    X = random_data(3, 60, 2, 2, separation=1.5)[0]
    weight = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2, 60))
    fit = jgmm.em(jgmm.init.kmeans(jax.random.key(0), X, 2, cov=cov), X, weight, stop=TIGHT, max_steps=5000)
    vector, unravel = ravel_pytree(jgmm.to_unconstrained(fit.params))

    def natural(vector):
        return ravel_pytree(jgmm.from_unconstrained(cov, unravel(vector)))[0]

    def log_likelihood(vector):
        return weight @ jgmm.log_prob(jgmm.from_unconstrained(cov, unravel(vector)), X)

    @jax.jit
    def oracle(vector):
        covariance, slopes = jnp.linalg.inv(-jax.hessian(log_likelihood)(vector)), jax.jacfwd(natural)(vector)
        return jnp.sqrt(jnp.einsum("ij,jk,ik->i", slopes, covariance, slopes))

    found = jgmm.standard_errors(fit.params, X, weight)
    assert found.status == Status.CONVERGED
    assert found.residual < 1e-8
    np.testing.assert_allclose(ravel_pytree(found.errors)[0], oracle(vector), rtol=1e-7)


def test_they_are_the_spread_over_weighted_refits():
    """The Bayesian bootstrap: 500 refits to rows weighed by a Dirichlet, one vmap."""
    rng = np.random.default_rng(0)
    X = jnp.asarray(np.concatenate([rng.normal(-1.5, 1, 400), rng.normal(1.5, 0.7, 600)])[:, None])
    fit = jgmm.em(jgmm.init.kmeans(jax.random.key(0), X, 2), X, accelerate="anderson").check()
    weights = 1000 * jax.random.dirichlet(jax.random.key(1), jnp.ones(1000), (500,))
    refits = jax.vmap(lambda w: jgmm.em(fit.params, X, w, accelerate="anderson"))(weights)
    assert (refits.status == Status.CONVERGED).all()
    found = jgmm.standard_errors(fit.params, X)
    ratio = ravel_pytree(jax.tree.map(lambda error, leaf: error / leaf.std(0), found.errors, refits.params))[0]
    np.testing.assert_allclose(ratio, 1, atol=0.2)


def test_the_rate_is_that_at_which_em_arrives():
    X = random_data(3, 60, 2, 2, separation=1.5)[0]
    start = jgmm.init.kmeans(jax.random.key(0), X, 2, cov="diag")
    best = jgmm.em(start, X, stop=TIGHT, max_steps=5000).params
    away = jgmm.GMM(best.weights, best.means + 1e-3, best.cov)
    path = [jgmm.em(away, X, stop=GradientStop(0.0), max_steps=steps).params.means for steps in (40, 41)]
    ratio = jnp.linalg.norm(path[1] - best.means) / jnp.linalg.norm(path[0] - best.means)
    np.testing.assert_allclose(jgmm.standard_errors(best, X).rate, ratio, rtol=1e-3)


def test_parameters_off_the_maximum_are_told_by_how_much():
    X = random_data(0, 400, 2, 2, separation=8.0)[0]  # so far apart that the errors do not hang together
    fit = jgmm.em(jgmm.init.kmeans(jax.random.key(0), X, 2, cov="diag"), X, stop=TIGHT).params
    errors = jgmm.standard_errors(fit, X).errors

    @jax.jit
    def moved(size):
        means = fit.means.at[0, 0].add(size * errors.means[0, 0])
        return jgmm.standard_errors(jgmm.GMM(fit.weights, means, fit.cov), X)

    near, far = moved(0.01), moved(1.0)
    assert near.status == Status.CONVERGED
    np.testing.assert_allclose(near.residual, 0.01, rtol=0.1)
    assert far.status == Status.OFF_OPTIMUM
    assert 0.5 < far.residual < 2
    assert jnp.isnan(ravel_pytree(far.errors)[0]).all()
    assert moved(jnp.nan).status == Status.INVALID_START
