"""log_prob differentiates twice by x, everywhere that numbers are finite: for samplers, diffusions, Newton's method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, close, random_gmm

import jgmm

K, D = 3, 2
score = jax.jit(jax.grad(jgmm.log_prob, argnums=1))
hessian = jax.jit(jax.hessian(jgmm.log_prob, argnums=1))


def closed_form(params, x):
    """Score sum_k r_k s_k and Hessian sum_k r_k (s_k s_k^T - P_k) - score score^T, with s_k = -P_k (x - mu_k)."""
    precision = np.linalg.inv(np.asarray(params.covariances, np.float64))
    diff = np.asarray(x, np.float64) - np.asarray(params.means, np.float64)
    log_joint = np.log(np.asarray(params.weights, np.float64)) - np.einsum("ki,kij,kj->k", diff, precision, diff) / 2
    log_joint += np.linalg.slogdet(precision)[1] / 2
    resp = np.exp(log_joint - log_joint.max())
    resp /= resp.sum()
    scores = -np.einsum("kij,kj->ki", precision, diff)
    mean = resp @ scores
    return mean, np.einsum("k,kij->ij", resp, np.einsum("ki,kj->kij", scores, scores) - precision) - np.outer(
        mean, mean
    )


@pytest.mark.parametrize("cov", FAMILIES)
def test_score_and_hessian_are_the_closed_forms(cov):
    params = random_gmm(0, K, D, cov)
    for x in np.random.default_rng(0).normal(scale=3, size=(5, D)):
        close((score(params, x), hessian(params, x)), closed_form(params, x), "float64", loss=10)


@pytest.mark.parametrize("cov", FAMILIES)
@pytest.mark.parametrize("distance", [1e2, 1e4, 1e8, 1e15])
def test_far_tails_are_finite_in_single_precision(cov, distance):
    params = random_gmm(0, K, D, cov, "float32")
    params = jgmm.GMM(jnp.array([0.5, 0.5, 0.0], "float32"), params.means, params.cov)
    x = jnp.array([distance, -distance], "float32")
    assert jnp.isfinite(jgmm.log_prob(params, x))
    first, second = score(params, x), hessian(params, x)
    assert jnp.isfinite(second).all()
    present = jax.tree.map(lambda leaf: leaf[:2], params)  # D = 2 features: a tied matrix stays whole
    close(first, closed_form(present, x)[0], "float32", loss=10)


def test_beyond_the_largest_square_the_density_is_zero_and_the_score_unknown():
    """|x|^2 overflows float32 from 2e19 on: minus infinity, not NaN; there is no score to be had there."""
    params = random_gmm(0, K, D, "full", "float32")
    assert jgmm.log_prob(params, jnp.full(D, 1e25, "float32")) == -jnp.inf


def test_third_derivatives_exist():
    params = random_gmm(0, K, D, "full")
    third = jax.jacfwd(jax.hessian(jgmm.log_prob, argnums=1), argnums=1)(params, jnp.zeros(D))
    step = 1e-5 * jnp.eye(D)
    differences = [(hessian(params, e) - hessian(params, -e)) / 2e-5 for e in step]
    close(third, jnp.stack(differences, -1), "float64", loss=1e5)
