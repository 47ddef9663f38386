"""Rows and weights mean the same in any unit that the dtype can hold; what it cannot hold is an error that says so."""

import jax
import numpy as np
import pytest
from helpers import FAMILIES, close, raises, random_data

import jgmm

KEY = jax.random.key(0)
X = random_data(0, 60, 2, 2, separation=6.0)[0]
UNITS = {"float32": [2.0**-54, 2.0**58], "float64": [2.0**-450, 2.0**500]}  # of variances that it can just hold


def cases():
    return [pytest.param(np.dtype(name), unit, id=f"{name}-{unit:.0e}") for name in UNITS for unit in UNITS[name]]


def parts(params, unit=1.0):
    """Weights, means and covariances of data in a unit, as those of data in units of one, in the order of the means."""
    order = np.argsort(params.means[:, 0])
    leaves = (np.asarray(leaf, np.float64) for leaf in (params.weights, params.means, params.covariances))
    return [leaf[order] / unit**power for power, leaf in enumerate(leaves)]


@pytest.mark.parametrize(("dtype", "unit"), cases())
@pytest.mark.parametrize("cov", FAMILIES)
def test_a_fit_is_the_same_at_every_magnitude(dtype, unit, cov):
    here = X.astype(dtype)
    rows = here * dtype.type(unit)
    expected = jgmm.fit(KEY, here, 2, cov=cov, num_init=4, history=5).check()
    result = jgmm.fit(KEY, rows, 2, cov=cov, num_init=4, history=5).check()
    density = float(2 * np.log(unit))
    close(parts(result.params, unit), parts(expected.params), dtype, loss=1e4)
    close(result.mean_log_prob + density, expected.mean_log_prob, dtype, loss=100)
    close(result.history[0] + density, expected.history[0], dtype, loss=100)
    again, same = jgmm.em(result.params, rows, max_steps=3), jgmm.em(expected.params, here, max_steps=3)
    close(parts(again.params, unit), parts(same.params), dtype, loss=1e4)
    stepped = jgmm.step(result.params, rows, ridge=dtype.type(unit) * dtype.type(unit))
    close(parts(stepped, unit), parts(jgmm.step(expected.params, here, ridge=1.0)), dtype, loss=1e4)


@pytest.mark.parametrize(("dtype", "unit"), cases())
@pytest.mark.parametrize("cov", FAMILIES)
def test_what_is_asked_of_a_mixture_is_the_same_at_every_magnitude(dtype, unit, cov):
    here = X.astype(dtype)
    params = jgmm.init.kmeans(KEY, here, 2, cov=cov)
    rows, far = here * dtype.type(unit), jgmm._mixture.units.in_units(params, np.full(2, unit, dtype))
    density = float(2 * np.log(unit))
    close(jgmm.log_prob(far, rows) + density, jgmm.log_prob(params, here), dtype, loss=100)
    close(jgmm.responsibilities(far, rows), jgmm.responsibilities(params, here), dtype, loss=10)
    close(jgmm.sample(KEY, far, 5)[0] / unit, jgmm.sample(KEY, params, 5)[0], dtype)
    stats, expected = jgmm.e_step(far, rows), jgmm.e_step(params, here)
    close(stats.weight, expected.weight, dtype)
    close(np.asarray(stats.shift, np.float64) / unit, expected.shift, dtype, loss=100)
    back = jgmm.from_unconstrained(cov, jgmm.to_unconstrained(far))
    close(parts(back, unit), parts(params), dtype, loss=100)
    point = np.asarray(params.means[0, :1])
    given, same = jgmm.condition(far, [0], point * dtype.type(unit)), jgmm.condition(params, [0], point)
    close(given.weights, same.weights, dtype, loss=10)
    close(np.asarray(given.means, np.float64) / unit, same.means, dtype, loss=10)
    close(np.asarray(jgmm.moments(far)[0], np.float64) / unit, jgmm.moments(params)[0], dtype)


def test_a_charge_in_coulombs_is_fitted_in_float32():
    """Its variance, 2.6e-38, is the last that float32 holds; covariances of a hundredth of that are zero to it."""
    result = jgmm.fit(KEY, X.astype("float32") * np.float32(1.6e-19), 2, num_init=4).check()
    expected = parts(jgmm.fit(KEY, X.astype("float32"), 2, num_init=4).params)
    for a, b in zip(parts(result.params, 1.6e-19), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-2)


def test_each_feature_has_a_unit_of_its_own():
    units = np.array([1e-15, 1e16], "float32")
    expected = jgmm.fit(KEY, X.astype("float32"), 2, num_init=4).check()
    result = jgmm.fit(KEY, X.astype("float32") * units[None], 2, num_init=4).check()
    close(np.asarray(result.params.means) / units, expected.params.means, "float32", loss=30)
    close(np.asarray(result.params.cov.cov) / units / units[:, None], expected.params.cov.cov, "float32", loss=30)


@pytest.mark.parametrize(("dtype", "values", "parts"), [
    ("float32", [2e30, 1.9e30, 2.2e30], ["spread", "3e+29", "column 1", "more than float32 holds", "1e-29", "x64"]),
    ("float32", [1e-21, 3e-21, 2e-21], ["spread", "2e-21", "column 1", "less than float32 holds", "1e+21"]),
    ("float64", [1e200, -1e200, 0], ["spread", "2e+200", "column 1", "more than float64 holds", "1e-200"]),
    ("float64", [1e-200, -1e-200, 0], ["spread", "2e-200", "column 1", "less than float64 holds"]),
])  # fmt: skip
def test_a_variance_that_the_dtype_cannot_hold_is_an_error(dtype, values, parts):
    rows = np.stack([np.arange(3.0), values], 1).astype(dtype)
    raises(ValueError, parts, jgmm.fit, KEY, rows, 1)
    raises(ValueError, parts, jgmm.em, jgmm.GMM(np.ones(1), np.zeros((1, 2)), jgmm.Diag(np.ones((1, 2)))), rows)


def test_rows_of_weight_zero_may_be_of_any_magnitude():
    rows = np.concatenate([X, [[1e300, -1e300]]])
    weight = np.append(np.ones(60), 0)
    close(
        jgmm.fit(KEY, rows, 2, num_init=4, sample_weight=weight).params,
        jgmm.fit(KEY, X, 2, num_init=4).params,
        "float64",
    )


@pytest.mark.parametrize("unit", [1e-38, 1e-30, 1e30, 1e37])
def test_weights_mean_the_same_at_every_scale(unit):
    rows, weight = X.astype("float32"), np.random.default_rng(0).integers(1, 4, 60).astype("float32")
    expected = jgmm.fit(KEY, rows, 2, num_init=4, sample_weight=weight).check()
    result = jgmm.fit(KEY, rows, 2, num_init=4, sample_weight=weight * np.float32(unit)).check()
    close(result.params, expected.params, "float32", loss=100)
    close(result.mean_log_prob, expected.mean_log_prob, "float32", loss=10)
    weight = weight * np.float32(unit)
    close(jgmm.em(expected.params, rows, weight).check().params, expected.params, "float32", loss=100)
    close(jgmm.step(expected.params, rows, weight), expected.params, "float32", loss=1e4)
