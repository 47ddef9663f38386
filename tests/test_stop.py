"""Stop rules: they mean what they say, in float32 too, and a fit never runs for ever."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_data, random_gmm

import jgmm
from jgmm import Status
from jgmm._em.stop import Watch

X64, _ = random_data(0, 400, 2, 2, separation=1.0)


def start(cov, dtype):
    return jgmm.init.kmeans(jax.random.key(0), X64.astype(dtype), 2, cov=cov)


@pytest.fixture(scope="module")
def optimum():
    exact = jgmm.ParamStop(1e-11)
    return {
        cov: float(jgmm.em(start(cov, "float64"), X64, stop=exact, max_steps=100_000).check().mean_log_prob)
        for cov in ("full", "diag")
    }


@pytest.mark.parametrize("cov", ["full", "diag"])
@pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-8])
def test_tol_bounds_what_is_left_to_gain(optimum, cov, dtype, tol):
    result = jgmm.em(start(cov, dtype), X64.astype(dtype), stop=jgmm.LogProbStop(tol), max_steps=20_000).check()
    params = result.params.astype("float64")
    # The sum of float32 weights is one only to 1e-7, and its logarithm is no part of the gain.
    params = dataclasses.replace(params, weights=params.weights / params.weights.sum())
    exact = float(jgmm.log_prob(params, X64).mean())
    assert optimum[cov] - exact <= 3 * tol


def test_a_smaller_tol_takes_more_steps():
    steps = [
        int(jgmm.em(start("full", "float64"), X64, stop=jgmm.LogProbStop(tol), max_steps=20_000).num_steps)
        for tol in (1e-2, 1e-5, 1e-8)
    ]
    assert steps[0] < steps[1] < steps[2]


def test_param_stop_bounds_the_change_of_every_parameter(cov, dtype):
    rtol, X = 1e-3, X64.astype(dtype)
    result = jgmm.em(start(cov, dtype), X, stop=jgmm.ParamStop(rtol), max_steps=20_000).check()
    after = jgmm.step(result.params, X)
    before, sd = result.params, np.sqrt(np.asarray(result.params.cov.variances(2, 2)))
    assert np.all(np.abs(after.weights - before.weights) <= rtol * np.asarray(before.weights))
    assert np.all(np.abs(after.means - before.means) <= rtol * sd)
    scale = sd[:, :, None] * sd[:, None, :]
    assert np.all(np.abs(after.covariances - before.covariances) <= rtol * scale * 1.001)


def test_param_stop_does_not_depend_on_units():
    unit = jgmm.em(start("full", "float64"), X64, stop=jgmm.ParamStop(1e-6))
    s = start("full", "float64")
    scaled = jgmm.GMM(s.weights, 1024 * s.means, jgmm.Full(1024.0**2 * s.cov.cov))
    assert int(jgmm.em(scaled, 1024 * X64, stop=jgmm.ParamStop(1e-6)).num_steps) == int(unit.num_steps)


@pytest.mark.parametrize("stop", [jgmm.LogProbStop(0.0), jgmm.ParamStop(0.0)], ids=["log_prob", "param"])
def test_a_bound_below_rounding_stalls_instead_of_running_for_ever(cov, dtype, stop):
    result = jgmm.em(start(cov, dtype), X64.astype(dtype), stop=stop, max_steps=100_000)
    # In rare luck the iteration hits a fixed point of the rounded map, where nothing is left to gain.
    assert Status(int(result.status)) in (Status.STALLED, Status.CONVERGED)
    assert int(result.num_steps) < 50_000


def test_a_tight_tol_in_float32_has_a_status_of_its_own():
    X, _ = random_data(1, 2000, 6, 4, "float32", separation=1.0)
    result = jgmm.em(random_gmm(2, 4, 6, "full", "float32"), X, stop=jgmm.LogProbStop(1e-16), max_steps=100_000)
    assert Status(int(result.status)) == Status.STALLED
    with pytest.raises(jgmm.FitError, match=r"rounding.*larger tolerance, or float64"):
        result.check()


def test_a_number_that_falls_slowly_has_not_stalled(dtype):
    steps = np.arange(2000)
    rng = np.random.default_rng(0)
    falling = 0.9999**steps
    leaps = falling * np.where(steps % 3, rng.uniform(1, 40, steps.size), 1)
    tossed, cycle = rng.uniform(1, 40, steps.size), 1.0 + steps % 7

    @jax.jit
    @jax.vmap
    def stalled(numbers):
        def update(watch, number):
            return watch.update(jnp.ones((), dtype), number)

        return jax.lax.scan(update, Watch.start(dtype), numbers)[1]

    seen = np.asarray(stalled(jnp.asarray([falling, leaps, tossed, cycle], dtype)))
    assert seen.any(1).tolist() == [False, False, True, True]
    assert seen[2:].argmax(1).max() < 500


def test_an_absolute_bound_is_in_the_units_of_the_parameters():
    loose = jgmm.em(start("full", "float64"), X64, stop=jgmm.ParamStop(0.0, atol=1e-3))
    tight = jgmm.em(start("full", "float64"), X64, stop=jgmm.ParamStop(0.0, atol=1e-6))
    assert 0 < int(loose.num_steps) < int(tight.num_steps)
    assert bool(loose.converged)
    assert bool(tight.converged)


def test_history_keeps_the_first_entries_that_fit():
    long = jgmm.em(start("full", "float64"), X64, history=500)
    short = jgmm.em(start("full", "float64"), X64, history=5)
    np.testing.assert_array_equal(short.history, long.history[:5])
    assert int(short.num_steps) == int(long.num_steps)
    np.testing.assert_allclose(long.history[int(long.num_steps)], long.mean_log_prob)
    assert jgmm.em(start("full", "float64"), X64).history is None


def test_several_bounds_go_through_vmap():
    first, tols = start("full", "float64"), np.array([1e-3, 1e-6])
    steps = jax.vmap(lambda tol: jgmm.em(first, X64, stop=jgmm.LogProbStop(tol)).num_steps)(tols)
    assert steps.tolist() == [int(jgmm.em(first, X64, stop=jgmm.LogProbStop(tol)).num_steps) for tol in tols]


@pytest.mark.parametrize("shape", [(300, 20), (100, 99)])
@pytest.mark.parametrize("seed", [0, 1])
def test_one_component_is_a_closed_form(shape, seed):
    """In float32, where rounding makes steps without end; 100 x 99 rows have directions that are the ridge's."""
    X = jax.random.normal(jax.random.key(seed), shape, "float32")
    result = jgmm.fit(jax.random.key(0), X, 1, num_init=4)
    assert int(result.num_steps) <= 2
    shaped = np.asarray(result.component_status) != jgmm.ComponentStatus.OK
    assert result.status == (jgmm.Status.DEGENERATE if shaped.any() else jgmm.Status.CONVERGED)
    assert shaped.any() <= (shape[0] < 2 * shape[1])
