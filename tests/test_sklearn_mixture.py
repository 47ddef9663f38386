"""GaussianMixture for scikit-learn: the same numbers from the same starts, and what it adds."""

import inspect
import pickle
import re
import subprocess
import sys
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import sklearn.mixture
from helpers import FAMILIES, random_data
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from test_user_family import UnitVolume

import jgmm
from jgmm.sklearn import GaussianMixture

N, D, K = 200, 2, 3
X = np.asarray(random_data(0, N, D, K, separation=2.0)[0])
NAMED = ["kmeans", "k-means++", "random", "random_from_data"]
SOME = {"n_components": K, "random_state": 0}
# All that scikit-learn has defaults for: what is given means there and here the same.
GIVEN = {"tol": 1e-3, "reg_covar": 1e-6, "max_iter": 300, "n_init": 1}


@pytest.fixture(scope="module")
def fitted():
    return GaussianMixture(**SOME).fit(X)


def start(cov):
    """An explicit start, far from the end, as scikit-learn takes it."""
    rng = np.random.default_rng(1)
    root = rng.normal(size=(K, D, D)) + 2 * np.eye(D)
    dense = root @ root.transpose(0, 2, 1)
    precisions = {
        "full": dense,
        "tied": dense[0],
        "diag": np.diagonal(dense, axis1=1, axis2=2),
        "spherical": dense[:, 0, 0],
    }[cov]
    return {"weights_init": rng.dirichlet(np.full(K, 5.0)), "means_init": X[:K], "precisions_init": precisions}


def assert_same(ours, theirs, atol=1e-8):
    """All that both estimators say, of their parameters and of rows."""
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (type(a), a.shape, a.dtype) == (type(b), b.shape, b.dtype), name
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=0, atol=atol)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=atol)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    for method in ("score", "bic", "aic"):
        assert getattr(ours, method)(X) == pytest.approx(getattr(theirs, method)(X), abs=1e3 * atol)
        assert isinstance(getattr(ours, method)(X), float)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("cov", FAMILIES)
def test_every_iteration_from_the_same_start_is_scikit_learns(cov):
    given = {"covariance_type": cov, "n_components": K, "tol": 0.0, "reg_covar": 1e-6} | start(cov)
    bounds = []
    for steps in (1, 2, 3, 5, 10, 20, 40):
        ours = GaussianMixture(max_iter=steps, **given).fit(X)
        theirs = sklearn.mixture.GaussianMixture(max_iter=steps, **given).fit(X)
        assert_same(ours, theirs)
        bounds.append(ours.lower_bound_)
        # Theirs are of the mixtures before each M-step, ours of those after it.
        np.testing.assert_allclose(ours.lower_bounds_[:-1], theirs.lower_bounds_[1:], rtol=0, atol=1e-8)
    assert bounds[0] < bounds[1] < bounds[-1]  # the start was no end


# Tied, at single rows, scikit-learn's start is another: see test_sklearn_faults.
@pytest.mark.parametrize(
    ("cov", "name"),
    [(c, s) for c in FAMILIES for s in NAMED if c != "tied" or s in ("kmeans", "random")],
)
def test_named_starts_and_the_rule_are_scikit_learns(cov, name):
    given = SOME | GIVEN | {"covariance_type": cov, "init_params": name}
    ours, theirs = GaussianMixture(**given).fit(X), sklearn.mixture.GaussianMixture(**given).fit(X)
    assert_same(ours, theirs)
    np.testing.assert_allclose(ours.sample(9)[0], theirs.sample(9)[0], rtol=0, atol=1e-8)
    np.testing.assert_array_equal(ours.sample(9)[1], theirs.sample(9)[1])


@pytest.mark.parametrize("given", [("means_init",), ("weights_init",), ("means_init", "precisions_init")])
def test_what_is_given_replaces_that_part_of_a_named_start(given):
    options = SOME | GIVEN | {name: start("full")[name] for name in given}
    assert_same(GaussianMixture(**options).fit(X), sklearn.mixture.GaussianMixture(**options).fit(X))


def test_of_several_starts_the_best_is_scikit_learns_too():
    given = SOME | GIVEN | {"n_init": 4, "init_params": "random_from_data", "max_iter": 300}
    assert_same(GaussianMixture(**given).fit(X), sklearn.mixture.GaussianMixture(**given).fit(X))


def test_the_constructor_is_scikit_learns():
    ours, theirs = (inspect.signature(cls).parameters for cls in (GaussianMixture, sklearn.mixture.GaussianMixture))
    assert list(ours) == list(theirs)
    assert [p.kind for p in ours.values()] == [p.kind for p in theirs.values()]
    own = {name for name in ours if ours[name].default != theirs[name].default}
    assert own == {"tol", "reg_covar", "max_iter", "n_init", "init_params"}
    assert {ours[name].default for name in own} == {"auto"}


def test_attributes_and_methods_are_all_there(fitted):
    theirs = sklearn.mixture.GaussianMixture(**SOME).fit(pd.DataFrame(X, columns=["a", "b"]))
    ours = clone(fitted).fit(pd.DataFrame(X, columns=["a", "b"]))
    missing = {name for name in dir(theirs) if not name.startswith("_")} - set(dir(ours))
    assert not missing
    assert (ours.n_features_in_, ours.feature_names_in_.tolist()) == (2, ["a", "b"])


def test_left_to_itself_it_is_fit(fitted):
    assert fitted.converged_
    assert fitted.status_ == jgmm.Status.CONVERGED
    assert fitted.lower_bound_ == fitted.lower_bounds_[-1] == pytest.approx(fitted.score(X), abs=1e-12)
    assert len(fitted.lower_bounds_) == fitted.n_iter_
    best = max(
        sklearn.mixture.GaussianMixture(K, tol=1e-9, max_iter=5000, random_state=seed).fit(X).score(X)
        for seed in range(5)
    )
    assert fitted.lower_bound_ >= best - 1e-6


def test_the_same_seed_gives_the_same_fit_in_any_order_of_the_rows(fitted):
    shuffled = GaussianMixture(**SOME).fit(np.random.default_rng(0).permutation(X))
    np.testing.assert_array_equal(shuffled.means_, fitted.means_)
    rng = np.random.RandomState(3)
    assert GaussianMixture(K, random_state=rng).fit(X).means_.shape == (K, D)
    assert rng.randint(2**31 - 1) != np.random.RandomState(3).randint(2**31 - 1)  # it was drawn from


@pytest.mark.parametrize("cov", FAMILIES)
def test_an_integer_weight_is_the_row_so_many_times(cov):
    rng = np.random.default_rng(2)
    weight = rng.integers(0, 4, N)
    order = rng.permutation(N)
    options = SOME | {"covariance_type": cov}
    weighted = GaussianMixture(**options).fit(X[order], sample_weight=weight[order])
    repeated = GaussianMixture(**options).fit(np.repeat(X, weight, 0))
    assert_same(weighted, repeated, atol=1e-7)
    for method in ("score", "bic", "aic"):
        asked = getattr(weighted, method)(X, sample_weight=weight)
        assert asked == pytest.approx(getattr(repeated, method)(np.repeat(X, weight, 0)), rel=1e-12)


def test_an_integer_weight_is_the_row_so_many_times_from_an_explicit_start():
    weight = np.random.default_rng(2).integers(0, 4, N)
    options = GIVEN | {"n_components": K} | start("full")
    weighted = GaussianMixture(**options).fit(X, sample_weight=weight)
    assert_same(weighted, sklearn.mixture.GaussianMixture(**options).fit(np.repeat(X, weight, 0)), atol=1e-7)


def test_weights_that_are_none_are_refused():
    for bad, message in (
        (np.zeros(N), "zero"),
        (-np.ones(N), "egative"),
        (np.ones(3), "shape"),
        (np.nan * X[:, 0], "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(**SOME).fit(X, sample_weight=bad)


@pytest.mark.parametrize("given", [{}, GIVEN])
def test_float32_in_and_out(dtype, given):
    model = GaussianMixture(**SOME, **given).fit(X.astype(dtype))
    values = [getattr(model, name) for name in ("weights_", "means_", "covariances_", "precisions_")]
    values += [model.predict_proba(X.astype(dtype)), model.score_samples(X.astype(dtype))]
    assert {value.dtype for value in values} == {dtype}
    assert model.score_samples(X).dtype == np.float64  # the richer of the two


PROGRAM = """
import threading
import jax, jax.numpy as jnp, numpy as np
from jgmm.sklearn import GaussianMixture
assert not jax.config.jax_enable_x64
X = np.random.default_rng(0).normal(size=(60, 2)) + 1e8
model = GaussianMixture(2, n_init=1, tol=1e-3, random_state=0)
seen = []
def other():
    while not done.is_set():
        seen.append(jnp.ones(2).dtype.name + str(jax.config.jax_enable_x64))
done = threading.Event()
thread = threading.Thread(target=other)
thread.start()
model.fit(X)
done.set(); thread.join()
assert set(seen) == {"float32False"}, set(seen)
assert jnp.ones(2).dtype == "float32" and not jax.config.jax_enable_x64
print(model.means_.dtype, bool(np.abs(model.covariances_).max() < 3), model.predict(X).shape)
"""


def test_float64_is_computed_where_jax_is_left_at_float32():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=200)
    assert run.stdout.split("\n")[0] == "float64 True (60,)", run.stderr[-2000:]


def test_fits_in_threads_are_the_same_and_leave_them_as_they_are(fitted):
    found = {}

    def work(name):
        before = jax.config.jax_enable_x64
        found[name] = clone(fitted).fit(X).means_, jax.config.jax_enable_x64 == before

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 3
    for means, kept in found.values():
        assert kept
        np.testing.assert_array_equal(means, fitted.means_)


def test_a_warm_start_goes_on_where_the_last_fit_ended(recwarn):
    options = {"tol": 1e-6, "reg_covar": 1e-6, "n_init": 1, "init_params": "random_from_data"} | SOME
    whole = GaussianMixture(max_iter=300, **options).fit(X)
    parts = GaussianMixture(max_iter=1, warm_start=True, **options)
    steps = 0
    while not steps or not parts.converged_:
        parts.fit(X)
        steps += 1
    assert steps == whole.n_iter_ > 5
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=0, atol=1e-10)
    assert {str(warning.category.__name__) for warning in recwarn} == {"ConvergenceWarning"}
    with pytest.raises(ValueError, match="warm_start"):
        parts.set_params(n_components=2).fit(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_warm_start_ends_under_the_own_rule_too():
    model = GaussianMixture(warm_start=True, max_iter=4, **SOME)
    fits = 0
    while not fits or not model.converged_:
        model.fit(X)
        fits += 1
        assert fits < 1000
    assert model.score(X) == pytest.approx(GaussianMixture(**SOME).fit(X).score(X), abs=1e-6)


def test_verbose_prints_the_steps_while_they_run(capfd):
    options = GIVEN | SOME | {"tol": 1e-5, "init_params": "random_from_data"}
    model = GaussianMixture(verbose=1, verbose_interval=2, **options).fit(X)
    lines = capfd.readouterr().out.splitlines()
    steps = [int(line.split()[1]) for line in lines[1:-1]]
    assert lines[0] == "Initialization 0"
    assert lines[-1] == "Initialization converged."
    assert steps == list(range(2, model.n_iter_ + 1, 2))
    GaussianMixture(verbose=2, verbose_interval=5, **options).fit(X)
    lines = capfd.readouterr().out.splitlines()
    change = [
        float(re.fullmatch(r"  Iteration \d+\t time lapse [\d.]+s\t ll change ([\d.]+)", line)[1])
        for line in lines[1:-1]
    ]
    assert change == sorted(change, reverse=True)
    assert re.fullmatch(r"Initialization converged\. time lapse [\d.]+s\t lower bound -?[\d.]+\.", lines[-1])
    GaussianMixture(**options).fit(X)
    assert capfd.readouterr().out == ""


def test_verbose_tells_of_a_race(capfd, fitted):
    model = clone(fitted).set_params(verbose=1, verbose_interval=1).fit(X)
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "Race of 64 initializations"
    assert lines[-1] == "Initialization converged."
    assert 0 < len(lines) - 2 <= model.n_iter_
    np.testing.assert_array_equal(model.means_, fitted.means_)


def test_too_few_steps_are_a_warning():
    with pytest.warns(ConvergenceWarning, match="Best performing initialization did not converge"):
        model = GaussianMixture(max_iter=1, **SOME).fit(X)
    assert not model.converged_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert GaussianMixture(max_iter=0, **SOME).fit(X).n_iter_ == 0


def test_a_component_without_support_is_a_warning_that_names_it():
    far = np.vstack([X, np.full((5, D), 1e3)])
    with pytest.warns(ConvergenceWarning, match="DEGENERATE.*Component 1: collapsed"):
        model = GaussianMixture(2, means_init=[X.mean(0), [1e3, 1e3]], reg_covar=1e-6, tol=1e-6).fit(far)
    assert model.status_ == jgmm.Status.DEGENERATE


@pytest.mark.parametrize(
    "bad",
    [
        {"n_components": 0},
        {"covariance_type": "round"},
        {"tol": -1.0},
        {"tol": "fine"},
        {"reg_covar": -1.0},
        {"max_iter": 1.5},
        {"n_init": 0},
        {"init_params": "magic"},
        {"warm_start": "yes"},
        {"verbose_interval": 0},
    ],
    ids=str,
)
def test_a_bad_parameter_is_named(bad):
    [name] = bad
    with pytest.raises(ValueError, match=f"'{name}' parameter of GaussianMixture must be"):
        GaussianMixture(**bad).fit(X)


def test_no_fit_no_answer():
    with pytest.raises(NotFittedError):
        GaussianMixture().predict(X)


def test_a_ridge_for_each_feature():
    ridge = np.array([1e-3, 1.0])
    ours = GaussianMixture(1, reg_covar=ridge, tol=1e-3).fit(X)
    np.testing.assert_allclose(ours.covariances_[0], np.cov(X.T, bias=True) + np.diag(ridge), rtol=1e-12)


def test_a_family_of_ones_own():
    model = GaussianMixture(K, covariance_type=UnitVolume, random_state=0).fit(X)
    assert model.converged_
    assert model._n_parameters() == K - 1 + K * D + UnitVolume.num_parameters(K, D)
    assert model.score(X) == pytest.approx(model.lower_bound_, abs=1e-10)
    assert model.sample(5)[0].shape == (5, D)


def test_the_notebook_shows_it(fitted):
    page = fitted._repr_html_()
    assert "GaussianMixture" in page
    assert "n_components" in page
    assert repr(fitted) == "GaussianMixture(n_components=3, random_state=0)"


def test_the_attributes_are_the_readers_to_change(fitted):
    model = pickle.loads(pickle.dumps(fitted))
    model.means_ = model.means_ + 1
    np.testing.assert_allclose(model.score_samples(X + 1), fitted.score_samples(X), rtol=1e-9)


def test_a_jax_array_is_rows_too(fitted):
    np.testing.assert_array_equal(fitted.predict(jnp.asarray(X)), fitted.predict(X))
