"""What scikit-learn does that is not copied: the table in the docstring of `jgmm.sklearn`, measured row by row."""

import numpy as np
import pytest
import sklearn.mixture
from helpers import random_data

import jgmm
import jgmm.sklearn
from jgmm.sklearn import GaussianMixture

X = np.asarray(random_data(0, 200, 2, 3, separation=2.0)[0])
GIVEN = {"tol": 1e-3, "reg_covar": 1e-6, "max_iter": 300, "n_init": 1, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def both(X, **options):
    return [cls(**options).fit(X) for cls in (GaussianMixture, sklearn.mixture.GaussianMixture)]


@pytest.mark.parametrize("cov", ["tied", "diag", "spherical"])
def test_no_digit_is_lost_to_an_offset(cov):
    # One component: its covariance is that of the rows, and is known.
    offset = X + 2.0**23
    ours, theirs = both(offset, n_components=1, covariance_type=cov, **GIVEN | {"reg_covar": 0.0})
    there = offset - offset.mean(0)
    exact = there.T @ there / len(X)
    exact = {"tied": exact, "diag": np.diag(exact)[None], "spherical": np.diag(exact).mean()[None]}[cov]
    assert np.abs(ours.covariances_ / exact - 1).max() < 1e-8  # 2^23 * eps is 2e-9
    assert np.abs(theirs.covariances_ / exact - 1).max() > 1e-4
    if cov != "spherical":
        with pytest.raises(ValueError, match="ill-defined empirical covariance"):
            sklearn.mixture.GaussianMixture(1, covariance_type=cov, reg_covar=0.0).fit(X + 2.0**27)
    assert np.isfinite(GaussianMixture(1, covariance_type=cov, **GIVEN).fit(X + 2.0**27).lower_bound_)


def test_small_units_do_not_drown_in_the_ridge():
    small = 1e-6 * X
    ours = GaussianMixture(3, random_state=0).fit(small)
    theirs = sklearn.mixture.GaussianMixture(3, random_state=0).fit(small)
    usual = GaussianMixture(3, random_state=0).fit(X)
    np.testing.assert_allclose(1e12 * ours.covariances_, usual.covariances_, rtol=1e-4)
    assert theirs.covariances_[:, 0, 0].min() > 0.99e-6  # the ridge: variances are 1e-12


def test_one_failed_start_does_not_sink_the_others():
    # Of the five starts from this seed k-means gives two a group of the equal rows alone, of no variance.
    rows = np.vstack([X[:60], np.repeat(X[:1] + 2, 3, 0)])
    options = {"n_components": 4, "init_params": "kmeans"} | GIVEN | {"reg_covar": 0.0, "n_init": 5}
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        sklearn.mixture.GaussianMixture(**options).fit(rows)
    first = sklearn.mixture.GaussianMixture(**options | {"n_init": 1}).fit(rows)
    model = GaussianMixture(**options).fit(rows)
    assert model.status_ < jgmm.Status.DEGENERATE
    assert model.score(rows) >= first.score(rows) - 1e-9


def test_a_collapsed_component_does_not_win():
    # From the single rows of "random_from_data" some starts collapse on the pair of equal rows.
    rows = np.vstack([X[:40], X[:1]])
    options = {"n_components": 3, "n_init": 30, "init_params": "random_from_data", "random_state": 0}
    ours, theirs = both(rows, **options, **{"reg_covar": 1e-6, "tol": 1e-6, "max_iter": 500})
    assert theirs.lower_bound_ > ours.lower_bound_
    assert np.linalg.eigvalsh(theirs.covariances_).min() < 2e-6  # the ridge
    assert np.linalg.eigvalsh(ours.covariances_).min() > 1e-3


def test_the_lower_bound_is_that_of_the_mixture_returned():
    ours, theirs = both(X, n_components=3, init_params="random_from_data", **GIVEN)
    assert ours.lower_bound_ == pytest.approx(ours.score(X), abs=1e-12)
    assert theirs.score(X) - theirs.lower_bound_ > 1e-6
    assert ours.lower_bound_ == pytest.approx(theirs.score(X), abs=1e-10)


def test_a_tied_start_at_single_rows_is_their_covariance():
    ours, theirs = both(
        X, n_components=3, covariance_type="tied", init_params="random_from_data", **GIVEN | {"max_iter": 0}
    )
    np.testing.assert_allclose(ours.covariances_, 1e-6 * np.eye(2), atol=1e-9)
    assert np.trace(theirs.covariances_) > 10 * np.trace(np.cov(X.T))


def test_no_step_leaves_all_attributes():
    precisions = np.broadcast_to(np.eye(2), (3, 2, 2))
    options = GIVEN | {"max_iter": 0, "n_components": 3, "precisions_init": precisions}
    options |= {"means_init": X[:3], "weights_init": np.full(3, 1 / 3)}
    ours = GaussianMixture(**options).fit(X)
    np.testing.assert_allclose(ours.covariances_, precisions)
    with pytest.raises(AttributeError):
        sklearn.mixture.GaussianMixture(**options).fit(X)


def test_the_table_has_a_row_for_each():
    tests = [name for name in globals() if name.startswith("test_")]
    table = jgmm.sklearn.__doc__.split("\n====")[2]
    rows = [line for line in table.split("\n")[1:] if line[49:].strip()]
    assert len(rows) == len(tests) - 1
