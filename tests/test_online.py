"""Online EM: laws of one step, and that a pass or two of it reach what full sweeps take many for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, N, case, close, raises, random_data

import jgmm


@pytest.mark.parametrize("family", [*FAMILIES, "VVE"])
def test_a_rate_of_one_is_a_step_of_em(family, dtype):
    _, params, X, w = case(cov=family, dtype=dtype)
    expected = jgmm.step(params, X, w, ridge=0.1)
    for before in (None, jgmm.e_step(params, X[:9])):
        new, stats = jgmm.online_step(params, before, X, 1.0, sample_weight=w, ridge=0.1)
        close(new, expected, dtype, loss=10)
        close(stats.total, np.ones(()), dtype)
    # Without statistics of before there is nothing to weigh the rows against.
    close(jgmm.online_step(params, None, X, 0.2, sample_weight=w, ridge=0.1)[0], expected, dtype, loss=10)


def test_the_statistics_are_the_weighted_means_of_old_and_new():
    _, params, X, w = case()
    old, new = jgmm.e_step(params, X[:9], w[:9]), jgmm.e_step(params, X[9:], w[9:])
    expected = 0.3 * (1 / new.total) * new + 0.7 * (1 / old.total) * old
    found, stats = jgmm.online_step(params, old, X[9:], 0.3, sample_weight=w[9:])
    close(stats, expected, "float64")
    close(found, jgmm.m_step(expected, params.cov), "float64", loss=10)
    # Whatever their total, they count per row.
    close(jgmm.online_step(params, 5.0 * old, X[9:], 0.3, sample_weight=w[9:])[1], expected, "float64")


def test_rates_of_one_over_t_weigh_all_batches_the_same():
    _, params, X, _ = case()
    stats = None
    for t in range(3):
        _, stats = jgmm.online_step(params, stats, X[7 * t : 7 * t + 7], 1 / (t + 1))
    whole = jgmm.e_step(params, X[:21])
    close(stats, (1 / whole.total) * whole, "float64", loss=10)


def test_the_same_batch_again_and_again_leads_to_the_fixed_point_of_em():
    _, params, X, _ = case()
    fixed = jgmm.em(params, X, max_steps=1000, stop=jgmm.LogProbStop(1e-14)).params
    stats = jgmm.e_step(fixed, X)
    new, after = jgmm.online_step(fixed, stats, X, 0.4)
    close(new, fixed, "float64", loss=1e6)
    close(after, (1 / stats.total) * stats.recenter(after.center), "float64", loss=1e6)


def test_a_scan_is_the_loop(dtype):
    _, params, X, _ = case(dtype=dtype)
    batches, rates = X[:21].reshape(3, 7, 2), jnp.asarray([0.9, 0.5, 0.3], dtype)
    loop = params, 0.0 * jgmm.e_step(params, X)
    for batch, rate in zip(batches, rates, strict=True):
        loop = jgmm.online_step(*loop, batch, rate, ridge=0.1)

    def step(carry, now):
        return jgmm.online_step(*carry, *now, ridge=0.1), None

    scan = jax.jit(lambda start: jax.lax.scan(step, start, (batches, rates))[0])
    close(scan((params, 0.0 * jgmm.e_step(params, X))), loop, dtype, loss=30)


def test_rows_without_weight_change_nothing():
    _, params, X, _ = case()
    old = jgmm.e_step(params, X)
    for before in (old, 0.0 * old):
        new, stats = jax.jit(jgmm.online_step)(params, before, X, 0.5, sample_weight=jnp.zeros(N))
        for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(params), strict=True):
            np.testing.assert_array_equal(a, b)
        scale = before.total if before.total > 0 else 1
        close(stats, (1 / scale) * before, "float64")


def test_what_is_frozen_stays():
    _, params, X, _ = case()
    new, _ = jgmm.online_step(params, jgmm.e_step(params, X), X, 0.5, frozen=("means", "weights"))
    np.testing.assert_array_equal(new.means, params.means)
    np.testing.assert_array_equal(new.weights, params.weights)
    assert not np.array_equal(new.cov.cov, params.cov.cov)


def test_a_drift_far_from_the_start_loses_no_digits():
    """The statistics move with the means, and do not stay about where they began."""
    _, params, X, _ = case(dtype="float32")
    X = np.asarray(X)
    carry = params, None
    for t in range(200):
        carry = jgmm.online_step(*carry, X + 500.0 * t, 0.9)
    spread = np.asarray(carry[0].cov.cov)
    assert (np.linalg.eigvalsh(spread) > 0).all()
    assert spread.max() < 1e6


def test_two_passes_reach_what_full_sweeps_take_many_for():
    n, size = 40_000, 200
    X, _ = random_data(5, n, 2, 3, "float64", separation=2.0)
    start = jgmm.init.kmeans_plusplus(jax.random.key(0), X[:2000], 3)
    best = jgmm.em(start, X, max_steps=2000)
    goal = float(best.mean_log_prob) - 1e-3
    history = np.asarray(jgmm.em(start, X, max_steps=200, history=201).history)
    sweeps = int(np.argmax(history >= goal))

    batches = X.reshape(n // size, size, 2)
    order = jnp.concatenate([jnp.arange(len(batches))] * 2)
    rates = jnp.arange(2.0, len(order) + 2) ** -0.6

    def step(carry, now):
        index, rate = now
        return jgmm.online_step(*carry, batches[index], rate, ridge=1e-3), None

    @jax.jit
    def run(start):
        return jax.lax.scan(step, (start, jgmm.e_step(start, batches[0])), (order, rates))[0][0]

    reached = float(jgmm.log_prob(run(start), X).mean())
    assert sweeps > 8, sweeps
    assert reached >= goal, (reached, goal)


@pytest.mark.parametrize(
    ("options", "error", "parts"),
    [
        ({"rate": 0.0}, ValueError, ["rate", "above 0"]),
        ({"rate": 1.5}, ValueError, ["at most 1"]),
        ({"rate": np.nan}, ValueError, ["rate"]),
        ({"rate": np.ones(2)}, ValueError, ["one number", "(2,)"]),
        ({"running_stats": 3}, TypeError, ["jgmm.Stats", "int"]),
        ({"running_stats": jgmm.e_step(case(cov="diag")[1], case()[2])}, ValueError, ["(3, 2, 2)", "(3, 2)"]),
        ({"ridge": -1.0}, ValueError, ["ridge"]),
        ({"params": jgmm.em(*case()[1:3], max_steps=1)}, TypeError, ["must be a jgmm.GMM", "Pass its .params"]),
        ({"X": np.ones((5, 3))}, ValueError, ["2 features of the parameters", "got 3"]),
        ({"frozen": "means"}, ValueError, ["frozen"]),
    ],
)
def test_a_bad_argument_is_refused(options, error, parts):
    _, params, X, _ = case()
    arguments = {"params": params, "running_stats": None, "X": X, "rate": 0.5} | options
    raises(error, parts, jgmm.online_step, **arguments)
