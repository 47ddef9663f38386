"""jgmm against what is right by other means: a NumPy loop, SciPy's densities, scikit-learn's EM."""

import warnings

import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import scipy.stats
from helpers import close, random_data, random_gmm
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm


def test_log_prob_is_scipys_mixture_of_normals(cov, dtype):
    params, (X, _) = random_gmm(0, 4, 3, cov, dtype), random_data(1, 50, 3, 4, dtype)
    density = sum(
        w * scipy.stats.multivariate_normal(m, c).pdf(np.asarray(X, np.float64))
        for w, m, c in zip(*(np.asarray(v, np.float64) for v in (params.weights, params.means, params.covariances)))  # noqa: B905
    )
    close(jgmm.log_prob(params, X), np.log(density), dtype, loss=10)


def test_responsibilities_and_predict_are_the_oracles(cov):
    params, (X, _) = random_gmm(0, 4, 3, cov), random_data(1, 50, 3, 4)
    _, resp = oracle.e_step(np.asarray(params.weights), np.asarray(params.means), np.asarray(params.covariances), X)
    close(jgmm.responsibilities(params, X), resp, "float64", loss=10)
    np.testing.assert_array_equal(jgmm.predict(params, X), resp.argmax(1))


@pytest.mark.parametrize("weighted", [False, True])
def test_em_is_the_oracles_step_by_step(cov, dtype, weighted):
    params, (X, _) = random_gmm(2, 3, 2, cov), random_data(3, 60, 2, 3)
    sample_weight = np.random.default_rng(4).integers(0, 3, len(X)) if weighted else None
    start = (np.asarray(params.weights), np.asarray(params.means), np.asarray(params.covariances))
    weights, means, covs, history = oracle.em(*start, np.asarray(X), cov, 20, sample_weight, ridge=0.01)

    stop = jgmm.LogProbStop(0.0)
    result = jgmm.em(params, X.astype(dtype), sample_weight, stop=stop, max_steps=20, ridge=0.01, history=21)
    close(result.history, history, dtype, loss=30)
    close(result.params.weights, weights, dtype, loss=30)
    close(result.params.means, means, dtype, loss=30)
    close(result.params.covariances, covs, dtype, loss=30)
    close(result.mean_log_prob, history[-1], dtype, loss=30)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_em_is_scikit_learns_from_the_same_start(cov, steps):
    params, (X, _) = random_gmm(5, 3, 4, cov), random_data(6, 300, 4, 3)
    precisions = {
        "full": lambda: np.linalg.inv(params.covariances),
        "tied": lambda: np.linalg.inv(params.cov.cov),
        "diag": lambda: 1 / params.cov.var,
        "spherical": lambda: 1 / params.cov.var,
    }[cov]()
    peer = GaussianMixture(
        3, covariance_type=cov, tol=0, max_iter=steps, reg_covar=1e-6, weights_init=np.asarray(params.weights),
        means_init=np.asarray(params.means), precisions_init=np.asarray(precisions),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(X)
    result = jgmm.em(params, X, max_steps=steps, ridge=1e-6, stop=jgmm.LogProbStop(0.0))
    assert result.num_steps == steps
    close(result.params.weights, peer.weights_, "float64", loss=1e3)
    close(result.params.means, peer.means_, "float64", loss=1e3)
    (values,) = (
        v for v in (getattr(result.params.cov, "cov", None), getattr(result.params.cov, "var", None)) if v is not None
    )
    close(values, peer.covariances_, "float64", loss=1e3)
    close(result.mean_log_prob, peer.score(X), "float64", loss=1e3)
    close(jgmm.bic(result.params, X), peer.bic(X), "float64", loss=1e3)
    close(jgmm.aic(result.params, X), peer.aic(X), "float64", loss=1e3)


def test_samples_have_the_mixtures_moments_and_labels(cov, dtype):
    import jax

    params, n = random_gmm(7, 3, 2, cov, dtype), 40_000
    X, labels = jgmm.sample(jax.random.key(0), params, n)
    assert X.dtype == dtype
    counts = np.bincount(labels, minlength=3)
    assert (
        scipy.stats.chisquare(counts, n * np.asarray(params.weights, np.float64) / float(params.weights.sum())).pvalue
        > 1e-3
    )
    for k in range(3):
        part = np.asarray(X, np.float64)[np.asarray(labels) == k]
        sd = np.sqrt(np.diag(params.covariances[k]))
        assert np.all(np.abs(part.mean(0) - np.asarray(params.means[k])) < 5 * sd / np.sqrt(len(part)))
        spread = np.cov(part.T) - np.asarray(params.covariances[k])
        assert np.all(np.abs(spread) < 7 * np.outer(sd, sd) / np.sqrt(len(part)))


def test_one_component_is_the_mean_and_covariance_in_one_step(dtype):
    X, _ = random_data(8, 100, 3, 2, dtype)
    start = random_gmm(9, 1, 3, "full", dtype)
    params = jgmm.step(start, X)
    exact = np.asarray(X, np.float64)
    close(params.means[0], exact.mean(0), dtype)
    close(params.covariances[0], np.cov(exact.T, ddof=0), dtype, loss=3)
    close(params.weights, jnp.ones(1), dtype)
