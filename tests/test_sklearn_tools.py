"""GaussianMixture for scikit-learn at home among its tools: frames, pipelines, searches, clones and files."""

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import random_data
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jgmm._search.fit import _fit
from jgmm.sklearn import GaussianMixture

N, D, K = 200, 2, 3
X = np.asarray(random_data(0, N, D, K, separation=2.0)[0])
SOME = {"n_components": K, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    return GaussianMixture(**SOME).fit(X)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_keep_the_names_of_their_columns(frame, fitted):
    table = frame({"a": X[:, 0], "b": X[:, 1]})
    model = clone(fitted).fit(table)
    np.testing.assert_array_equal(model.means_, fitted.means_)
    np.testing.assert_array_equal(model.predict(table), fitted.predict(X))
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        model.predict(table[["b", "a"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


@pytest.mark.parametrize("kind", ["default", "pandas", "polars"])
def test_in_a_pipeline_with_any_output(kind):
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(**SOME)).set_output(transform=kind)
    labels = pipeline.fit_predict(pd.DataFrame(X, columns=["a", "b"]))
    assert labels.shape == (N,)
    assert hasattr(pipeline[-1], "feature_names_in_") == (kind != "default")


def test_a_grid_search_in_two_processes():
    grid = {"n_components": [1, 2]}
    base = GaussianMixture(random_state=0, n_init=1, tol=1e-3)
    search = GridSearchCV(base, grid, cv=2, n_jobs=2).fit(X)
    alone = GridSearchCV(base, grid, cv=2).fit(X)
    assert search.best_params_["n_components"] > 1
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], rtol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_folds_and_numbers_of_components_share_programs():
    data = np.asarray(random_data(5, 330, 3, 3)[0])
    before = _fit._cache_size()
    GridSearchCV(GaussianMixture(random_state=0), {"n_components": [3, 4]}, cv=4).fit(data)
    assert _fit._cache_size() - before <= 2  # 330 rows and 247: five lengths would do, of four folds and two ks


def test_clone_pickle_and_joblib(fitted, tmp_path):
    fresh = clone(fitted)
    assert not hasattr(fresh, "means_")
    assert fresh.get_params() == fitted.get_params()
    joblib.dump(fitted, tmp_path / "model")
    for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "model")):
        np.testing.assert_array_equal(copy.score_samples(X), fitted.score_samples(X))
    assert b"jgmm.sklearn._" not in pickle.dumps(fitted)  # a name that a move of the file would break
