"""The classifier, the regressor and the conversions of `jgmm.sklearn`."""

import pickle

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from helpers import FAMILIES, random_data, random_gmm
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

import jgmm
from jgmm.sklearn import (
    GaussianMixture,
    GaussianMixtureClassifier,
    GaussianMixtureRegressor,
    from_sklearn,
    to_sklearn,
)

X, LABELS = random_data(0, 200, 2, 3, separation=2.0)
X = np.asarray(X)
Y = np.array(["low", "middle", "top"])[LABELS]
PLAIN = {"n_init": 1, "tol": 1e-4, "random_state": 0}


def test_edda_with_one_covariance_is_linear_discriminant_analysis():
    ours = GaussianMixtureClassifier(model="edda", covariance_type="tied", reg_covar=0.0).fit(X, Y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(X, Y)
    # Theirs scales the covariance alike: the same up to rounding of the priors.
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.score(X, Y) == theirs.score(X, Y)


@pytest.mark.parametrize("model", ["edda", "mclustda"])
def test_one_full_component_a_class_is_quadratic_discriminant_analysis(model):
    ours = GaussianMixtureClassifier(model=model, reg_covar=0.0, **PLAIN).fit(X, Y)
    theirs = QuadraticDiscriminantAnalysis(store_covariance=True).fit(X, Y)
    for mixture, cov in zip(ours.mixtures_, theirs.covariance_, strict=True):
        np.testing.assert_allclose(mixture.covariances_[0], cov, rtol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)


def test_a_class_of_two_clusters_needs_two_components():
    rng = np.random.default_rng(0)
    place = rng.integers(4, size=200)
    x, y = (place + 0.2 * rng.normal(size=200))[:, None], place % 2  # the classes take turns
    one, two = (GaussianMixtureClassifier(k, **PLAIN).fit(x, y).score(x, y) for k in (1, 2))
    assert two > 0.95 > 0.8 > one


def test_priors_are_frequencies_weights_and_factors():
    share = np.bincount(LABELS) / len(X)
    base = GaussianMixtureClassifier(**PLAIN)
    np.testing.assert_allclose(base.fit(X, Y).priors_, share)
    np.testing.assert_allclose(clone(base).set_params(class_weight="balanced").fit(X, Y).priors_, np.full(3, 1 / 3))
    weighted = share * [4, 1, 1]
    factors = {"low": 4, "middle": 1, "top": 1}
    np.testing.assert_allclose(
        clone(base).set_params(class_weight=factors).fit(X, Y).priors_, weighted / weighted.sum()
    )
    weight = np.where(LABELS == 0, 4.0, 1.0)
    np.testing.assert_allclose(base.fit(X, Y, sample_weight=weight).priors_, weighted / weighted.sum())


def test_a_class_without_weight_is_not_there():
    model = GaussianMixtureClassifier(**PLAIN).fit(X, Y, sample_weight=(LABELS > 0).astype(float))
    assert model.classes_.tolist() == ["middle", "top"]
    assert model.predict_proba(X).shape == (len(X), 2)


def test_probabilities_are_those_of_bayes_rule(dtype):
    rows = X.astype(dtype)
    model = GaussianMixtureClassifier(2, random_state=0).fit(rows, Y)
    joint = np.stack([m.score_samples(X) for m in model.mixtures_], 1) + np.log(model.priors_)
    expected = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(model.predict(X), model.classes_[expected.argmax(1)])
    assert model.predict_proba(rows).dtype == dtype


def test_a_small_class_gets_fewer_components():
    y = np.where(np.arange(len(X)) < 1, "one", Y)
    with pytest.warns(UserWarning, match="collapsed"):
        model = GaussianMixtureClassifier(2, **PLAIN).fit(X, y)
    assert [mixture.n_components for mixture in model.mixtures_] == [2, 2, 1, 2]


def test_edda_has_one_component_a_class():
    with pytest.raises(ValueError, match='n_components must be 1 for model="edda"'):
        GaussianMixtureClassifier(2, model="edda").fit(X, Y)


@pytest.mark.parametrize("cov", ["full", "tied"])
def test_one_component_is_linear_regression(cov):
    y = np.stack([np.sin(X @ [1.0, -2.0]), X[:, 0] ** 2], 1)
    ours = GaussianMixtureRegressor(covariance_type=cov, reg_covar=0.0, **PLAIN | {"tol": 0.5}).fit(X, y)
    theirs = LinearRegression().fit(X, y)
    mean, std = ours.predict(X, return_std=True)
    np.testing.assert_allclose(mean, theirs.predict(X), atol=1e-8)
    assert mean.shape == std.shape == (len(X), 2)
    np.testing.assert_allclose(std[:, 1], np.std(y[:, 1] - theirs.predict(X)[:, 1]), rtol=1e-9)


def test_more_components_bend_the_line_and_know_their_error(dtype):
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (400, 1)).astype(dtype)
    noise = np.where(x[:, 0] > 0, 0.3, 0.05)
    y = (np.sin(x[:, 0]) + noise * rng.normal(size=400)).astype(dtype)
    model = GaussianMixtureRegressor(6, random_state=0).fit(x, y)
    mean, std = model.predict(x, return_std=True)
    assert mean.dtype == std.dtype == dtype
    assert model.score(x, y) > 0.9 > GaussianMixtureRegressor(random_state=0).fit(x, y).score(x, y)
    assert 0.7 < np.std((y - mean) / std) < 1.3
    assert std[x[:, 0] > 1].mean() > 2 * std[x[:, 0] < -1].mean()


def test_the_conditional_mean_is_the_core_s():
    model = GaussianMixtureRegressor(2, **PLAIN).fit(X[:, :1], X[:, 1])
    params = from_sklearn(model.mixture_)
    mean, cov = jgmm.moments(jgmm.condition(params, 0, X[3, :1]))
    found, std = model.predict(X[:, :1], return_std=True)
    np.testing.assert_allclose([found[3], std[3] ** 2], [mean[0], cov[0, 0]], rtol=1e-10)


def test_frames_pickles_and_seeds_of_both_models():
    frame = pd.DataFrame(X, columns=["a", "b"])
    for model, target in ((GaussianMixtureClassifier(**PLAIN), Y), (GaussianMixtureRegressor(**PLAIN), X[:, 0] ** 2)):
        first = model.fit(frame, target).predict(frame)
        assert model.feature_names_in_.tolist() == ["a", "b"]
        with pytest.raises(ValueError, match="Feature names must be in the same order"):
            model.predict(frame[["b", "a"]])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(frame), first)
        np.testing.assert_array_equal(clone(model).fit(frame, target).predict(frame), first)


@pytest.mark.parametrize("cov", FAMILIES)
def test_there_and_back(cov, dtype):
    params = random_gmm(0, 3, 2, cov, dtype)
    theirs = to_sklearn(params)
    assert type(theirs) is sklearn.mixture.GaussianMixture
    loss = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(theirs.score_samples(X), jgmm.log_prob(params, X), rtol=loss, atol=loss)
    np.testing.assert_allclose(theirs.predict_proba(X), jgmm.responsibilities(params, X), atol=10 * loss)
    back = from_sklearn(theirs)
    assert type(back.cov) is type(params.cov)
    for a, b in zip(
        (back.weights, back.means, back.covariances), (params.weights, params.means, params.covariances), strict=True
    ):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=1e-6 if dtype == np.float32 else 1e-14)
    assert theirs._n_parameters() == params.num_parameters
    assert theirs.sample(4)[0].shape == (4, 2)


def test_what_holds_a_mixture_converts_and_nothing_else():
    ours = GaussianMixture(2, **PLAIN).fit(X)
    np.testing.assert_allclose(jgmm.log_prob(from_sklearn(ours), X), ours.score_samples(X))
    bayes = sklearn.mixture.BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
    assert from_sklearn(bayes).means.shape == (2, 2)
    with pytest.raises(NotFittedError):
        from_sklearn(GaussianMixture())
    with pytest.raises(TypeError, match="must be a fitted Gaussian mixture, got LinearRegression"):
        from_sklearn(LinearRegression())
    with pytest.raises(TypeError, match=r"must be a jgmm\.GMM"):
        to_sklearn(ours)  # the other way round


def test_absent_components_are_left_out():
    params = random_gmm(0, 3, 2, "full")
    weights = jnp.asarray([0.25, 0.0, 0.75])
    theirs = to_sklearn(jgmm.GMM(weights, params.means, params.cov))
    assert theirs.n_components == 2
    np.testing.assert_array_equal(theirs.weights_, [0.25, 0.75])
