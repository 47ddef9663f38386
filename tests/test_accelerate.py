"""Accelerated EM: the same optimum in a fraction of the sweeps, the likelihood never falling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, close, random_data, random_gmm
from jax.flatten_util import ravel_pytree
from jax.scipy.special import gammaln, logsumexp

import jgmm
from jgmm import Anderson, ParamStop, Squarem, Status
from jgmm._em.loop import _run_em
from jgmm._em.metric import Chart, information
from jgmm._em.stop import rounding
from jgmm._mixture.coordinates import from_unconstrained, to_unconstrained

ACCELERATORS = ["squarem", "anderson"]
EXACT = ParamStop(1e-9)


@pytest.fixture(params=ACCELERATORS)
def name(request):
    return request.param


# Coordinates


def family_of(cov):
    return type(random_gmm(0, 2, 2, cov).cov)


def test_coordinates_are_exact_inverses(cov, dtype):
    params = random_gmm(3, 3, 4, cov, dtype)
    u = jax.jit(to_unconstrained)(params)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(u))
    close(jax.jit(from_unconstrained, static_argnums=0)(family_of(cov), u), params, dtype)
    vector, unravel = ravel_pytree(u)
    assert vector.size == params.num_parameters
    anything = jnp.asarray(np.random.default_rng(4).normal(size=vector.size), dtype)
    there = jax.jit(from_unconstrained, static_argnums=0)(family_of(cov), unravel(anything))
    there.check()
    close(ravel_pytree(jax.jit(to_unconstrained)(there))[0], anything, dtype, loss=10)
    close(from_unconstrained(cov, u), params, dtype)
    with pytest.raises(ValueError, match=r"family must be one of .* got 'round'"):
        from_unconstrained("round", u)


def test_coordinates_compose_with_jax(cov):
    lanes = [random_gmm(seed, 3, 2, cov) for seed in (0, 1)]
    mapped = jax.jit(jax.vmap(to_unconstrained))(jax.tree.map(lambda *x: jnp.stack(x), *lanes))
    for i, params in enumerate(lanes):
        close(jax.tree.map(lambda x, i=i: x[i], mapped), jax.jit(to_unconstrained)(params), "float64")
    vector, unravel = ravel_pytree(to_unconstrained(lanes[0]))
    round_trip = jax.jacrev(lambda v: ravel_pytree(to_unconstrained(from_unconstrained(family_of(cov), unravel(v))))[0])
    close(jax.jit(round_trip)(vector), np.eye(vector.size), "float64", loss=10)


def test_the_inner_product_is_the_gain_of_a_small_step(cov):
    """Half the squared length of a change is the divergence of the complete-data model to second order."""
    params = random_gmm(1, 3, 2, cov)
    vector, unravel = ravel_pytree(to_unconstrained(params))

    def build(v):
        return from_unconstrained(family_of(cov), unravel(v))

    def divergence(v):  # of build(v) from params: labels, then each component from its own
        other, d = build(v), params.num_features
        inverse = jnp.linalg.inv(other.covariances)
        diff = other.means - params.means
        log_det = jnp.linalg.slogdet(other.covariances)[1] - jnp.linalg.slogdet(params.covariances)[1]
        traces = jnp.einsum("kij,kji->k", inverse, params.covariances) + jnp.einsum("ki,kij,kj->k", diff, inverse, diff)
        return params.weights @ (jnp.log(params.weights / other.weights) + (traces - d + log_det) / 2)

    move = jnp.asarray(np.random.default_rng(0).normal(size=vector.size))
    length = (information(build, vector, params.cov.factor())(move[None]) ** 2).sum()
    np.testing.assert_allclose(length, move @ jax.hessian(divergence)(vector) @ move, rtol=1e-9)
    change = jax.jvp(build, (vector,), (move,))[1]
    np.testing.assert_allclose(Chart(params, params.cov.factor()).gain(change), length / 2, rtol=1e-12)


# The map of Hasselblad (1966): a mixture of two Poisson distributions, deaths of women over 80 by day

COUNTS = jnp.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1])
DEATHS = jnp.arange(10.0)
HASSELBLAD = 1989.945859883


@jax.jit
def poisson_step(u):
    """The EM map in (logit of the first weight, log rates), and the log-likelihood of u."""
    log_weight = jax.nn.log_sigmoid(jnp.array([u[0], -u[0]]))
    joint = log_weight[:, None] + u[1:, None] * DEATHS[None] - jnp.exp(u[1:, None]) - gammaln(DEATHS + 1)[None]
    evidence = logsumexp(joint, axis=0)
    resp = jnp.exp(joint - evidence[None]) * COUNTS[None]
    weight = resp.sum(1)
    new = jnp.append(jnp.log(weight[:1] / weight[1:]), jnp.log(resp @ DEATHS / weight))
    return new, COUNTS @ evidence


def poisson_information(u):
    weight = jax.nn.softmax(jnp.append(u[:1], 0))
    scale = jnp.append(weight[:1] * weight[1:], weight * jnp.exp(u[1:]))
    return lambda vectors: vectors * jnp.sqrt(scale)[None]


def evaluations(accelerate, start, enough, most=200):
    """How many evaluations of the map it takes to a log-likelihood of ``enough``."""
    propose = jax.jit(lambda state, old, new, kept: accelerate.propose(state, old, new, poisson_information(old), kept))
    state, tried, leap, best = accelerate.init(start), start, False, -np.inf
    for count in range(1, most + 1):
        image, log_prob = poisson_step(tried)
        kept = not leap or log_prob >= best
        if kept:
            old, new, best = tried, image, log_prob
        if best >= enough:
            return count
        state, proposal = propose(state, old, new, jnp.asarray(kept))
        tried, leap = proposal.vector, bool(proposal.leap)
    return most + 1


def test_the_poisson_mixture_of_hasselblad():
    start = jnp.array([0.0, 0.0, jnp.log(3.0)])
    u = jax.lax.fori_loop(0, 1500, lambda _, u: poisson_step(u)[0], start)
    np.testing.assert_allclose(poisson_step(u)[1], -1989.945860141, rtol=0, atol=2e-9)
    assert evaluations(Squarem(), start, -HASSELBLAD - 1e-8) <= 70  # published: 45
    assert evaluations(Anderson(), start, -HASSELBLAD - 1e-8) <= 20


# Slow mixtures


def apart(centers, covs, seed, n=2000):
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(centers), size=n)
    roots = np.linalg.cholesky(np.asarray(covs, float))
    return jnp.asarray(
        np.asarray(centers)[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(n, len(centers[0]))))
    )


SLOW = {
    "1d": lambda: (apart([[0.0], [1.5]], [[[1.0]], [[0.5]]], 1), 2, "full"),
    "2d": lambda: (
        apart([[0, 0], [1, 1], [1.5, -0.5]], [np.eye(2), [[1, 0.6], [0.6, 0.8]], [[0.5, -0.3], [-0.3, 1]]], 2),
        3,
        "full",
    ),
    "5d": lambda: (apart(np.eye(5)[:4], [np.eye(5)] * 4, 4), 4, "spherical"),
}


@functools.cache
def slow_start(which):
    X, k, cov = SLOW[which]()
    return jgmm.init.kmeans(jax.random.key(0), X, k, cov=cov), X


@functools.cache
def slow(which):
    """Start, rows, mean log-likelihood of the optimum and after each sweep of plain EM."""
    start, X = slow_start(which)
    path = np.asarray(jgmm.em(start, X, stop=ParamStop(1e-8), max_steps=9999, history=10_000).history)
    best = float(leaping(which, "anderson").mean_log_prob.max())
    assert abs(np.nanmax(path) - best) < 1e-10  # one optimum for all
    return start, X, max(np.nanmax(path), best), path


@functools.cache
def leaping(which, name):
    """16 fits to where nothing moves, their starts a thousandth apart: each is rounded in another way."""
    start, X = slow_start(which)
    noise = np.random.default_rng(0).normal(size=(16, *start.means.shape))

    @jax.jit
    @jax.vmap
    def fit(means):
        moved = jgmm.GMM(start.weights, means, start.cov)
        return jgmm.em(moved, X, stop=EXACT, max_steps=9999, history=3000, accelerate=name)

    return fit(start.means[None] * (1 + 1e-3 * noise))


def sweeps(path, optimum):
    """Sweeps until the optimum is 1e-9 away."""
    return int(np.flatnonzero(np.asarray(path) >= optimum - 1e-9)[0])


@pytest.mark.parametrize("which", SLOW)
def test_a_fifth_of_the_sweeps_at_most(which, name):
    *_, optimum, path = slow(which)
    results = leaping(which, name)
    assert sweeps(path, optimum) > 400
    assert np.median([sweeps(leaps, optimum) for leaps in results.history]) <= sweeps(path, optimum) / 5


@pytest.mark.parametrize("which", SLOW)
def test_slow_fits_arrive_however_they_are_rounded(which, name):
    results = leaping(which, name)
    assert np.all(results.status == Status.CONVERGED), results.status
    assert np.ptp(results.mean_log_prob) < 1e-13
    np.testing.assert_array_equal((~np.isnan(results.history)).sum(1), results.num_steps + 1)


@pytest.mark.parametrize(("which", "dtype"), [*((which, "float64") for which in SLOW), ("2d", "float32")])
def test_tol_bounds_what_is_left_to_gain(which, name, dtype):
    start, X, optimum, path = slow(which)
    result = jgmm.em(start.astype(dtype), X.astype(dtype), max_steps=9999, accelerate=name).check()
    exact = float(jgmm.log_prob(result.params.astype("float64"), X).mean())
    assert optimum - exact <= (3e-8 if dtype == "float64" else 2e-7)  # rounded rows have an optimum of their own
    assert int(result.num_steps) <= sweeps(path, optimum) / 4


# Laws


def overlapping(cov, dtype="float64", seed=0):
    X, _ = random_data(seed, 300, 2, 3, dtype, separation=1.0)
    return random_gmm(seed, 3, 2, cov, dtype), X


def fit(start, X, max_steps, name, stop=EXACT):
    """With the options that make one program of many tests."""
    return jgmm.em(start, X, stop=stop, max_steps=max_steps, history=301, accelerate=name)


def test_the_likelihood_never_falls(cov, dtype, name):
    start, X = overlapping(cov, dtype, seed=1)
    result = fit(start, X, 300, name)
    path = np.asarray(result.history, np.float64)
    path = path[~np.isnan(path)]
    # a leap may lose what is taken for rounding, and a step of EM as much by rounding itself
    assert np.diff(path).min() >= -2 * float(rounding(result.mean_log_prob))
    assert path[-1] == float(result.mean_log_prob)
    close(jgmm.e_step(result.params, X).log_prob, result.stats.log_prob, dtype, loss=10)


def test_the_end_is_a_fixed_point_of_em(cov, name):
    start, X = overlapping(cov)
    result = fit(start, X, 5000, name).check()
    np.testing.assert_allclose(ravel_pytree(jgmm.step(result.params, X))[0], ravel_pytree(result.params)[0], atol=1e-7)
    plain = fit(start, X, 20_000, None, ParamStop(1e-7)).check()
    assert float(result.mean_log_prob) >= float(plain.mean_log_prob) - 1e-3  # of a comparable optimum


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 1.0])
def test_a_ridge_does_not_stop_the_leaps(ridge, name):
    start, X = overlapping("full")
    options = {"ridge": ridge, "stop": ParamStop(1e-8), "max_steps": 20_000, "history": 301}
    plain = jgmm.em(start, X, **options)
    result = jgmm.em(start, X, accelerate=name, **options)
    # Under the largest ridge the best place for two components is the same: the leaps get there to the last digit.
    assert {int(fit.status) for fit in (plain, result)} <= {jgmm.Status.CONVERGED, jgmm.Status.DEGENERATE}
    assert int(result.num_steps) < int(plain.num_steps) / 2


@pytest.mark.parametrize(("cov", "name"), [*((cov, "anderson") for cov in FAMILIES), ("full", "squarem")])
def test_one_component_takes_two_steps(cov, name):
    X, _ = random_data(0, 50, 2, 1)
    result = jgmm.em(random_gmm(0, 1, 2, cov), X, accelerate=name).check()
    assert int(result.num_steps) <= 3
    np.testing.assert_allclose(result.params.means[0], X.mean(0), rtol=1e-10)


def transformed(start, mixing):
    return jgmm.GMM(start.weights, start.means @ mixing.T, jgmm.Full(mixing @ start.cov.cov @ mixing.T))


def test_units_do_not_matter(name):
    start, X = overlapping("full")
    units = jnp.diag(jnp.array([1024.0, 1 / 64]))
    path = fit(start, X, 20, name).history[:21]
    other = fit(transformed(start, units), X @ units.T, 20, name).history[:21]
    np.testing.assert_allclose(other + jnp.log(16.0), path, rtol=0, atol=1e-9)


def test_correlated_features_cost_no_sweeps(name):
    start, X = overlapping("full")
    mixing = jnp.array([[1.0, 0], [100.0, 1.0]])
    steps = jgmm.em(start, X, accelerate=name).check().num_steps
    other = jgmm.em(transformed(start, mixing), X @ mixing.T, accelerate=name).check().num_steps
    assert int(other) <= 1.5 * int(steps)


# JAX


@pytest.mark.parametrize("cov", ["full", "spherical"])
def test_vmap_equals_a_loop(cov, name):
    X = overlapping(cov)[1]
    lanes = [overlapping(cov, seed=seed)[0] for seed in range(3)]
    fit = functools.partial(jgmm.em, X=X, stop=jgmm.LogProbStop(1e-5), max_steps=25, accelerate=name)
    mapped = jax.jit(jax.vmap(lambda params: fit(params)))(jax.tree.map(lambda *x: jnp.stack(x), *lanes))
    for i, params in enumerate(lanes):
        alone = fit(params)
        assert int(mapped.num_steps[i]) == int(alone.num_steps)
        close(jax.tree.map(lambda x, i=i: x[i], mapped.params), alone.params, "float64", loss=1e6)


def test_new_numbers_do_not_retrace(name):
    start, X = overlapping("diag")
    kind = {"squarem": Squarem, "anderson": Anderson}[name]
    fit(start, X, 3, kind(2.0))
    before = _run_em._cache_size()
    fit(start, X, 3, kind(3, 2.0))
    fit(start, X, 3, name)
    assert _run_em._cache_size() == before


def test_single_precision_data_make_no_double_precision_array(name):
    start, X = overlapping("full", "float32")
    program = str(jax.make_jaxpr(lambda params, X: fit(params, X, 3, name))(start, X))
    assert "f64[3" not in program
    assert "f64[5" not in program
    for leaf in jax.tree.leaves(fit(start, X, 3, name)):
        assert leaf.dtype in (jnp.float32, jnp.int32)


# Bad days


def test_what_the_data_do_not_support_ends_in_a_status(cov, dtype, name):
    X = jnp.asarray(np.repeat([[0.0, 1.0], [3.0, 1.0]], 150, axis=0), dtype)  # two points, a constant feature
    result = fit(random_gmm(0, 3, 2, cov, dtype), X, 200, name)
    assert Status(int(result.status)) in (Status.DEGENERATE, Status.MAX_STEPS, Status.STALLED)
    for leaf in jax.tree.leaves(result.params):
        assert np.isfinite(leaf).all()


def padded(params, k):
    """The mixture with room for k components: the first again, of weight zero."""
    more = np.concatenate([np.arange(params.num_components), np.zeros(k - params.num_components, int)])
    weights = jnp.zeros(k).at[: params.num_components].set(params.weights)
    cov = params.cov if isinstance(params.cov, jgmm.Tied) else jax.tree.map(lambda x: x[more], params.cov)
    return jgmm.GMM(weights, params.means[more], cov)


def test_components_of_weight_zero_are_absent(cov, name):
    """They stay so, are no failure, and the others are fitted as without them: different numbers side by side."""
    start, X = overlapping(cov)
    rows = (lambda x: x) if cov == "tied" else (lambda x: x[:2])
    two = jgmm.GMM(jnp.array([0.5, 0.5]), start.means[:2], jax.tree.map(rows, start.cov))
    starts = jax.tree.map(lambda *x: jnp.stack(x), padded(two, 8), padded(start, 8))
    for accelerate in (None, name):
        run = functools.partial(jgmm.em, X=X, max_steps=60, accelerate=accelerate)
        batch = jax.vmap(run)(starts)
        for lane, params in enumerate((two, start)):
            k, alone, found = len(params.weights), run(params), jax.tree.map(lambda x, i=lane: x[i], batch)
            assert int(found.status) == int(alone.status)
            assert int(found.num_steps) == int(alone.num_steps)
            assert found.component_status.tolist() == [*alone.component_status.tolist(), *[0] * (8 - k)]
            assert found.params.weights[k:].tolist() == [0] * (8 - k)
            np.testing.assert_array_equal(found.params.means[k:], starts.means[lane, k:])
            close(found.mean_log_prob, alone.mean_log_prob, "float64", loss=10)
            close(found.params.means[:k], alone.params.means, "float64", loss=1e4)
            assert found.params.num_parameters == alone.params.num_parameters


def test_what_is_absent_has_a_gradient_of_zero():
    start, X = overlapping("full")
    roomy = padded(start, 5)

    def fitted(roomy, X):  # by the rows, and by all that the density knows
        return jgmm.em(roomy, X, max_steps=200).mean_log_prob + jgmm.log_prob(roomy, X).mean()

    by_params, by_X = jax.jit(jax.grad(fitted, (0, 1)))(roomy, X)
    alone = jax.jit(jax.grad(fitted, 1))(start, X)
    close(by_X, alone, "float64", loss=1e4)
    assert np.isfinite(by_params.weights).all()
    for part in (by_params.means, by_params.cov.cov):
        assert np.isfinite(part).all()
        assert (part[start.num_components :] == 0).all()


@pytest.mark.parametrize("bad", ["newton", Squarem, 3])
def test_what_is_no_accelerator_is_refused(bad):
    start, X = overlapping("diag")
    with pytest.raises(TypeError, match=r"None, 'squarem', 'anderson' or an accelerator"):
        jgmm.em(start, X, accelerate=bad)


def test_numbers_below_one_are_refused(name):
    start, X = overlapping("diag")
    kind = {"squarem": Squarem, "anderson": Anderson}[name]
    for values in ((0.5,), (2.0, 0.0), (np.nan,)):
        with pytest.raises(ValueError, match="numbers of an accelerator must be at least 1"):
            jgmm.em(start, X, accelerate=kind(*values))
    with pytest.raises(ValueError, match="memory must be at least 1"):
        jgmm.em(start, X, accelerate=Anderson(memory=0))
