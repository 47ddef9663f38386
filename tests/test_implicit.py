"""Derivatives of fits, by the implicit function theorem: finite differences and unrolled steps as oracles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, close, random_data, random_gmm
from jax.flatten_util import ravel_pytree

import jgmm
from jgmm import GradientStop, Status
from jgmm._base.sweep import Sweep
from jgmm._em.implicit import linearised
from jgmm._em.krylov import solve
from jgmm._em.metric import Chart
from jgmm._expectation.kernels import SMALL

N, D, K = 40, 2, 2
TIGHT = GradientStop(1e-12)
LIMIT = 5000
RIDGE = 0.3  # of the size of the variances, so that J is far from symmetric


@functools.cache
def case(cov="full"):
    """A start, and the settings (X, sample_weight, ridge) that a fit is differentiated by."""
    X = random_data(3, N, D, K, separation=2.0)[0]
    weight = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2, N))
    return jgmm.init.kmeans(jax.random.key(0), X, K, cov=cov), (X, weight, jnp.asarray(RIDGE))


def direction():
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.normal(size=(N, D))), jnp.asarray(rng.normal(size=N)), jnp.asarray(0.2)


def feature(params, mean_log_prob):
    """One number that hangs on every parameter."""
    vector = ravel_pytree(params)[0]
    return jnp.sin(jnp.arange(1.0, vector.size + 1)) @ vector + mean_log_prob


def loss(start, settings, max_steps=LIMIT):
    X, weight, ridge = settings
    result = jgmm.em(start, X, weight, ridge=ridge, stop=TIGHT, max_steps=max_steps)
    return feature(result.params, result.mean_log_prob)


def unrolled(start, settings, num_steps=600):
    X, weight, ridge = settings
    params = jax.lax.scan(lambda p, _: (jgmm.step(p, X, weight, ridge=ridge), None), start, length=num_steps)[0]
    return feature(params, jgmm.e_step(params, X, weight).log_prob / weight.sum())


_gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
_losses = jax.jit(jax.vmap(loss, (None, 0)))


def gradient(start, settings, max_steps=LIMIT):
    return _gradient(start, settings, max_steps)


def differences(start, settings, move):
    """The slope of the loss along a move of the settings, of size 1e-4."""
    low, high = _losses(start, jax.tree.map(lambda a, b: a[None] + 1e-4 * jnp.stack([-b, b]), settings, move))
    return (high - low) / 2e-4


def along(settings, size):
    return jax.tree.map(lambda a, b: a + size * b, settings, direction())


def slope(function, settings):
    return jax.jvp(function, (settings,), (direction(),))[1]


def dot(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("cov", FAMILIES)
def test_the_gradient_of_a_fit_is_that_of_finite_differences_and_of_unrolled_steps(cov):
    start, settings = case(cov)
    by_start, by_settings = gradient(start, settings)
    reverse = dot(by_settings, direction())
    np.testing.assert_allclose(reverse, differences(start, settings, direction()), rtol=1e-5)
    steps = jax.jit(lambda settings: slope(lambda s: unrolled(start, s), settings))(settings)
    np.testing.assert_allclose(reverse, steps, rtol=1e-8)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(by_start))


def test_every_setting_alone_is_that_of_finite_differences():
    start, settings = case()
    exact = gradient(start, settings)[1]
    for i in range(3):
        move = tuple(b if j == i else 0 * b for j, b in enumerate(direction()))
        np.testing.assert_allclose(dot(exact, move), differences(start, settings, move), rtol=1e-5)


def test_forward_equals_reverse():
    start, settings = case()
    forward = jax.jit(lambda settings: slope(lambda s: loss(start, s), settings))(settings)
    reverse = dot(gradient(start, settings)[1], direction())
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, equal_nan=False)


def test_under_vmap_each_fit_has_its_own_derivative():
    start, settings = case("spherical")
    batch = jax.tree.map(lambda a, b: jnp.stack([a, a + 0.1 * b]), settings, direction())
    mapped = jax.jit(jax.vmap(lambda s, most: jax.grad(loss, argnums=1)(start, s, most)))(batch, jnp.array([LIMIT, 2]))
    close(jax.tree.map(lambda leaf: leaf[0], mapped), gradient(start, settings)[1], "float64", loss=1e5)
    assert all(jnp.isnan(leaf[1]).all() for leaf in mapped)  # not converged, and the other is none the worse


def test_a_second_derivative_is_that_of_finite_differences():
    start, settings = case("spherical")

    def first(size):
        return slope(lambda s: loss(start, s), along(settings, size))

    second = jax.jit(jax.jacfwd(first))(0.0)
    ends = [dot(gradient(start, along(settings, size))[1], direction()) for size in (-1e-4, 1e-4)]
    np.testing.assert_allclose(second, (ends[1] - ends[0]) / 2e-4, rtol=1e-5)


def test_a_fit_that_has_not_converged_has_no_derivative():
    start, settings = case()
    for leaf in gradient(start, settings, 3)[1]:
        assert jnp.isnan(leaf).all()
    assert jnp.isfinite(loss(start, settings, 3))


def test_where_components_are_alike_there_is_no_derivative():
    """Their weights could be any: the fixed point is a line. What is asked for may well not depend on it."""
    _, settings = case()
    X, weight, _ = settings
    mean, cov = np.average(X, axis=0, weights=weight), np.cov(X.T, aweights=weight, ddof=0) + RIDGE * np.eye(D)
    start = jgmm.GMM(jnp.array([0.4, 0.6]), jnp.array([mean, mean]), jgmm.Full(jnp.array([cov, cov])))
    code = jgmm.em(start, X, weight, ridge=RIDGE, stop=TIGHT).component_status
    assert code.tolist() == [jgmm.ComponentStatus.OK, jgmm.ComponentStatus.REDUNDANT]
    for leaf in gradient(start, settings)[1]:
        assert jnp.isnan(leaf).all()
    plain = jgmm.em(start, X, weight, stop=TIGHT)
    told = jgmm.standard_errors(plain.params, X, weight)
    assert told.status == Status.NOT_ISOLATED
    assert jnp.isnan(ravel_pytree(told.errors)[0]).all()


def test_a_saddle_has_no_derivative():
    """Mirror-symmetric rows and means hold EM at the mirror; off it, it would leave."""
    corners = np.array([[1.8, 0.8], [1.8, -0.8], [-1.8, 0.8], [-1.8, -0.8]])
    noise = 0.3 * np.random.default_rng(0).normal(size=(40, 10))  # so many features that one variance is a small one
    X = jnp.asarray(noise + np.pad(np.tile(corners, (10, 1)), ((0, 0), (0, 8))))
    X = jnp.concatenate([X, X.at[:, 0].multiply(-1)])
    means = jnp.zeros((2, 10)).at[:, 1].set(jnp.array([1.0, -1]))
    params = jgmm.GMM(jnp.array([0.5, 0.5]), means, jgmm.Spherical(jnp.ones(2)))

    @jax.jit
    def held(params):
        new = jgmm.step(params, X)
        return jgmm.GMM(new.weights, new.means.at[:, 0].set(0), new.cov)

    for _ in range(200):
        params = held(params)
    told = jgmm.standard_errors(params, X)
    assert told.rate > 1.1
    assert told.status == Status.NOT_ISOLATED
    assert jnp.linalg.norm(params.means[0] - params.means[1]) > 0.5
    value, slopes = jax.jit(jax.value_and_grad(lambda X: jgmm.em(params, X).params.means[0, 1]))(X)
    close(value, params.means[0, 1], "float64", loss=1e3)
    assert jnp.isnan(slopes).all()


def test_new_numbers_never_retrace():
    start, settings = case()
    gradient(start, settings)
    before = _gradient._cache_size()
    gradient(start, along(settings, 0.01))
    gradient(jax.tree.map(lambda x: x + 0, start), settings)
    assert _gradient._cache_size() == before


def test_a_row_of_weight_zero_has_the_derivative_of_adding_it_and_a_lost_one_none():
    start, (X, weight, ridge) = case()
    exact = gradient(start, (X, weight.at[3].set(0), ridge))[1]
    h = 1e-5
    ahead = [loss(start, (X, weight.at[3].set(w), ridge)) for w in (0, h, 2 * h)]
    np.testing.assert_allclose(exact[1][3], (4 * ahead[1] - 3 * ahead[0] - ahead[2]) / (2 * h), rtol=1e-5)
    assert (exact[0][3] == 0).all()
    lost = gradient(start, (X.at[3].set(jnp.nan), weight.at[3].set(0), ridge))[1]
    assert (lost[0][3] == 0).all()
    assert lost[1][3] == 0
    keep = jnp.arange(N) != 3
    close([lost[0][keep], lost[1][keep], lost[2]], [exact[0][keep], exact[1][keep], exact[2]], "float64", loss=1e3)


def test_large_data_take_the_same_derivative_by_the_other_kernel():
    X = random_data(2, SMALL // (K * D) + 50, D, K)[0]
    params = jgmm.em(jgmm.init.kmeans(jax.random.key(0), X, K, cov="tied"), X, stop=TIGHT).params
    weight, ridge = jnp.ones(len(X)), jnp.zeros(D)

    def curvature(rows):
        return linearised(params, X[:rows], weight[:rows], ridge, Sweep(1024))[2]

    z = jax.random.normal(jax.random.key(1), (K + K * D + D * D,))
    z = Chart(params, params.cov.factor()).vector(Chart(params, params.cov.factor()).change(z))
    whole, transposed = jax.jit(lambda z: (curvature(len(X))(z), jax.linear_transpose(curvature(len(X)), z)(z)[0]))(z)
    padded = jax.jit(lambda z: curvature(SMALL // (K * D))(z))(z)  # all but 50 rows, by the whitened kernel
    assert jnp.linalg.norm(whole - padded) < 0.05 * jnp.linalg.norm(whole)
    close(transposed, whole, "float64", loss=1e8)  # symmetric, as far as EM comes to a maximum of the likelihood


@pytest.mark.parametrize("cov", FAMILIES)
def test_vectors_and_changes_are_inverse_and_as_long_as_the_information_says(cov):
    params = random_gmm(0, 3, 2, cov)

    @jax.jit
    def there_and_back(params, key):
        chart = Chart(params, params.cov.factor())
        change = chart.change(jax.random.normal(key, chart.vector(params).shape))
        return change, chart.change(chart.vector(change)), chart.vector(change)

    change, again, vector = there_and_back(params, jax.random.key(0))
    assert abs(change.weights.sum()) < 1e-14
    close(again, change, "float64")
    covs, density = np.asarray(params.covariances), np.asarray(change.cov.dense(3, 2))
    expected = (change.weights**2 / params.weights).sum()
    for pi, m, S, dS in zip(params.weights, np.asarray(change.means), covs, density, strict=True):
        relative = np.linalg.solve(S, dS)
        share = pi * (m @ np.linalg.solve(S, m) + np.trace(relative @ relative) / 2)
        expected += share
    np.testing.assert_allclose(dot(vector, vector), expected, rtol=1e-12)


def test_a_linear_system_is_solved_or_refused():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(50, 50)))[0]
    b = jnp.asarray(rng.normal(size=50))

    @jax.jit
    def solved(values, skew):
        A = (directions * values[None]) @ directions.T + skew * (jnp.eye(50, k=1) - jnp.eye(50, k=-1))
        x, transposed = jax.vjp(lambda b: solve(lambda x: A @ x, b), b)
        return jnp.linalg.norm(A @ x - b), jnp.linalg.norm(A.T @ transposed(b)[0] - b), jnp.isnan(x).all()

    values = jnp.geomspace(1e-3, 1, 50)
    for skew in (0.0, 0.3):
        assert max(solved(values, skew)[:2]) < 1e-8
    assert solved(values.at[0].set(0), 0.0)[2]
    assert solved(values.at[0].set(-0.1), 0.0)[2]


def test_memory_does_not_grow_with_the_steps():
    start, settings = case("spherical")

    def temporary(function, *more):
        return function.lower(start, settings, *more).compile().memory_analysis().temp_size_in_bytes

    by_em = temporary(_gradient, LIMIT)  # one program for every number of steps
    by_steps = temporary(jax.jit(jax.grad(unrolled, argnums=1)))
    assert by_em < by_steps / 10


def test_fit_and_the_gradient_fit_have_the_derivative_of_em():
    start, (X, weight, ridge) = case("spherical")

    def total(result):
        return feature(result.params, result.mean_log_prob)

    def by_gradient(weight):
        return total(jgmm.fit_gradient(start, X, weight, stop=GradientStop(1e-9)))

    def by_fit(weight):
        options = {"cov": "spherical", "num_init": 1, "race": (), "init": lambda *_, **__: start, "ridge": 0.0}
        return total(jgmm.fit(jax.random.key(0), X, K, sample_weight=weight, stop=TIGHT, **options))

    expected = gradient(start, (X, weight, 0 * ridge))[1][1]
    close(jax.jit(jax.grad(by_gradient))(weight), expected, "float64", loss=1e6)
    close(jax.jit(jax.grad(by_fit))(weight), expected, "float64", loss=1e5)
