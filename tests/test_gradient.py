"""The gradient fit reaches EM's optimum; its gradient is the derivative of the likelihood; failure is a status."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DATA, FAMILIES, close, raises, random_data, random_gmm
from jax.flatten_util import ravel_pytree
from sklearn.datasets import load_iris

import jgmm
from jgmm import GradientStop, LogProbStop, Status
from jgmm._base.sweep import WHOLE
from jgmm._gradient.ascent import _coordinates, _fit_gradient, _objective

TIGHT = LogProbStop(1e-9)
ADAM = optax.adam(0.05)


@functools.cache
def data(name):
    if name == "iris":
        return jnp.asarray(load_iris().data), 3
    if name == "20 features":
        return random_data(0, 500, 20, 3)[0], 3
    return jnp.asarray(np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1)), 2


@functools.cache
def kmeans(name, cov="full"):
    X, k = data(name)
    return jgmm.init.kmeans(jax.random.key(0), X, k, cov=cov)


@pytest.mark.parametrize("cov", FAMILIES)
def test_the_gradient_is_the_derivative_of_the_mean_log_likelihood(cov):
    X, _ = random_data(0, 40, 3, 2)
    weight = jnp.asarray(np.random.default_rng(0).uniform(0, 2, 40))
    params = random_gmm(0, 2, 3, cov)

    @jax.jit
    def gradients(params):
        build, to_vector = _coordinates(params, X, weight, (), WHOLE)
        evaluate, loss = _objective(type(params.cov), build, X, weight, WHOLE)
        vector = to_vector(params)
        expected = jax.grad(lambda v: -(weight @ jgmm.log_prob(build(v), X)) / weight.sum())(vector)
        return build(vector), (evaluate(vector)[1], jax.grad(loss)(vector)), expected

    same, found, expected = gradients(params)
    close(same, params, "float64")
    close(found, (expected, expected), "float64", loss=10)


@pytest.mark.parametrize("name", ["iris", "faithful", "20 features"])
def test_it_reaches_the_optimum_of_em(name):
    X, start = data(name)[0], kmeans(name)
    em = jgmm.em(start, X, stop=TIGHT, accelerate="anderson").check()
    result = jgmm.fit_gradient(start, X, stop=TIGHT).check()
    assert abs(result.mean_log_prob - em.mean_log_prob) < 1e-6
    close(result.mean_log_prob, jgmm.log_prob(result.params, X).mean(), "float64", loss=10)
    # a fixed point of EM, too
    close(jgmm.step(result.params, X).means, result.params.means, "float64", loss=1e9)


@pytest.mark.parametrize("cov", ["tied", "diag", "spherical"])
def test_it_reaches_the_optimum_of_em_in_every_family(cov):
    X, start = data("iris")[0], kmeans("iris", cov)
    em = jgmm.em(start, X, stop=TIGHT, accelerate="anderson")
    assert abs(jgmm.fit_gradient(start, X, stop=TIGHT).check().mean_log_prob - em.mean_log_prob) < 1e-6


def test_units_do_not_matter():
    """Features of scales 1e-3 and 1e3: the path is the same, up to rounding."""
    X, k = data("faithful")
    scale = jnp.array([[1e-3, 1e3]])
    fits = [jgmm.fit_gradient(jgmm.init.random_points(jax.random.key(3), Y, k, cov="diag"), Y) for Y in (X, X * scale)]
    assert fits[0].num_steps == fits[1].num_steps
    close(fits[1].params.means / scale, fits[0].params.means, "float64", loss=1e5)


def test_weights_of_rows_count_them():
    X, start = data("faithful")[0], kmeans("faithful")
    weight = np.random.default_rng(0).multinomial(len(X), np.full(len(X), 1 / len(X)))  # as many rows: one program
    repeated = jgmm.fit_gradient(start, jnp.repeat(X, weight, axis=0), stop=TIGHT)
    poisoned = X.at[jnp.argmin(weight)].set(jnp.nan)  # of weight zero: absent
    close(jgmm.fit_gradient(start, poisoned, weight, stop=TIGHT).params, repeated.params, "float64", loss=1e8)


def test_an_optimiser_that_falls_at_first_has_not_stalled():
    """Adam's first steps are as long as its rate, however near the optimum they begin."""
    X = data("faithful")[0]
    start = jgmm.em(kmeans("faithful", "diag"), X, stop=LogProbStop(1e-6)).check().params
    result = jgmm.fit_gradient(start, X, optimizer=ADAM, stop=LogProbStop(1e-8), max_steps=3000).check()
    assert abs(result.mean_log_prob - jgmm.log_prob(start, X).mean()) < 2e-6


def test_another_optimiser_arrives_too():
    X, start = data("faithful")[0], kmeans("faithful", "diag")
    best = jgmm.em(start, X, stop=TIGHT).mean_log_prob
    assert jgmm.fit_gradient(start, X, optimizer=ADAM, stop=LogProbStop(1e-6)).mean_log_prob > best - 1e-5


OPTIMISERS = {  # one that scales, one that needs the loss, one that searches by it
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.3, momentum=0.5, nesterov=True)),
    "polyak": optax.polyak_sgd(max_learning_rate=0.3, f_min=3.0),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10)),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_any_optimiser_climbs(name):
    X, k = data("faithful")
    start = jgmm.init.random_points(jax.random.key(3), X.astype("float32"), k, cov="diag")
    fits = [jgmm.fit_gradient(start, X.astype("float32"), optimizer=OPTIMISERS[name], max_steps=m) for m in (0, 30)]
    assert fits[1].mean_log_prob > fits[0].mean_log_prob + 0.3
    assert {leaf.dtype.name for leaf in jax.tree.leaves(fits[1].params)} == {"float32"}


def test_mini_batches_come_near():
    X, k = random_data(0, 2000, 2, 2, separation=4.0)[0], 2
    start = jgmm.init.kmeans(jax.random.key(0), X, k)
    best = jgmm.em(start, X).mean_log_prob
    options = {"batch_size": 64, "max_steps": 30, "key": jax.random.key(1)}
    result = jgmm.fit_gradient(start, X, optimizer=optax.adam(optax.exponential_decay(0.02, 200, 0.5)), **options)
    assert best - 1e-3 < result.mean_log_prob <= best + 1e-9
    close(result.mean_log_prob, jgmm.log_prob(result.params, X).mean(), "float64", loss=10)


def test_the_gradient_rule_bounds_the_gradient():
    """At a stop by tol, |g| in the information's metric is at most tol: measured by autodiff, not by EM's step."""
    X, k = data("faithful")
    start = kmeans("faithful", "diag")
    result = jgmm.fit_gradient(start, X, stop=GradientStop(1e-6)).check()
    params = result.params
    vector, unravel = ravel_pytree(jgmm.to_unconstrained(params))
    gradient = jax.jit(jax.grad(lambda v: jgmm.log_prob(jgmm.from_unconstrained("diag", unravel(v)), X).mean()))(vector)
    means = gradient[k - 1 : k - 1 + X.shape[1] * k].reshape(k, -1)
    length = jnp.sqrt((params.cov.var * means**2 / params.weights[:, None]).sum())  # the means' share of it
    assert 0 < length <= 1e-6
    plain = jgmm.em(start, X, stop=GradientStop(1e-6)).check()
    assert abs(plain.mean_log_prob - result.mean_log_prob) < 1e-10


def test_restarts_under_vmap_are_those_of_a_loop():
    X, k = data("faithful")
    starts = jax.vmap(lambda key: jgmm.init.random_points(key, X, k, cov="spherical"))(
        jax.random.split(jax.random.key(0), 3)
    )
    fits = jax.jit(jax.vmap(lambda start: jgmm.fit_gradient(start, X)))(starts)
    for i in range(3):
        alone = jgmm.fit_gradient(jax.tree.map(lambda leaf, i=i: leaf[i], starts), X)
        assert fits.num_steps[i] == alone.num_steps
        close(fits.mean_log_prob[i], alone.mean_log_prob, "float64", loss=100)


def test_new_numbers_never_recompile():
    X, start = data("faithful")[0], kmeans("faithful")
    jgmm.fit_gradient(start, X, max_steps=3)
    before = _fit_gradient._cache_size()
    jgmm.fit_gradient(start, X + 1, jnp.full(len(X), 2.0), stop=LogProbStop(1e-3), max_steps=5)
    assert _fit_gradient._cache_size() == before


def test_failure_is_a_status():
    X, start = data("faithful")[0], kmeans("faithful", "diag")
    assert jgmm.fit_gradient(start, X, max_steps=2).status == Status.MAX_STEPS
    far = jax.jit(lambda X: jgmm.fit_gradient(start, X, optimizer=optax.sgd(1e6)))
    wild = far(X)
    assert wild.status == Status.NON_FINITE
    assert jnp.isfinite(wild.mean_log_prob)
    close(wild.mean_log_prob, jgmm.log_prob(wild.params, X).mean(), "float64", loss=10)
    assert far(X.at[0, 0].set(jnp.nan)).status == Status.INVALID_DATA
    collapsed = jnp.zeros_like(X).at[:20].set(X[:20])
    assert not jgmm.fit_gradient(start, collapsed).converged


def test_bad_input_is_refused():
    X, start = data("faithful")[0], kmeans("faithful")
    empty = jgmm.GMM(jnp.array([1.0, 0.0]), start.means, start.cov)
    raises(ValueError, ["positive", "use em"], jgmm.fit_gradient, empty, X)
    raises(TypeError, ["optimizer", "optax", "'adam'"], jgmm.fit_gradient, start, X, optimizer="adam")
    raises(ValueError, ["batch_size", "key"], jgmm.fit_gradient, start, X, batch_size=10)
    raises(ValueError, ["272 rows", "300"], jgmm.fit_gradient, start, X, batch_size=300, key=jax.random.key(0))
