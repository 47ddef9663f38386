"""Laws of factors and noise for many features: the numbers of `lowrank(q)`, without any matrix (d, d)."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, raises
from sklearn.decomposition import PCA, FactorAnalysis

import jgmm

N, D, K, Q = 300, 6, 2, 2
FAMILIES = {"diag": jgmm.lowrank(Q, wide=True), "spherical": jgmm.lowrank(Q, "spherical", wide=True)}
each = pytest.mark.parametrize("noise", FAMILIES)


@functools.cache
def mixture(noise="diag", dtype="float64", wide=True):
    rng = np.random.default_rng(0)
    loadings, var = rng.normal(size=(K, D, Q)), rng.uniform(0.5, 1.5, (K, D))
    psi = jgmm.Diag(var) if noise == "diag" else jgmm.Spherical(var[:, 0])
    means = 2 * rng.normal(size=(K, D))
    return jgmm.GMM(np.array([0.4, 0.6]), means, jgmm.LowRank(loadings, psi, wide)).astype(dtype)


@functools.cache
def rows(dtype="float64"):
    return jgmm.sample(jax.random.key(0), mixture(), N)[0].astype(dtype)


@functools.cache
def stats(noise="diag", dtype="float64"):
    return jgmm.e_step(mixture(noise, dtype), rows(dtype))


def projected(scatter, basis):
    """What a full scatter (k, d, d) holds of a `Projection`."""
    squares = jnp.diagonal(scatter, axis1=1, axis2=2)[:, :, None]
    return jnp.concatenate([squares, jnp.einsum("kij,kqj->kiq", scatter, basis)], -1)


@each
def test_densities_are_those_of_the_matrices(noise, dtype):
    params, X = mixture(noise, dtype), rows(dtype)
    close(jgmm.log_prob(params, X), jgmm.log_prob(jgmm.to_full(params), X), dtype, loss=3)
    close(jgmm.responsibilities(params, X), jgmm.responsibilities(jgmm.to_full(params), X), dtype, loss=10)


@each
def test_statistics_are_projections_of_the_matrices(noise, dtype):
    wide, full = stats(noise, dtype), jgmm.e_step(jgmm.to_full(mixture(noise, dtype)), rows(dtype))
    basis, loss = wide.scatter.basis, 10
    for ours, theirs in [(wide, full), (wide.recenter(wide.mean), full.recenter(full.mean)), (2 * wide, full + full)]:
        close((ours.weight, ours.log_prob), (theirs.weight, theirs.log_prob), dtype, loss)
        close(ours.shift, theirs.shift, dtype, loss, scale=N)
        close(ours.scatter.moments, projected(theirs.scatter, basis), dtype, loss)


@each
def test_square_roots_are_those_of_the_matrices(noise):
    params = mixture(noise)
    factor, cov = params.cov.factor(), params.covariances
    roots = jax.vmap(lambda j: jax.vmap(lambda e: factor.color(e, j))(jnp.eye(D)).T)(jnp.arange(K))
    close(roots @ jnp.swapaxes(roots, 1, 2), cov, "float64")
    close(factor.whiten(roots), jnp.broadcast_to(jnp.eye(D), (K, D, D)), "float64")
    precision, ridge = jnp.linalg.inv(cov), jnp.arange(1.0, D + 1)
    diagonals = jnp.diagonal(precision, axis1=1, axis2=2)
    close(factor.trace(ridge), diagonals @ ridge, "float64", loss=3)
    close(factor.feature_share(ridge), (diagonals * ridge[None]).max(1), "float64", loss=3)
    posterior = factor.posterior()
    close(posterior.basis, jnp.swapaxes(params.cov.loadings, 1, 2) @ precision, "float64", loss=3)


def test_statistics_of_parts_are_those_of_the_whole_and_of_another_mixture_nan():
    params, X, whole = mixture(), rows(), stats()
    parts = jgmm.e_step(params, X[:100]) + jgmm.e_step(params, X[100:])
    close(parts, whole, "float64", loss=3)
    close(jgmm.e_step(params, X, chunk_size=128), whole, "float64", loss=3)
    weight = jnp.concatenate([jnp.ones(100), jnp.zeros(200)])
    close(jgmm.e_step(params, X, weight), jgmm.e_step(params, X[:100]), "float64", loss=3)
    other = jgmm.e_step(jgmm.step(params, X), X)
    assert jnp.isnan((whole + other).scatter.moments).all()
    close(0 * other + whole, whole.recenter(other.center), "float64", loss=0)  # that of no rows is the identity
    close(whole + 0 * other, whole, "float64", loss=0)


@each
def test_the_likelihood_never_falls(noise):
    params, X, values = jgmm.m_step(stats("diag"), FAMILIES[noise]), rows(), []
    for _ in range(20):
        values.append(float(jgmm.log_prob(params, X).sum()))
        params = jgmm.step(params, X)
    assert np.diff(values).min() > -1e-9
    assert values[-1] > values[0] + 1


def test_the_variances_of_an_m_step_are_those_of_the_rows(dtype):
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.normal(size=(40, 300)) + rng.normal(size=(40, Q)) @ rng.normal(size=(Q, 300)), dtype)
    params = jgmm.init.random_points(jax.random.key(0), X, 1, cov=FAMILIES["diag"])
    for _ in range(3):  # EM's own loadings, of a start in random directions, are ten times too large
        params = jgmm.step(params, X)
        close(params.cov.variances(1, 300)[0], X.var(0), dtype, loss=10)


@each
@pytest.mark.parametrize("accelerate", [None, "anderson"])
def test_the_optimum_is_that_of_the_matrices(noise, accelerate):
    options = {"stop": jgmm.LogProbStop(1e-9), "max_steps": 5000}
    narrow = jgmm.em(mixture(noise, wide=False), rows(), **options).check()
    wide = jgmm.em(mixture(noise), rows(), accelerate=accelerate, **options)
    assert abs(wide.stats.log_prob - narrow.stats.log_prob) < 1e-6 * N
    if accelerate:
        wide.check()
        assert wide.num_steps < 200


def test_one_component_is_factor_analysis_and_principal_components():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 12)) + rng.normal(size=(300, 12)) * rng.uniform(0.3, 2, 12)
    theirs = FactorAnalysis(Q, tol=1e-10, max_iter=10_000, svd_method="lapack").fit(X).score(X)
    options = {"num_init": 1, "race": (), "stop": jgmm.LogProbStop(1e-10), "ridge": 0.0}
    result = jgmm.fit(jax.random.key(0), X, 1, cov=FAMILIES["diag"], **options).check()
    assert abs(result.stats.log_prob / 300 - theirs) < 1e-6
    covariance = PCA(Q, svd_solver="full").fit(X).get_covariance() * (1 - 1 / 300)
    result = jgmm.fit(jax.random.key(0), X, 1, cov=FAMILIES["spherical"], **options).check()
    theirs = jgmm.GMM(jnp.ones(1), jnp.asarray(X.mean(0))[None], jgmm.Full(jnp.asarray(covariance)[None]))
    # scikit-learn divides by n - 1 throughout, so that its noise is scaled as its factors are.
    assert abs(result.stats.log_prob - jgmm.log_prob(theirs, X).sum()) < 1e-6 * 300


@pytest.mark.parametrize("accelerate", [None, "anderson"])
def test_no_matrix_is_made(accelerate):
    d, family = 301, FAMILIES["diag"]
    start = jax.eval_shape(lambda X: jgmm.init.random_points(jax.random.key(0), X, K, cov=family), jnp.ones((50, d)))
    assert start.cov.loadings.shape == (K, d, Q)
    fit = functools.partial(jgmm.em, ridge=1e-3, accelerate=accelerate)
    text = str(jax.make_jaxpr(fit)(start, jax.ShapeDtypeStruct((1000, d), start.means.dtype)))
    assert f",{d}]" in text
    assert f"{d},{d}]" not in text


def test_a_fit_finds_separated_groups(dtype):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    X = (
        rng.normal(size=(120, Q)) @ rng.normal(size=(Q, 8)) + 0.3 * rng.normal(size=(120, 8)) + 8 * labels[:, None]
    ).astype(dtype)
    result = jgmm.fit(jax.random.key(0), X, 2, cov=FAMILIES["diag"], num_init=4, race=((5, 1),), moves=1).check()
    found = np.asarray(jgmm.predict(result.params, X))
    assert max((found == labels).mean(), (found != labels).mean()) == 1
    assert result.params.means.dtype == dtype
    assert jnp.isfinite(jgmm.bic(result.params, X))
    assert jnp.isfinite(jgmm.sample(jax.random.key(1), result.params, 5)[0]).all()


def test_a_collapsed_component_is_told():
    X = jnp.concatenate([rows()[:100], jnp.full((20, D), 50.0)])
    start = jgmm.GMM(
        jnp.array([0.8, 0.2]), jnp.stack([X[:100].mean(0), X[-1]]), jgmm.m_step(stats(), FAMILIES["diag"]).cov
    )
    result = jgmm.em(start, X, ridge=1e-6, max_steps=50)
    assert result.status == jgmm.Status.DEGENERATE
    assert result.component_status.tolist() == [jgmm.ComponentStatus.OK, jgmm.ComponentStatus.FLOORED]


def test_batches_are_the_whole():
    options = {"max_steps": 5, "ridge": 1e-3}
    whole = jgmm.em(mixture(), rows(), **options)
    streamed = jgmm.em_stream(mixture(), [rows()[:120], rows()[120:]], **options)
    close((whole.params, whole.stats), (streamed.params, streamed.stats), "float64", loss=100)


def test_jit_and_vmap():
    X = jnp.stack([rows(), rows()[::-1] + 1])
    step = lambda X: jgmm.step(mixture(), X)  # noqa: E731
    batch = jax.jit(jax.vmap(step))(X)
    for i in range(2):
        close(jax.tree.map(lambda leaf: leaf[i], batch), step(X[i]), "float64", loss=10)  # noqa: B023


@each
def test_features_in_other_units(noise):
    factor = 1e150  # squared twice it is out of range
    result = jgmm.step(mixture(noise), rows())
    scaled = jgmm.GMM(
        mixture(noise).weights, mixture(noise).means * factor, mixture(noise).cov.transformed(jnp.asarray(factor))
    )
    theirs = jgmm.step(scaled, rows() * factor)
    close(theirs.means / factor, result.means, "float64", loss=10)
    close(theirs.cov.loadings / factor, result.cov.loadings, "float64", loss=10)
    moments = jgmm.e_step(scaled, rows() * factor).scatter.moments
    close(moments[..., 1:] / factor, stats(noise).scatter.moments[..., 1:], "float64", loss=10)


def test_it_is_kept_by_files_and_pickles(tmp_path):
    result = jgmm.em(mixture(), rows(), max_steps=5)
    jgmm.save(tmp_path / "fit.jgmm", result)
    for again in (jgmm.load(tmp_path / "fit.jgmm"), pickle.loads(pickle.dumps(result))):
        assert type(again.params.cov) is FAMILIES["diag"]
        close(again, result, "float64", loss=0)
    assert repr(result.params.cov) == "lowrank(2, wide=True)(loadings=float64[2,6,2], noise=Diag(var=float64[2,6]))"
    assert type(jgmm.marginal(result.params, [0, 1, 4]).cov) is FAMILIES["diag"]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("function", [jgmm.e_step, jgmm.predict])
def test_programs_can_be_exported(function, wide):
    given = mixture(wide=wide), rows()
    program = jax.export.deserialize(jax.export.export(jax.jit(function))(*given).serialize())
    close(program.call(*given), function(*given), "float64", loss=3)


@each
@pytest.mark.parametrize("wide", [False, True])
def test_statistics_and_mixtures_are_kept_by_files(noise, wide, tmp_path):
    params = mixture(noise, wide=wide)
    for value in (params, jgmm.e_step(params, rows())):
        jgmm.save(tmp_path / "value.npz", value)
        again = jgmm.load(tmp_path / "value.npz")
        assert jax.tree.structure(again) == jax.tree.structure(value)
        close(again, value, "float64", loss=0)


def test_what_it_cannot_do_says_so():
    params, X, what = mixture(), rows(), ["does not work with lowrank(2, wide=True)", "jgmm.to_full(params)"]
    raises(TypeError, ["adapt", *what], jgmm.adapt, params, stats())
    raises(TypeError, ["collapse", *what], jgmm.collapse, params)
    raises(TypeError, ["wide must be True or False"], jgmm.lowrank, 2, wide=1)
    raises(
        ValueError,
        ["needs more features than factors, got 6"],
        jgmm.init.random_points,
        jax.random.key(0),
        X,
        K,
        cov=jgmm.lowrank(6, wide=True),
    )
    raises(ValueError, ["Too poor a scatter for a full covariance"], jgmm.m_step, stats(), "full")
