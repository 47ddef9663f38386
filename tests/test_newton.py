"""Newton's method: from a rough fit to a gradient that rounding alone keeps from zero, in a few steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DATA

import jgmm
from jgmm import GradientStop, LogProbStop, Status
from jgmm._em.metric import Chart
from jgmm._em.stop import Step

NEWTON = jgmm.newton()


def minimise(function, x, steps):
    """The points of so many steps."""
    state, path = NEWTON.init(x), [x]
    step = jax.jit(
        lambda x, state: NEWTON.update(jax.grad(function)(x), state, x, value=function(x), value_fn=function)
    )
    for _ in range(steps):
        updates, state = step(path[-1], state)
        path.append(optax.apply_updates(path[-1], updates))
    return path


def test_a_quadratic_takes_one_step():
    root = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)))
    best = {"a": jnp.arange(2.0), "b": jnp.arange(3.0)}

    def function(x):
        return ((root @ jnp.concatenate([x["a"] - best["a"], x["b"] - best["b"]])) ** 2).sum()

    _, end = minimise(function, jax.tree.map(jnp.zeros_like, best), 1)
    for name in best:
        np.testing.assert_allclose(end[name], best[name], atol=1e-10)


def test_steps_lead_downhill_away_from_a_saddle():
    def function(x):  # a saddle at 0, minima at (0, -1) and (0, 1); Newton's own step from here leads into the saddle
        return x[0] ** 2 + x[1] ** 4 / 4 - x[1] ** 2 / 2

    path = minimise(function, jnp.array([1.0, 1e-3]), 20)
    assert np.diff([function(x) for x in path]).max() <= 1e-15
    np.testing.assert_allclose(path[-1], [0, 1], atol=1e-12)


def test_a_step_too_long_is_halved():
    def function(x):
        return jnp.sqrt(1 + x[0] ** 2)  # where Newton's own steps diverge from beyond 1

    path = minimise(function, jnp.array([3.0]), 8)
    assert np.diff([function(x) for x in path]).max() < 1e-15
    assert abs(path[-1][0]) < 1e-12


@pytest.mark.parametrize("name", ["faithful", "diabetes"])
def test_from_em_to_a_stated_bound_of_the_gradient(name):
    X = jnp.asarray(np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1))
    start = jgmm.init.kmeans(jax.random.key(0), X, 2)
    rough = jgmm.em(start, X, stop=LogProbStop(1e-4)).check()
    result = jgmm.fit_gradient(rough.params, X, optimizer=NEWTON, stop=GradientStop(1e-12)).check()
    assert result.num_steps <= 5
    assert result.mean_log_prob >= rough.mean_log_prob
    sigma = jnp.sqrt(jnp.diagonal(result.params.cov.cov, axis1=1, axis2=2))
    gradient = jax.jit(
        jax.grad(lambda means: jgmm.log_prob(jgmm.GMM(result.params.weights, means, result.params.cov), X).mean())
    )
    assert jnp.abs(sigma * gradient(result.params.means)).max() < 1e-11  # by autodiff, and not by EM's step
    # Each step squares what is left: of two successive lengths, the second is about the first's square.
    options = {"optimizer": NEWTON, "stop": GradientStop(0.0)}
    ends = [jgmm.fit_gradient(rough.params, X, max_steps=m, **options).params for m in range(4)]

    @jax.jit
    def length(p):
        factor, new = p.cov.factor(), jgmm.step(p, X)
        gain = Chart(p, factor).gain(jax.tree.map(jnp.subtract, new, p))
        return GradientStop().update((), Step(p, factor, new, gain))[2]

    lengths = [float(length(p)) for p in ends]
    assert lengths[2] < 10 * lengths[1] ** 2 + 1e-14
    assert lengths[3] < 10 * lengths[2] ** 2 + 1e-14


def test_frozen_parts_stay():
    X = jnp.asarray(np.loadtxt(DATA / "faithful.csv", delimiter=",", skiprows=1), "float32")
    start = jgmm.init.kmeans(jax.random.key(0), X, 2, cov="diag")
    options = {"frozen": ("means",), "stop": GradientStop(1e-5)}
    result = jgmm.fit_gradient(start, X, optimizer=NEWTON, **options)
    assert result.status == Status.CONVERGED
    np.testing.assert_array_equal(result.params.means, start.means)
