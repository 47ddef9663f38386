"""The algebra of mixtures: Bayes' rule, changes of variables, quadrature, moments of samples as oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, close, raises, random_gmm
from scipy.linalg import sqrtm

import jgmm

K, D = 3, 4
MATRIX = np.random.default_rng(5).normal(size=(D, D)) + 2 * np.eye(D)
GRID = np.linspace(-60, 60, 20001)  # a quadrature by the trapezium rule is exact to rounding for Gaussians
STEP = GRID[1] - GRID[0]


@pytest.fixture(params=FAMILIES)
def params(request):
    return random_gmm(0, K, D, request.param)


@pytest.fixture
def point():
    return jnp.asarray(np.random.default_rng(1).normal(size=D))


def density(params, x):
    return jgmm.log_prob(params, jnp.asarray(x))


def test_bayes_rule(params, point):
    """log p(a, b) = log p(b) + log p(a | b), whichever features are known and in whatever order."""
    for dims in ([2, 1], [3, 0, 1], -1):
        given = np.atleast_1d(dims) % D
        rest = np.setdiff1d(np.arange(D), given)
        conditional = jgmm.condition(params, dims, point[given])
        both = density(jgmm.marginal(params, dims), point[given]) + density(conditional, point[rest])
        close(both, density(params, point), "float64")
        assert type(conditional.cov) is type(params.cov)


def test_a_marginal_has_the_moments_of_its_features(params):
    mean, cov = jgmm.moments(params)
    dims = [3, 1]
    close(jgmm.moments(jgmm.marginal(params, dims)), (mean[jnp.array(dims)], cov[np.ix_(dims, dims)]), "float64")
    assert type(jgmm.marginal(params, dims).cov) is type(params.cov)


def test_moments_are_those_of_a_large_sample(params):
    X = np.asarray(jgmm.sample(jax.random.key(0), params, 200_000)[0])
    mean, cov = jgmm.moments(params)
    np.testing.assert_allclose(X.mean(0), mean, atol=5 * np.sqrt(np.diag(cov).max() / len(X)))
    np.testing.assert_allclose(np.cov(X.T), cov, atol=0.02 * np.diag(cov).max())


@pytest.mark.parametrize("A", [3.0, np.arange(1.0, D + 1), MATRIX], ids=["factor", "factors", "matrix"])
def test_an_affine_map_changes_variables(params, point, A):
    """p_y(A x + b) |det A| = p_x(x)."""
    whole = np.diag(np.broadcast_to(A, D)) if np.ndim(A) < 2 else A
    image = jgmm.affine(params, A, jnp.ones(D))
    log_det = np.linalg.slogdet(whole)[1]
    close(density(image, whole @ np.asarray(point) + 1) + log_det, density(params, point), "float64")


def test_a_map_to_fewer_features_is_a_marginal(params):
    picked = jgmm.affine(params, np.eye(D)[[2, 0]])
    close(picked.covariances, jgmm.marginal(params, [2, 0]).covariances, "float64")


@pytest.mark.parametrize("noise", [0.5, np.arange(1.0, D + 1), MATRIX @ MATRIX.T], ids=["number", "vector", "matrix"])
def test_noise_adds_its_covariance(params, noise):
    whole = np.diag(np.broadcast_to(noise, D)) if np.ndim(noise) < 2 else noise
    noisy = jgmm.convolve(params, noise)
    close(noisy.covariances, np.asarray(params.covariances) + whole, "float64")
    close((noisy.weights, noisy.means), (params.weights, params.means), "float64")


def test_families_stay_closed_where_they_can():
    for cov in FAMILIES:
        params = random_gmm(0, K, D, cov)
        vector = {"spherical": jgmm.Diag}.get(cov, type(params.cov))
        matrix = {"tied": jgmm.Tied}.get(cov, jgmm.Full)
        for kind, argument in ((type(params.cov), 2.0), (vector, np.ones(D)), (matrix, np.eye(D))):
            assert type(jgmm.convolve(params, argument).cov) is kind
            assert type(jgmm.affine(params, argument).cov) is kind


def test_convolution_and_product_in_one_feature_are_integrals():
    p, q = random_gmm(1, 2, 1, "full"), random_gmm(2, 3, 1, "spherical")
    on_p, on_q = (np.exp(density(m, GRID[:, None])) for m in (p, q))
    noisy = jgmm.convolve(p, 0.7)
    noise = np.exp(-(GRID**2) / 1.4) / np.sqrt(1.4 * np.pi)
    middle = np.convolve(on_p, noise, "same") * STEP
    close(np.exp(density(noisy, GRID[:, None])), middle, "float64", loss=100)
    both, log_z = jgmm.product(p, q)
    close(np.exp(log_z), (on_p * on_q).sum() * STEP, "float64", loss=10)
    close(np.exp(density(both, GRID[:, None]) + log_z), on_p * on_q, "float64", loss=10)


def test_a_product_is_pointwise(params, point):
    q = random_gmm(7, 2, D, "full")
    both, log_z = jgmm.product(params, q)
    close(density(both, point) + log_z, density(params, point) + density(q, point), "float64", loss=10)


def test_collapse_keeps_the_moments(params):
    groups = jnp.array([1, 0, 1])
    merged = jgmm.collapse(params, groups)
    assert type(merged.cov) is type(params.cov)
    close(merged.weights, jnp.array([params.weights[1], params.weights[0] + params.weights[2]]), "float64")
    mean, cov = jgmm.moments(params)
    found_mean, found_cov = jgmm.moments(merged)
    close(found_mean, mean, "float64")
    close(jnp.trace(found_cov), jnp.trace(cov), "float64")  # all that every family can hold
    if isinstance(params.cov, jgmm.Full):
        close(found_cov, cov, "float64")


def test_collapsing_to_groups_of_one_changes_nothing(params):
    close(jgmm.collapse(params, jnp.arange(K)), params, "float64")


def test_l2_is_an_integral_and_zero_for_the_same():
    p, q = random_gmm(1, 2, 1, "full"), random_gmm(2, 3, 1, "diag")
    on_p, on_q = (np.exp(density(m, GRID[:, None])) for m in (p, q))
    close(jgmm.squared_l2(p, q), ((on_p - on_q) ** 2).sum() * STEP, "float64", loss=10)
    assert abs(jgmm.squared_l2(p, p)) < 1e-15


def test_kl_lies_within_its_error_of_an_integral():
    p, q = random_gmm(1, 2, 1, "full"), random_gmm(2, 3, 1, "diag")
    log_p, log_q = (np.asarray(density(m, GRID[:, None])) for m in (p, q))
    exact = (np.exp(log_p) * (log_p - log_q)).sum() * STEP
    kl, error = jgmm.kl_divergence(jax.random.key(0), p, q, 20_000)
    assert abs(kl - exact) < 4 * error
    assert error < 0.1 * exact
    close(jgmm.kl_divergence(jax.random.key(0), p, p, 100), (0.0, 0.0), "float64", scale=1)


def test_wasserstein_is_the_closed_form():
    p, q = random_gmm(1, 2, D, "full"), random_gmm(2, 3, D, "diag")
    found = jgmm.squared_wasserstein(p, q)
    for i, S in enumerate(np.asarray(p.covariances)):
        for j, T in enumerate(np.asarray(q.covariances)):
            root = sqrtm(S)
            cost = np.trace(S + T - 2 * np.real(sqrtm(root @ T @ root))) + np.sum((p.means[i] - q.means[j]) ** 2)
            close(found[i, j], cost, "float64", loss=100)
    close(jnp.diagonal(jgmm.squared_wasserstein(p, p)), jnp.zeros(2), "float64", loss=100, scale=10)


def test_derivatives_are_finite_even_between_equals(params):
    for function in (jgmm.squared_l2, lambda p, q: jgmm.squared_wasserstein(p, q).sum()):
        for leaf in jax.tree.leaves(jax.jit(jax.grad(function))(params, params)):
            assert np.isfinite(leaf).all()
    score = jax.jit(jax.grad(lambda p: jgmm.condition(p, [0], jnp.zeros(1)).means.sum()))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(score))


def test_regression_of_a_batch_is_that_of_each(params):
    values = jnp.linspace(-2, 2, 5)[:, None]
    batch = jax.jit(jax.vmap(lambda v: jgmm.moments(jgmm.condition(params, [1], v))))(values)
    for i, value in enumerate(values):
        close(jax.tree.map(lambda x, i=i: x[i], batch), jgmm.moments(jgmm.condition(params, [1], value)), "float64")


def test_a_batch_of_mixtures_goes_through_every_operation():
    mixtures = [random_gmm(seed, K, D, "full") for seed in range(3)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *mixtures)

    def all_of_them(p):
        q = jgmm.convolve(jgmm.affine(p, 0.5, 1.0), 1.0)
        return jgmm.product(p, q), jgmm.squared_l2(p, q), jgmm.squared_wasserstein(p, q), jgmm.collapse(p)

    found = jax.jit(jax.vmap(all_of_them))(batch)
    for i, p in enumerate(mixtures):
        close(jax.tree.map(lambda x, i=i: x[i], found), all_of_them(p), "float64", loss=10)


def test_a_sample_moves_with_means_and_covariances(params):
    """Given the components drawn, dx / dmean is one, and x - mean scales as the standard deviation."""
    key = jax.random.key(3)
    X, labels = jgmm.sample(key, params, 6)
    tangent = jax.tree.map(jnp.zeros_like, params)
    ones = jgmm.GMM(tangent.weights, jnp.ones_like(params.means), tangent.cov)
    scaled = jgmm.GMM(tangent.weights, tangent.means, params.cov)
    sample = lambda p: jgmm.sample(key, p, 6)[0]  # noqa: E731
    along = jax.jit(lambda move: jax.jvp(sample, (params,), (move,))[1])
    close(along(ones), np.ones((6, D)), "float64")
    close(along(scaled), (X - params.means[labels]) / 2, "float64")


def test_pathwise_gradients_of_an_expectation_are_unbiased(params):
    """E x^T M x = sum_k pi_k (mu_k^T M mu_k + tr(M Sigma_k)), by means and covariances; one weight is zero."""
    weights = jnp.array([0.4, 0.6, 0.0])
    M = jnp.asarray(MATRIX + MATRIX.T)

    def drawn(means, cov, key):
        X, _ = jgmm.sample(key, jgmm.GMM(weights, means, cov), 20)
        return jnp.einsum("ni,ij,nj->n", X, M, X).mean()

    def exact(means, cov):
        dense = jgmm.GMM(weights, means, cov).covariances
        return weights @ (jnp.einsum("ki,ij,kj->k", means, M, means) + jnp.einsum("ij,kji->k", M, dense))

    gradients = jax.jit(jax.vmap(jax.grad(drawn, argnums=(0, 1)), (None, None, 0)))
    found = gradients(params.means, params.cov, jax.random.split(jax.random.key(0), 2000))
    expected = jax.jit(jax.grad(exact, argnums=(0, 1)))(params.means, params.cov)
    for many, one in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        one = (one + jnp.swapaxes(one, -1, -2)) / 2 if one.shape[-2:] == (D, D) else one
        error = np.asarray(many.std(0)) / len(many) ** 0.5
        assert (np.abs(many.mean(0) - one) <= 4.5 * error + 1e-12).all()
        assert np.median(error) < 0.05 * np.abs(one).max()


def test_what_cannot_be_meant_is_refused():
    p = random_gmm(0, K, D, "diag")
    raises(ValueError, ["different features", "0..3"], jgmm.marginal, p, [1, 1])
    raises(ValueError, ["different features", "[4]"], jgmm.marginal, p, [4])
    raises(TypeError, ["dims", "integers"], jgmm.marginal, p, [0.5])
    raises(TypeError, ["dims", "close over"], jax.jit(jgmm.marginal), p, jnp.array([1]))
    raises(ValueError, ["at least one feature"], jgmm.condition, p, range(D), jnp.zeros(D))
    raises(ValueError, ["values", "(1,)", "vmap"], jgmm.condition, p, [0], jnp.zeros((7, 1)))
    raises(ValueError, ["A must be", "4 columns"], jgmm.affine, p, jnp.ones((4, 3)))
    raises(ValueError, ["b must be", "(2,)"], jgmm.affine, p, jnp.ones((2, D)), jnp.ones(D))
    raises(ValueError, ["noise must be", "(4, 4)"], jgmm.convolve, p, jnp.ones((2, D)))
    raises(ValueError, ["same features", "4 and 2"], jgmm.product, p, random_gmm(0, 2, 2, "full"))
    raises(ValueError, ["groups", "3 integers"], jgmm.collapse, p, jnp.zeros(3))
    raises(ValueError, ["0..1"], jgmm.collapse, p, jnp.array([0, 1, 2]), 2)
    raises(TypeError, ["num_groups"], jax.jit(jgmm.collapse), p, jnp.array([0, 1, 0]))
    raises(ValueError, ["n must be at least 2"], jgmm.kl_divergence, jax.random.key(0), p, p, 1)
