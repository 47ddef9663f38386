"""The factors of each family against dense linear algebra, one component at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, random_gmm

K, D = 3, 4


def dense(params):
    return np.asarray(params.covariances, np.float64)


def per_component(values):
    """One number for each component, from one for each or one for all (tied)."""
    return np.broadcast_to(values, (K,))


@pytest.fixture
def params(cov, dtype):
    return random_gmm(0, K, D, cov, dtype)


@pytest.mark.parametrize("component", range(K))
def test_color_gives_noise_the_components_covariance(params, dtype, component):
    factor = params.cov.factor()
    # The colour of each unit vector is a column of the root of the covariance.
    root = jax.vmap(lambda noise: factor.color(noise, component))(jnp.eye(D, dtype=dtype)).T
    close(root, np.linalg.cholesky(dense(params)[component]), dtype)


def test_whiten_is_the_inverse_of_the_root(params, dtype):
    diff = np.random.default_rng(1).normal(size=(K, D, 5)).astype(dtype)
    expected = np.linalg.solve(np.linalg.cholesky(dense(params)), diff.astype("float64"))
    close(params.cov.factor().whiten(jnp.asarray(diff)), expected, dtype)


def test_half_log_det_is_each_components(params, dtype):
    actual = per_component(params.cov.factor().half_log_det(D))
    close(actual, np.linalg.slogdet(dense(params)).logabsdet / 2, dtype)


def test_relative_is_the_whitened_change(params, cov, dtype):
    new = random_gmm(1, K, D, cov, dtype)
    root = np.linalg.cholesky(dense(params))
    whitened = np.linalg.solve(root, np.linalg.solve(root, dense(new) - dense(params)).swapaxes(1, 2))
    actual = (params.cov.factor().relative(new.cov.values(K, D) - params.cov.values(K, D), D) ** 2).sum(-1)
    close(per_component(actual), (whitened**2).sum((1, 2)), dtype, loss=3)


def test_largest_share_is_the_top_eigenvalue_of_the_whitened_part(params, cov, dtype):
    # Of a ridge: the same for all components, which is all that a tied covariance can have.
    variances = np.linspace(0.1, 0.4, D)
    seen = variances if cov != "spherical" else np.full(D, variances.mean())  # all that one variance tells of a ridge
    root = np.linalg.cholesky(dense(params))
    whitened = np.linalg.solve(root, np.linalg.solve(root, np.diag(seen)[None]).swapaxes(1, 2))
    actual = params.cov.factor().largest_share(jnp.broadcast_to(jnp.asarray(variances, dtype), (K, D)))
    close(per_component(actual), np.linalg.eigvalsh(whitened)[:, -1], dtype, loss=3)


def test_the_share_by_feature_is_that_given_the_others_and_bounds_the_largest_share(params, cov, dtype):
    variances = jnp.asarray(np.linspace(0.1, 0.4, D), dtype)
    factor = params.cov.factor()
    actual, largest = factor.feature_share(variances), factor.largest_share(jnp.broadcast_to(variances, (K, D)))
    assert (actual <= largest * (1 + 1e-5)).all()
    assert (actual >= largest / D * (1 - 1e-5)).all()
    if cov != "spherical":  # which has one variance, and takes the mean of these
        precision = np.linalg.inv(dense(params))
        close(
            per_component(actual),
            (np.diagonal(precision, axis1=1, axis2=2) * np.asarray(variances)).max(1),
            dtype,
            loss=3,
        )
