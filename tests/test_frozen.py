"""Frozen parts come back bit for bit, and the rest is the optimum beside them, by EM and by gradients alike."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import FAMILIES, close, random_data, random_gmm
from jax.flatten_util import ravel_pytree

import jgmm
from jgmm import ComponentStatus, GradientStop, Status
from jgmm._em.stop import rounding
from jgmm._mixture.coordinates import free_coordinates

PARTS = ["weights", "means", "cov"]
CHOICES = [("means",), ("cov",), ("weights", "means"), ("weights",), ("means", "cov")]
OPTIONS = {"stop": GradientStop(1e-9), "max_steps": 3000}
METHODS = {
    "em": lambda start, X, frozen: jgmm.em(start, X, frozen=frozen, history=3001, **OPTIONS),
    "squarem": lambda start, X, frozen: jgmm.em(start, X, frozen=frozen, history=3001, accelerate="squarem", **OPTIONS),
    "anderson": lambda start, X, frozen: jgmm.em(
        start, X, frozen=frozen, history=3001, accelerate="anderson", **OPTIONS
    ),
    "lbfgs": lambda start, X, frozen: jgmm.fit_gradient(start, X, frozen=frozen, **OPTIONS),
    "adam": lambda start, X, frozen: jgmm.fit_gradient(
        start, X, frozen=frozen, optimizer=optax.adam(0.05), max_steps=100
    ),
}
TABLE = {
    "full": {"em": CHOICES[0], "squarem": CHOICES[1], "lbfgs": CHOICES[2]},
    "tied": {"em": CHOICES[1], "anderson": CHOICES[0], "lbfgs": CHOICES[3]},
    "diag": {"adam": CHOICES[4], "anderson": CHOICES[2], "lbfgs": CHOICES[0]},
    "spherical": {"em": CHOICES[2], "squarem": CHOICES[3], "lbfgs": CHOICES[1]},
}
CASES = [pytest.param(cov, *case, id=f"{cov}-{case[0]}") for cov in FAMILIES for case in TABLE[cov].items()]


def problem(cov):
    return random_gmm(1, 3, 2, cov), random_data(1, 300, 2, 3, separation=1.0)[0]


def assert_kept(params, start, frozen):
    for part in frozen:
        for a, b in zip(jax.tree.leaves(getattr(params, part)), jax.tree.leaves(getattr(start, part)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("cov", "method", "frozen"), CASES)
def test_the_optimum_beside_what_is_frozen(cov, method, frozen):
    start, X = problem(cov)
    result = METHODS[method](start, X, frozen)
    assert_kept(result.params, start, frozen)
    assert result.mean_log_prob > jgmm.log_prob(start, X).mean() + 1e-3
    if result.history is not None:
        path = np.asarray(result.history)
        assert np.diff(path[~np.isnan(path)]).min() >= -2 * float(rounding(result.mean_log_prob))
    if method == "adam":  # which goes most of the way
        return
    result.check()
    u = jgmm.to_unconstrained(result.params)
    gradient = jax.jit(jax.grad(lambda u: jgmm.log_prob(jgmm.from_unconstrained(cov, u), X).mean()))(u)
    steepest = {part: jnp.abs(leaf).max() for part, leaf in zip(PARTS, jax.tree.leaves(gradient), strict=True)}
    assert all((steepest[part] > 1e-4) if part in frozen else (steepest[part] < 1e-7) for part in PARTS), steepest


def test_covariances_are_taken_about_frozen_means(cov, dtype):
    X = random_data(0, 200, 3, 1, dtype)[0]
    start = random_gmm(0, 1, 3, cov, dtype)
    diff = np.asarray(X - start.means, np.float64)
    dense = diff.T @ diff / len(X)
    expected = {"full": dense[None], "tied": dense, "diag": np.diag(dense)[None], "spherical": dense.trace()[None] / 3}
    result = jgmm.em(start, X, frozen=["means"]).check()
    assert_kept(result.params, start, ["means"])
    close(result.params.cov, expected[cov], dtype)
    close(jgmm.step(start, X, frozen={"means"}), result.params, dtype)


def test_the_vector_holds_what_is_free(cov):
    start, _ = problem(cov)
    u = jgmm.to_unconstrained(start)
    sizes = dict(zip(PARTS, [leaf.size for leaf in jax.tree.leaves(u)], strict=True))
    for frozen in [(), *CHOICES]:

        @jax.jit
        def there_and_back(start, frozen=frozen):
            build, to_vector = free_coordinates(start, frozen)
            vector = to_vector(start, start.cov.factor())
            moved = build(vector + 1)
            again = to_vector(moved, moved.cov.factor())
            return vector, build(vector), moved, again, jax.jacfwd(build)(vector)

        vector, same, moved, again, tangent = there_and_back(start)
        assert vector.size == sum(size for part, size in sizes.items() if part not in frozen)
        close(same, start, "float64")
        close(again, vector + 1, "float64", loss=10)
        assert_kept(moved, start, frozen)
        assert all((jax.tree.leaves(getattr(tangent, part))[0] == 0).all() for part in frozen)


@pytest.mark.parametrize("run", [jgmm.em, jgmm.fit_gradient])
def test_a_frozen_covariance_may_be_ill_conditioned_and_takes_no_ridge(run):
    """A third feature whose variance is 1e-16 of the others', in a frozen covariance of condition 1e16."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(200, 2)), 1e-8 * rng.normal(size=(200, 1))], axis=1)
    X[:100, 0] += 4
    cov = jgmm.Diag(jnp.tile(jnp.array([1.0, 1.0, 1e-16]), (2, 1)))
    start = jgmm.GMM(jnp.array([0.3, 0.7]), jnp.array([[5.0, 0, 0], [-1.0, 0, 0]]), cov)
    options = {"ridge": 1.0, "accelerate": "anderson"} if run is jgmm.em else {}
    result = run(start, X, frozen=("cov",), **options).check()
    assert_kept(result.params, start, ["cov"])
    np.testing.assert_allclose(result.params.means[:, 0], [4, 0], atol=0.3)


def test_a_frozen_weight_outlives_its_rows():
    start = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[0.0], [1e3]]), jgmm.Spherical(jnp.ones(2)))
    X = jnp.linspace(-1, 1, 20)[:, None]
    for result in (jgmm.em(start, X, frozen=["weights"]), jgmm.fit_gradient(start, X, frozen=["weights"])):
        assert_kept(result.params, start, ["weights"])
        assert result.status == Status.DEGENERATE
        assert result.component_status.tolist() == [ComponentStatus.OK, ComponentStatus.EMPTY]
        assert jnp.isfinite(ravel_pytree(result.params)[0]).all()


@pytest.mark.parametrize("method", ["em", "anderson", "lbfgs"])
def test_one_component_of_known_place_and_shape_is_there_already(method):
    start, X = random_gmm(0, 1, 2, "diag"), random_data(0, 50, 2, 1)[0]
    result = METHODS[method](start, X, ("means", "cov")).check()
    close(result.params, start, "float64")


def test_new_frozen_values_do_not_retrace_and_map():
    start, X = problem("spherical")
    traces = []

    @jax.jit
    @jax.vmap
    def fit(means):
        traces.append(1)
        return jgmm.em(jgmm.GMM(start.weights, means, start.cov), X, frozen=("means",), max_steps=5).params

    means = jnp.stack([start.means, start.means + 1])
    np.testing.assert_array_equal(fit(means).means, means)
    np.testing.assert_array_equal(fit(means + 1).means, means + 1)
    assert len(traces) == 1


@pytest.mark.parametrize("frozen", [("means",), ("weights", "cov")])
def test_a_fit_differentiates_by_what_is_frozen(frozen):
    """Against finite differences, along a direction of the rows and of the start, of whose free parts nothing hangs."""
    X, _ = random_data(5, 40, 2, 2, separation=1.5)
    start = jgmm.em(jgmm.init.kmeans(jax.random.key(0), X, 2, cov="diag"), X, max_steps=20).params
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: jnp.asarray(0.1 * rng.normal(size=leaf.shape)), (start, X))
    move = dataclasses.replace(direction[0], weights=jnp.array([0.1, -0.1])), direction[1]

    def feature(start, X):
        result = jgmm.em(start, X, frozen=frozen, stop=jgmm.GradientStop(1e-12), max_steps=5000)
        vector = ravel_pytree(result.params)[0]
        return jnp.sin(jnp.arange(1.0, vector.size + 1)) @ vector + result.mean_log_prob

    slope = jax.jit(lambda *at: jax.jvp(feature, at, move)[1])(start, X)
    ahead, behind = (feature(*jax.tree.map(lambda a, b, h=h: a + h * b, (start, X), move)) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-5)
