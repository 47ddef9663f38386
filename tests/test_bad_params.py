"""Parameters that are no mixture: what is wrong with them, where, and what to do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, close, raises, random_data, random_gmm

import jgmm
from jgmm._mixture import gmm

N, D, K = 20, 2, 2
KEY = jax.random.key(0)
X = np.asarray(random_data(0, N, D, K)[0])
PARAMS = random_gmm(0, K, D, "full")


def changed(family="full", **fields):
    return dataclasses.replace(random_gmm(0, K, D, family), **fields)


def sheared(cov):
    return jax.tree.map(lambda c: c.at[..., 0, 1].add(0.5), cov)


FULL, TIED, DIAG, SPHERICAL = (random_gmm(0, K, D, family).cov for family in FAMILIES)
NOT_DEFINITE = ["covariances must be finite and positive definite", "ridge"]
ASYMMETRIC = ["covariances must be symmetric, got", "component(s) [0, 1]", "Symmetrise them with (cov + cov.mT) / 2"]
BAD_VALUES = {
    "weights of sum 2": (changed(weights=jnp.ones(2)), ["sum to one", "[1. 1.]", "sum 2", "Divide"]),
    "negative weight": (changed(weights=jnp.array([-0.5, 1.5])), ["nonnegative", "[-0.5  1.5]"]),
    "NaN weight": (changed(weights=jnp.array([np.nan, 1.0])), ["nonnegative", "sum nan"]),
    "NaN mean": (changed(means=PARAMS.means.at[1, 0].set(np.nan)), ["means must be finite", "[1]", "Replace"]),
    "asymmetric full": (changed(cov=sheared(FULL)), ASYMMETRIC),
    "asymmetric tied": (changed(cov=sheared(TIED)), ASYMMETRIC),
    "one singular": (changed(cov=jgmm.Full(FULL.cov.at[1].set(1.0))), [*NOT_DEFINITE, "component(s) [1]"]),
    **{
        f"{what} {family}": (changed(cov=jax.tree.map(change, random_gmm(0, K, D, family).cov)), NOT_DEFINITE)
        for what, change in {
            "negative": lambda c: -c,
            "zero": lambda c: 0 * c,
            "inf": lambda c: c / 0.0,
            "NaN": lambda c: c * np.nan,
        }.items()
        for family in FAMILIES
    },
}
BAD_SHAPES = {
    "weights (3,)": (changed(weights=jnp.ones(3) / 3), ["weights (k,) and means (k, d)", "(3,) and (2, 2)"]),
    "means (2,)": (changed(means=jnp.ones(2)), ["weights (k,) and means (k, d)", "(2,) and (2,)"]),
    "a batch": (jax.tree.map(lambda a: a[None], PARAMS), ["means (k, d)", "(1, 2) and (1, 2, 2)", "jax.vmap"]),
    **{
        f"{family} {shape}": (changed(cov=getattr(jgmm, family.title())(jnp.ones(shape))), parts)
        for family, wanted, shapes in [
            ("full", (2, 2, 2), [(2, 2), (2, 3, 3), (3, 2, 2), ()]),
            ("tied", (2, 2), [(2, 2, 2), (3, 3), (2,)]),
            ("diag", (2, 2), [(2,), (2, 3), (3, 2), (2, 2, 2)]),
            ("spherical", (2,), [(3,), (2, 2), (2, 1), ()]),
        ]
        for shape in shapes
        for parts in [["2 components in 2 features", f"need shape {wanted}", f"got {shape}"]]
    },
}
LEARN = {
    "check": lambda params: params.check(),
    "em": lambda params: jgmm.em(params, X),
    "e_step": lambda params: jgmm.e_step(params, X),
    "step": lambda params: jgmm.step(params, X),
}
ASK = {
    "log_prob": lambda params: jgmm.log_prob(params, X),
    "responsibilities": lambda params: jgmm.responsibilities(params, X),
    "predict": lambda params: jgmm.predict(params, X),
    "uncertainty": lambda params: jgmm.uncertainty(params, X),
    "align": lambda params: jgmm.align(params, random_gmm(0, K, D, "full")),
    "align, to them": lambda params: jgmm.align(random_gmm(0, K, D, "full"), params),
    "bic": lambda params: jgmm.bic(params, X),
    "aic": lambda params: jgmm.aic(params, X),
    "icl": lambda params: jgmm.icl(params, X),
    "sample": lambda params: jgmm.sample(KEY, params, 3),
}


@pytest.mark.parametrize("function", LEARN | ASK)
@pytest.mark.parametrize("bad", BAD_VALUES)
def test_parameters_that_are_no_mixture_are_refused(function, bad):
    params, parts = BAD_VALUES[bad]
    raises(ValueError, parts, (LEARN | ASK)[function], params)


def test_a_mixture_is_looked_at_once_and_one_that_can_change_each_time(monkeypatch):
    looks = []
    monkeypatch.setattr(gmm, "check_values", lambda *_: looks.append(1))
    params = random_gmm(1, K, D, "full")
    for _ in range(3):
        jgmm.log_prob(params, X)
        jgmm.sample(KEY, params, 2)
    assert len(looks) == 1
    in_numpy = jax.tree.map(np.asarray, params)
    jgmm.log_prob(in_numpy, X)
    jgmm.log_prob(in_numpy, X)
    assert len(looks) == 3


@pytest.mark.parametrize("function", LEARN | ASK)
@pytest.mark.parametrize("bad", BAD_SHAPES)
def test_shapes_that_do_not_belong_together_are_refused(function, bad):
    params, parts = BAD_SHAPES[bad]
    raises(ValueError, parts, (LEARN | ASK)[function], params)


@pytest.mark.parametrize("function", [name for name in LEARN | ASK if name != "check"])
@pytest.mark.parametrize("bad", ["a tuple", "an array for the covariance", "a class for the covariance"])
def test_parameters_of_another_type_are_refused(function, bad):
    cov = jgmm.Full if "class" in bad else FULL.cov
    params = (PARAMS.weights, PARAMS.means, FULL) if bad == "a tuple" else changed(cov=cov)
    raises(TypeError, ["GMM" if bad == "a tuple" else "Full, Tied"], (LEARN | ASK)[function], params)


NO_ARRAYS = {
    "list weights": (changed(weights=[0.5, 0.5]), "weights must be an array, got list"),
    "list means": (changed(means=[[0.0, 0.0], [1.0, 1.0]]), "means must be an array, got list"),
    "no means": (changed(means=None), "means must be an array, got NoneType"),
    "list full": (changed(cov=jgmm.Full(FULL.cov.tolist())), "Full.cov must be an array, got list"),
    "list tied": (changed(cov=jgmm.Tied(TIED.cov.tolist())), "Tied.cov must be an array, got list"),
    "list diag": (changed(cov=jgmm.Diag(DIAG.var.tolist())), "Diag.var must be an array, got list"),
    "float spherical": (changed(cov=jgmm.Spherical(1.0)), "Spherical.var must be an array, got float"),
}


@pytest.mark.parametrize("function", LEARN | ASK)
@pytest.mark.parametrize("bad", NO_ARRAYS)
def test_parameters_that_are_no_arrays_are_refused(function, bad):
    params, expected = NO_ARRAYS[bad]
    raises(TypeError, [expected, "Use jnp.array(...)"], (LEARN | ASK)[function], params)


@pytest.mark.parametrize("function", LEARN | ASK)
def test_integer_parameters_become_floats(function):
    whole = jgmm.GMM(np.array([1, 0]), np.array([[0, 0], [1, 1]]), jgmm.Diag(np.ones((K, D), int)))
    expected, actual = (LEARN | ASK)[function](whole.astype("float64")), (LEARN | ASK)[function](whole)
    close(actual, expected, "float64")
