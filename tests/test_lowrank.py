"""Laws of the families of factors and noise, on arrays where that will do: a fit costs its compilation."""

import functools
import itertools
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, known_moments, penalised, raises, tolerance
from jax.flatten_util import ravel_pytree
from sklearn.decomposition import PCA, FactorAnalysis

import jgmm

N, D, K = 200, 5, 2
RIDGE = np.array([0.1, 0.2, 0.3, 0.1, 0.2])
FAMILIES = {
    "two": jgmm.lowrank(2),
    "four": jgmm.lowrank(4),
    "two, spherical": jgmm.lowrank(2, "spherical"),
    "four, spherical": jgmm.lowrank(4, "spherical"),
}
COUNTS = {"two": 14, "four": 15, "two, spherical": 10, "four, spherical": 15}  # 15 are those of a matrix
NARROW = ["two", "two, spherical"]  # four factors hold any matrix, with some noise

each = pytest.mark.parametrize("name", FAMILIES)


@functools.cache
def mixture():
    """Of components with two factors each, one of them small, and noise of every feature."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(K, D, 2)) * np.array([1.5, 1.0])
    noise = jgmm.Diag(rng.uniform(0.5, 1.5, (K, D)))
    return jgmm.GMM(jnp.array([0.4, 0.6]), jnp.asarray(2 * rng.normal(size=(K, D))), jgmm.LowRank(loadings, noise))


def rows(dtype="float64"):
    return jgmm.sample(jax.random.key(0), mixture(), N)[0].astype(dtype)


@functools.cache
def stats(dtype="float64"):
    return jgmm.e_step(jgmm.to_full(mixture()).astype(dtype), rows(dtype))


@functools.cache
def fitted(name, dtype="float64"):
    return jgmm.m_step(stats(dtype), FAMILIES[name], ridge=RIDGE)


@functools.cache
def moments():
    """Weight and scatter of the components, with the ridge."""
    return known_moments(stats(), RIDGE)


@each
def test_the_m_step_is_a_maximum_among_members(name):
    cov = fitted(name).cov
    vector, build = ravel_pytree(cov)
    moments()

    @jax.jit
    def value(vector):
        return penalised(build(vector).dense(K, D), *moments())

    best, slope = jax.jit(jax.value_and_grad(value))(vector)
    assert np.abs(slope).max() < 1e-6 * N
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 0.1):
        near = jnp.stack([vector * jnp.exp(size * rng.normal(size=vector.shape)) for _ in range(5)])
        assert (jax.jit(jax.vmap(value))(near) <= best).all()


@each
def test_the_free_numbers_are_those_that_move_the_covariances(name):
    params = fitted(name)
    assert params.num_parameters == K - 1 + K * D + K * COUNTS[name]
    vector, build = ravel_pytree(params.cov)
    jacobian = jax.jit(jax.jacfwd(lambda vector: build(vector).dense(K, D).ravel()))(vector)
    assert np.linalg.matrix_rank(jacobian, rtol=1e-9) == K * COUNTS[name]


def test_more_factors_and_noises_fit_no_worse():
    for narrow, wide in [("two", "four"), ("two, spherical", "four, spherical"), ("two, spherical", "two")]:
        assert (
            penalised(fitted(narrow).covariances, *moments()) <= penalised(fitted(wide).covariances, *moments()) + 1e-9
        )


@pytest.mark.parametrize("name", ["four", "four, spherical"])
def test_one_factor_less_than_features_is_full(name, dtype):
    full = jgmm.m_step(stats(dtype), "full", ridge=RIDGE)
    close(fitted(name, dtype).covariances, full.covariances, dtype, loss=3)
    X = rows(dtype)
    close(jgmm.log_prob(fitted(name, dtype), X), jgmm.log_prob(full, X), dtype, loss=30)


def one_component(family, X):
    start = jgmm.GMM(jnp.ones(1), X.mean(0)[None], jgmm.Full(jnp.eye(X.shape[1])[None]))
    return jgmm.m_step(jgmm.e_step(start, X), family)


@pytest.mark.parametrize("num_factors", [1, 3])
def test_one_component_is_factor_analysis_and_principal_components(num_factors):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, num_factors)) @ rng.normal(size=(num_factors, 12))
    X = jnp.asarray(X + rng.normal(size=(300, 12)) * rng.uniform(0.3, 2, 12) + 3)
    theirs = FactorAnalysis(num_factors, tol=1e-10, max_iter=10_000, svd_method="lapack").fit(X).score(X)
    mine = jgmm.log_prob(one_component(jgmm.lowrank(num_factors), X), X).mean()
    assert abs(mine - theirs) < 1e-6
    mine = jgmm.log_prob(one_component(jgmm.lowrank(num_factors, "spherical"), X), X).sum()
    # Theirs divides by n - 1.
    covariance = PCA(num_factors, svd_solver="full").fit(X).get_covariance() * (1 - 1 / 300)
    theirs = jgmm.log_prob(jgmm.GMM(jnp.ones(1), X.mean(0)[None], jgmm.Full(jnp.asarray(covariance)[None])), X).sum()
    assert abs(mine - theirs) < 1e-6


def test_a_feature_that_is_a_factor_leaves_the_fit_sound(dtype):
    """A Heywood case: the noise of a feature ends at its bound, the root of rounding."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(N, 1))
    X = jnp.asarray(np.concatenate([z, z + rng.normal(size=(N, D - 1))], 1), dtype)
    params = one_component(jgmm.lowrank(1), X).check()
    share = params.cov.noise.var[0] / X.var(0)
    close(share[0], jnp.finfo(dtype).eps ** 0.5, dtype, loss=1e3)
    close(jnp.diagonal(params.covariances[0]), X.var(0), dtype, loss=1e5 if dtype == "float64" else 100)


@each
def test_the_likelihood_never_falls(name, dtype):
    X = rows(dtype)
    result = jgmm.em(fitted(name, dtype), X, history=60, max_steps=50, stop=jgmm.LogProbStop(0.0))
    history = np.asarray(result.history, np.float64)[: int(result.num_steps) + 1]
    assert len(history) > 5
    assert np.isfinite(history).all()
    assert np.diff(history).min() >= -tolerance(dtype) * np.abs(history).max()


@each
def test_an_absent_component_costs_no_other_a_digit(name):
    s = stats()
    padded = [jnp.concatenate([x, jnp.zeros_like(x[:1])]) for x in (s.center, s.weight, s.shift, s.scatter)]
    more = jgmm.m_step(jgmm.Stats(*padded, s.total, s.log_prob), FAMILIES[name], ridge=RIDGE)
    close(more.covariances[:K], fitted(name).covariances, "float64", loss=1e6)
    more.check()  # sound itself


@pytest.mark.parametrize("name", NARROW)
def test_the_derivative_of_an_m_step_is_that_of_its_differences(name):
    s = stats()
    cov, rng = fitted(name).cov, np.random.default_rng(0)
    change, weights = rng.normal(size=(2, K, D, D))
    change = jnp.asarray(change + np.swapaxes(change, 1, 2))

    def number(scatter):
        return (cov.update(scatter, s.weight, RIDGE).values(K, D) * weights).sum()

    scatter = s.recenter(s.mean).scatter
    forward = jax.jit(lambda scatter: jax.jvp(number, (scatter,), (change,))[1])(scatter)
    reverse = (jax.jit(jax.grad(number))(scatter) * change).sum()
    ends = [jax.jit(number)(scatter + step * change) for step in (1e-3, -1e-3)]
    close(forward, (ends[0] - ends[1]) / 2e-3, "float64", loss=1e7)
    close(reverse, forward, "float64", loss=1e4)


@pytest.mark.parametrize("name", NARROW)
def test_coordinates_lead_back_and_changes_are_projected(name):
    params = fitted(name)
    family = FAMILIES[name]
    back = jgmm.from_unconstrained(family, jgmm.to_unconstrained(params))
    close(back.covariances, params.covariances, "float64", loss=1e6)

    @jax.jit
    def project(key):
        def along(values):
            return params.cov.tangent(params.cov.from_tangent(values, params.weights, D), K, D)

        root = params.cov.factor()
        first, second = (
            root.absolute(jax.random.normal(key, (K, D, D)).reshape(K, -1), D) for key in jax.random.split(key)
        )
        inside, other = along(first), along(second)
        inner = params.weights[:, None] * root.relative(first - inside, D) * root.relative(other, D)
        return inside, along(inside), inner.sum(), jnp.abs(inner).sum()

    inside, again, inner, size = project(jax.random.key(0))
    close(again, inside, "float64", loss=1e3)
    assert abs(inner) < 1e-9 * size


@pytest.mark.parametrize("name", NARROW)
def test_an_m_step_turns_the_factors_towards_the_old_ones(name):
    """Whatever rotation they had: a leap, or a derivative, adds to the numbers."""
    cov, s = fitted(name).cov, stats()
    q = cov.num_factors
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(q, q)))[0]
    turned = jgmm.LowRank(cov.loadings @ turn, cov.noise)
    again = turned.update(s.recenter(s.mean).scatter, s.weight, RIDGE)
    close(again, turned, "float64", loss=1e6)


@each
def test_float32_finds_the_same(name):
    got = fitted(name, "float32")
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype("float32")}
    values = [
        float(penalised(np.asarray(fitted(name, dtype).covariances, float), *moments()))
        for dtype in ("float32", "float64")
    ]
    assert abs(values[0] - values[1]) < tolerance("float32") * abs(values[1])


@each
def test_numbers_next_to_a_member_are_one(name):
    """An accelerator's leap adds to the numbers: what comes of it has to be within the family."""
    params = fitted(name)
    vector, build = ravel_pytree(params.cov)
    moved = build(vector * (1 + 0.1 * np.random.default_rng(0).normal(size=vector.shape)))
    values = moved.values(K, D)
    again = type(moved).from_values(values, params.weights, D)
    close(again.values(K, D), values, "float64", loss=1e6)


STAYS = {  # under marginals, scales of each feature, one scale, equal noise
    "two": ("lowrank(2)", "lowrank(2)", "lowrank(2)", "lowrank(2)"),
    "two, spherical": ("lowrank(2, 'spherical')", "lowrank(2)", "lowrank(2, 'spherical')", "lowrank(2, 'spherical')"),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_leaves_the_family_is_of_one_that_holds_it(name):
    params = fitted(name)
    full, point = jgmm.to_full(params), jnp.array([0.5])
    scales = jnp.arange(1.0, 1 + D)
    A = jnp.asarray(np.random.default_rng(0).normal(size=(3, D)))
    operations = [
        lambda params: jgmm.marginal(params, [2, 0, 3]),
        lambda params: jgmm.affine(params, scales, 1.0),
        lambda params: jgmm.affine(params, 2.0, 1.0),
        lambda params: jgmm.convolve(params, 0.5),
        lambda params: jgmm.marginal(params, [2, 0]),
        lambda params: jgmm.affine(params, A, 1.0),
        lambda params: jgmm.condition(params, [1], point),
        lambda params: jgmm.convolve(params, scales),
    ]
    for operation, family in itertools.zip_longest(operations, STAYS[name]):
        result, wanted = operation(params), operation(full)
        assert family is None or type(result.cov).__name__ == family
        close(
            (result.weights, result.means, result.covariances),
            (wanted.weights, wanted.means, wanted.covariances),
            "float64",
            loss=10,
        )


def test_the_derivative_of_a_fit_is_that_of_its_differences():
    X = rows()
    start = jgmm.em(fitted("two, spherical"), X, stop=jgmm.LogProbStop(1e-15), accelerate="anderson").check().params

    def number(bend):
        result = jgmm.em(start, X * (1 + bend * X), stop=jgmm.LogProbStop(1e-18), max_steps=5000)
        return result.params.covariances[0, 0, 0] + result.params.means.sum()

    ends = [jax.jit(number)(bend) for bend in (1e-4, -1e-4)]
    close(jax.jit(jax.grad(number))(0.0), (ends[0] - ends[1]) / 2e-4, "float64", loss=1e7)


def test_a_fit_finds_the_factors():
    X = rows()
    options = {"cov": jgmm.lowrank(2), "num_init": 2, "race": ((2, 1),)}
    fit = jax.jit(jax.vmap(lambda X: jgmm.fit(jax.random.key(0), X, K, **options)))
    both = fit(jnp.stack([X, X + 1.0])).check()
    assert type(both.params.cov) is jgmm.lowrank(2)
    close(both.params.means[1] - 1, both.params.means[0], "float64", loss=1e9)


def test_the_same_call_gives_the_same_class_here_and_in_another_process(tmp_path):
    family = jgmm.lowrank(3, "spherical")
    assert family is jgmm.lowrank(np.int64(3), noise="spherical")
    assert repr(family) == "<class 'jgmm.lowrank(3, 'spherical')'>"
    cov = jgmm.LowRank(jnp.ones((2, 5, 3)), jgmm.Spherical(jnp.ones(2)))
    assert type(cov) is family
    jgmm.save(tmp_path / "cov.npz", cov)
    (tmp_path / "cov.pkl").write_bytes(pickle.dumps((cov, family)))
    code = """
import pickle, sys, jgmm
cov, family = pickle.load(open(sys.argv[1] + "/cov.pkl", "rb"))
loaded = jgmm.load(sys.argv[1] + "/cov.npz")
assert type(cov) is type(loaded) is family is jgmm.lowrank(3, "spherical")
print(loaded)
"""
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "lowrank(3, 'spherical')(loadings=float64[2,5,3], noise=Spherical(var=[1., 1.]))", (
        run.stderr
    )


def test_what_cannot_be_is_told():
    raises(ValueError, ["noise must be 'diag' or 'spherical', got 'full'"], jgmm.lowrank, 2, "full")
    raises(ValueError, ["num_factors must be at least 1, got 0"], jgmm.lowrank, 0)
    raises(TypeError, ["num_factors must be a Python integer"], jgmm.lowrank, 2.0)
    raises(ValueError, ["lowrank(5) needs more features than factors, got 5"], jgmm.m_step, stats(), jgmm.lowrank(5))
    raises(ValueError, ["jgmm.lowrank(q)", "LowRank"], jgmm.m_step, stats(), jgmm.LowRank)
    raises(
        TypeError, ["LowRank.loadings must be an array, got list"], jgmm.LowRank, [[1.0]], jgmm.Spherical(jnp.ones(1))
    )
    raises(TypeError, ["LowRank.noise must be a jgmm.Diag or jgmm.Spherical"], jgmm.LowRank, jnp.ones((1, 2, 1)), 1.0)
    params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 3)), jgmm.LowRank(jnp.ones((1, 2, 1)), jgmm.Diag(jnp.ones((1, 3)))))
    raises(ValueError, ["lowrank(1) covariances of 1 components in 3 features need shape (1, 3, 1)"], params.check)
