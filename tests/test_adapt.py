"""MAP adaptation: its laws, and the paper's equations written out."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, raises, random_data, random_gmm

import jgmm
from jgmm._em.adapt import _adapt
from jgmm._expectation.stats import collect

N, D, K = 60, 3, 3


@functools.cache
def case(cov="diag", dtype="float64"):
    """A background, and the statistics of rows that it was not fitted to."""
    params = random_gmm(0, K, D, cov, dtype)
    return params, jgmm.e_step(params, random_data(1, N, D, K, dtype)[0])


def reynolds(params, X, relevance):
    """Reynolds, Quatieri & Dunn (2000), eqs. 7 to 14, row by row and component by component."""
    resp, X = np.asarray(jgmm.responsibilities(params, X)), np.asarray(X)
    weights, means, variances = [], [], []
    for k in range(K):
        w, mu, var = (np.asarray(value)[k] for value in (params.weights, params.means, params.cov.var))
        n = resp[:, k].sum()
        first = sum(r * x for r, x in zip(resp[:, k], X, strict=True)) / n
        second = sum(r * x**2 for r, x in zip(resp[:, k], X, strict=True)) / n
        alpha = n / (n + relevance)
        weights.append(alpha * n / len(X) + (1 - alpha) * w)
        means.append(alpha * first + (1 - alpha) * mu)
        variances.append(alpha * second + (1 - alpha) * (var + mu**2) - means[-1] ** 2)
    return np.array(weights) / sum(weights), np.array(means), np.array(variances)


@pytest.mark.parametrize("relevance", [0.5, 16.0])
def test_the_equations_of_the_paper(relevance):
    (params, stats), X = case(), random_data(1, N, D, K)[0]
    close(jgmm.adapt(params, stats, relevance), reynolds(params, X, relevance), "float64", loss=10)


def test_no_relevance_is_maximum_likelihood(cov, dtype):
    params, stats = case(cov, dtype)
    close(jgmm.adapt(params, stats, 0.0), jgmm.m_step(stats, params.cov), dtype, loss=10)


def test_infinite_relevance_is_the_background_and_a_large_one_nearly(cov, dtype):
    params, stats = case(cov, dtype)
    close(jgmm.adapt(params, stats, jnp.inf), params, dtype)
    close(jgmm.adapt(params, stats, 1e18), params, dtype)


def test_the_background_is_rows_of_its_own(cov):
    """Adapting with relevance r is maximum likelihood on the rows and r more of each component's, weights apart."""
    params, stats = case(cov)
    root = np.linalg.cholesky(np.asarray(params.covariances)) * np.sqrt(D)
    rows = params.means[:, :, None] + np.concatenate([root, -root], axis=-1)  # with its mean and covariance
    owner = np.repeat(np.eye(K), 2 * D, axis=0)
    diff = jnp.asarray(np.moveaxis(rows, 1, 0).reshape(D, -1)[None] - params.means[:, :, None])
    weight = jnp.full(K * 2 * D, 5.0 / (2 * D))
    pseudo = collect(params.cov.form, diff, params.means, jnp.asarray(owner.T), 0 * weight, weight)
    expected = jgmm.m_step(stats + dataclasses.replace(pseudo, center=params.means), params.cov)
    adapted = jgmm.adapt(params, stats, 5.0)
    close((adapted.means, adapted.cov), (expected.means, expected.cov), "float64", loss=10)


def test_parts_add_up_wherever_they_were_centred(cov, dtype):
    (params, stats), X = case(cov, dtype), random_data(1, N, D, K, dtype)[0]
    parts = sum(jgmm.e_step(params, part) for part in (X[:30], X[30:]))
    whole = jgmm.adapt(params, stats)
    close(jgmm.adapt(params, parts), whole, dtype, loss=10)
    close(jgmm.adapt(params, parts.recenter(parts.center + 3)), whole, dtype, loss=30)


def test_the_order_of_components_does_not_matter(cov):
    (params, stats), X = case(cov), random_data(1, N, D, K)[0]
    order = jnp.array([2, 0, 1])

    def permuted(p):
        turned = p.cov if cov == "tied" else jax.tree.map(lambda x: x[order], p.cov)
        return jgmm.GMM(p.weights[order], p.means[order], turned)

    turned = jgmm.adapt(permuted(params), jgmm.e_step(permuted(params), X))
    close(turned, permuted(jgmm.adapt(params, stats)), "float64", loss=10)


@pytest.mark.parametrize("relevance", [0.0, 16.0, np.inf])
def test_a_component_without_rows_stays(cov, relevance):
    params, stats = case(cov)
    present = jnp.array([1.0, 0.0, 1.0])
    stats = dataclasses.replace(
        stats,
        weight=stats.weight * present,
        shift=stats.shift * present[:, None],
        scatter=stats.scatter if cov == "tied" else jax.vmap(jnp.multiply)(stats.scatter, present),
    )
    adapted = jgmm.adapt(params, stats, relevance)
    close(adapted.means[1], params.means[1], "float64", loss=0.01)
    if cov != "tied":
        close(adapted.covariances[1], params.covariances[1], "float64")
    assert adapted.weights[1] > 0
    close(adapted.weights.sum(), np.float64(1), "float64")
    nothing = jgmm.adapt(params, 0 * stats, relevance)
    close(nothing, params, "float64")


@pytest.mark.parametrize("part", ["weights", "means", "cov"])
def test_what_is_frozen_stays_and_the_rest_moves(cov, part):
    params, stats = case(cov)
    adapted, whole = jgmm.adapt(params, stats, frozen=[part]), jgmm.adapt(params, stats)
    close(getattr(adapted, part), getattr(params, part), "float64", loss=0)
    for other in {"weights", "means", "cov"} - {part}:
        if (part, other) == ("means", "cov"):
            continue  # about means that stay, the second moments are larger
        close(getattr(adapted, other), getattr(whole, other), "float64")
    if part == "means":
        alone = jgmm.adapt(params, dataclasses.replace(stats, shift=0 * stats.shift))
        close(adapted.cov, alone.cov, "float64")
        assert (adapted.cov.values(K, D) - whole.cov.values(K, D)).max() > 0


def test_speakers_are_a_batch(cov):
    (params, stats), relevance = case(cov), jnp.array([4.0, 16.0])
    speakers = [stats, jgmm.e_step(params, random_data(2, N, D, K)[0])]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *speakers)
    mapped = jax.vmap(lambda stats, r: jgmm.adapt(params, stats, r, frozen=("weights", "cov")))(batch, relevance)
    for index, stats in enumerate(speakers):
        alone = jgmm.adapt(params, stats, relevance[index], frozen=("cov", "weights"))
        close(jax.tree.map(lambda leaf, index=index: leaf[index], mapped), alone, "float64")


def test_a_new_relevance_never_recompiles():
    params, stats = case()
    jgmm.adapt(params, stats)
    before = _adapt._cache_size()
    for relevance in (0, 4, np.float32(2.5), jnp.array(3.0), np.inf):
        jgmm.adapt(params, stats, relevance, frozen=())
    assert _adapt._cache_size() == before


def test_gradients_are_finite_differences_and_finite_at_the_ends(cov):
    params, stats = case(cov)

    @jax.jit
    def value(relevance):
        adapted = jgmm.adapt(params, stats, relevance)
        return sum((jnp.cos(leaf)).sum() for leaf in jax.tree.leaves(adapted))

    slope = jax.jit(jax.grad(value))
    numeric = (value(4 + 1e-5) - value(4 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope(4.0), numeric, rtol=1e-7)
    assert np.isfinite([slope(0.0), slope(np.inf)]).all()


def test_the_statistics_decide_the_dtype(dtype):
    params, stats = case(dtype=dtype)
    other = "float32" if dtype == "float64" else "float64"
    assert {leaf.dtype for leaf in jax.tree.leaves(jgmm.adapt(params.astype(other), stats, 3))} == {dtype}


def test_a_richer_scatter_serves_a_poorer_family():
    params, stats = case("full")
    poorer = jgmm.GMM(params.weights, params.means, jgmm.Diag(params.cov.variances(K, D)))
    expected = jnp.diagonal(jgmm.adapt(params, stats).cov.cov, axis1=1, axis2=2)
    close(jgmm.adapt(poorer, stats).cov.var, expected, "float64")
    raises(ValueError, ["Too poor a scatter for a full", "(3, 3)"], jgmm.adapt, params, case("diag")[1])


PARAMS, STATS = case()
BAD = {
    "no statistics": ((PARAMS, np.ones((N, D))), {}, TypeError, ["stats must be the jgmm.Stats", "got ndarray"]),
    "no mixture": ((STATS, STATS), {}, TypeError, ["must be a jgmm.GMM", "got Stats"]),
    "no density": (
        (jgmm.GMM(PARAMS.weights, PARAMS.means, jgmm.Diag(-PARAMS.cov.var)), STATS),
        {},
        ValueError,
        ["positive definite"],
    ),
    "other components": (
        (random_gmm(0, 2, D, "diag"), STATS),
        {},
        ValueError,
        ["2 components in 3 features", "(3, 3)", "e_step", "jax.vmap"],
    ),
    "negative": ((PARAMS, STATS, -1.0), {}, ValueError, ["relevance must be a nonnegative number", "got -1.0"]),
    "NaN": ((PARAMS, STATS, np.nan), {}, ValueError, ["relevance must be a nonnegative number", "got nan"]),
    "several": ((PARAMS, STATS, [1.0, 2.0]), {}, ValueError, ["relevance must be", "jax.vmap"]),
    "None": ((PARAMS, STATS, None), {}, TypeError, ["relevance must hold numbers, got None"]),
    "unknown part": ((PARAMS, STATS), {"frozen": ["mean"]}, ValueError, ["'weights', 'means', 'cov'", "['mean']"]),
    "a string": ((PARAMS, STATS), {"frozen": "cov"}, ValueError, ["frozen must be a collection of", "got 'cov'"]),
    "no collection": ((PARAMS, STATS), {"frozen": None}, ValueError, ["frozen must be a collection", "got None"]),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_refused(bad):
    arguments, options, error, parts = BAD[bad]
    raises(error, parts, jgmm.adapt, *arguments, **options)
