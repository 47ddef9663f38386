"""Converged optima on real data, and the cases in which scikit-learn's default rule stops too early.

The log-likelihoods and BIC values were computed in float64 without ridge at tight tolerance and agree
with mclust's models (VVV, EEE), whose printed values stop a little earlier.
"""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

import jgmm

OPTIMA = [  # data, family, k, initialiser, log-likelihood, BIC
    ("faithful", "full", 2, "kmeans", -1130.2640, 2322.1917),
    ("faithful", "tied", 3, "kmeans", -1126.3159, 2314.2957),
    ("iris", "full", 2, "kmeans", -214.3547, 574.0178),
    ("iris", "full", 3, "kmeans", -180.1855, 580.8389),
    ("diabetes", "full", 3, "kmeans_plusplus", -2295.0935, 4734.5122),
]


@pytest.fixture
def data(request):
    name = request.param
    return load_iris().data if name == "iris" else request.getfixturevalue(name)


@pytest.mark.parametrize(("data", "cov", "k", "init", "log_prob", "bic"), OPTIMA, indirect=["data"])
def test_fit_reaches_the_optimum(data, cov, k, init, log_prob, bic):
    for share in (0.0, 1.0):  # without a ridge, and with the default one
        ridge = share * jgmm.relative_ridge(data)
        result = jgmm.fit(jax.random.key(0), data, k, cov=cov, init=init, ridge=ridge).check()
        assert abs(float(result.stats.log_prob) - log_prob) < 1e-3
        assert abs(float(jgmm.bic(result.params, data)) - bic) < 2e-3


@pytest.mark.parametrize(("data", "cov", "k", "init", "log_prob", "bic"), OPTIMA[1::2] + OPTIMA[4:], indirect=["data"])
def test_fit_reaches_the_optimum_in_float32(data, cov, k, init, log_prob, bic):
    result = jgmm.fit(jax.random.key(0), data.astype("float32"), k, cov=cov, init=init).check()
    exact = jgmm.log_prob(result.params.astype("float64"), data).sum()
    assert abs(float(exact) - log_prob) < 1e-3


def test_a_quarter_and_three_quarters_come_back_as_such():
    """scikit-learn's issue 10122: its default stop reports such a mixture as 0.41 and 0.59."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (300, 1)), rng.normal(2.5, 1, (100, 1))])
    best = jgmm.fit(jax.random.key(0), X, 2, cov="tied", stop=jgmm.ParamStop(1e-10), max_steps=10_000).check()
    result = jgmm.fit(jax.random.key(0), X, 2, cov="tied").check()
    peer = GaussianMixture(2, covariance_type="tied", random_state=0).fit(X)
    optimum = float(best.params.weights.min())
    assert abs(float(result.params.weights.min()) - optimum) < 0.002
    assert abs(peer.weights_.min() - optimum) > 0.02  # else this data says nothing
    assert abs(optimum - 0.25) < 0.1


def beside_the_saddle(X, means):
    """A tied start with the data's own covariance: EM is within a whisker of the one-component fit."""
    return jgmm.GMM(np.full(2, 0.5, X.dtype), means, jgmm.Tied(np.cov(X.T, ddof=0).astype(X.dtype)))


def test_a_saddle_is_left_where_scikit_learn_stops(faithful, dtype):
    X = faithful.astype(dtype)
    one, two = -4.7419, -4.1919  # mean log-likelihood of the saddle and of the optimum
    for means in (faithful[[230, 173]], faithful.mean(0) + np.array([[-0.3], [0.3]]) * faithful.std(0)):
        start = beside_the_saddle(X, means)
        precision = np.linalg.inv(np.cov(faithful.T, ddof=0))
        peer = GaussianMixture(
            2, covariance_type="tied", weights_init=[0.5, 0.5], means_init=means, precisions_init=precision
        ).fit(faithful)
        assert peer.converged_
        assert abs(peer.score(faithful) - one) < 2e-3
        assert abs(float(jgmm.em(start, X).check().mean_log_prob) - two) < 1e-4


def test_a_saddle_too_close_to_leave_in_time_is_not_called_converged(faithful):
    means = faithful.mean(0) + np.array([[-0.01], [0.01]]) * faithful.std(0)
    result = jgmm.em(beside_the_saddle(faithful, means), faithful)
    assert jgmm.Status(int(result.status)) == jgmm.Status.MAX_STEPS
