"""Laws of the statistics and of EM, for every family in float32 and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import close, random_data, random_gmm, tolerance

import jgmm

N, D, K = 120, 3, 3


def collected(cov, dtype, seed=0, rows=slice(None)):
    params, (X, _) = random_gmm(seed, K, D, cov, dtype), random_data(1, N, D, K, dtype)
    return jgmm.e_step(params, X[rows])


def test_addition_is_commutative_whatever_the_centres(cov, dtype):
    a, b = collected(cov, dtype, 0, slice(0, 20)), collected(cov, dtype, 1, slice(20, 40))
    close((b + a).recenter((a + b).center), a + b, dtype, loss=3)


def test_addition_is_associative_whatever_the_centres(cov, dtype):
    a, b, c = (collected(cov, dtype, seed, slice(20 * seed, 20 * seed + 20)) for seed in range(3))
    close((a + b) + c, a + (b + c), dtype, loss=3)


def test_nothing_is_the_identity_of_addition(cov, dtype):
    a, b = collected(cov, dtype), collected(cov, dtype, 1)
    close(a + 0 * b, a, dtype, loss=0)
    close(sum([a]), a, dtype, loss=0)


def test_the_sum_of_the_parts_is_the_whole(cov, dtype):
    parts = [collected(cov, dtype, rows=slice(i, i + 20)) for i in range(0, N, 20)]
    close(sum(parts), collected(cov, dtype), dtype, loss=3)


def test_a_factor_weighs_every_row(cov, dtype):
    params, (X, _) = random_gmm(0, K, D, cov, dtype), random_data(1, N, D, K, dtype)
    tripled = jgmm.e_step(params, X, np.full(N, 3))
    for factor in (3, 3.0, np.float64(3), jnp.asarray(3, dtype)):
        close(factor * jgmm.e_step(params, X), tripled, dtype, loss=3)
    close(jgmm.e_step(params, X) * 3, tripled, dtype, loss=3)


def test_running_statistics_forget_rows_and_not_centres(cov):
    # Batches under parameters that move, as in online EM; the same as one M-step of all rows, old ones counting less.
    X = random_data(1, N, D, K)[0].reshape(3, -1, D)
    running, resp = None, []
    for age, batch in enumerate(X):
        params = random_gmm(age, K, D, cov)
        stats = jgmm.e_step(params, batch)
        running = stats if running is None else 0.9 * running + stats
        resp.append(0.9 ** (2 - age) * jgmm.responsibilities(params, batch))
    params = jgmm.m_step(running, cov)
    wanted = oracle.m_step(np.concatenate(resp), np.asarray(X).reshape(-1, D), cov)
    close((params.weights, params.means, params.covariances), wanted, "float64")

    # What the docstring warns of, should it ever become right.
    leaf_by_leaf = jax.tree.map(lambda old, new: 0.9 * old + new, collected(cov, "float64", 0), stats)
    assert np.abs(leaf_by_leaf.mean - (0.9 * collected(cov, "float64", 0) + stats).mean).max() > 0.1


def test_recentring_there_and_back_changes_nothing(cov, dtype):
    a = collected(cov, dtype)
    close(a.recenter(a.center + 2).recenter(a.center), a, dtype, loss=10)


def test_weight_zero_is_absent_and_weight_two_is_twice(cov, dtype):
    params, (X, _) = random_gmm(0, K, D, cov, dtype), random_data(1, N, D, K, dtype)
    weight = np.random.default_rng(2).multinomial(N, np.full(N, 1 / N))  # as many rows: the same programs
    repeated = jnp.repeat(X, weight, axis=0, total_repeat_length=N)
    close(jgmm.e_step(params, X, weight), jgmm.e_step(params, repeated), dtype, loss=3)
    close(jgmm.step(params, X, weight), jgmm.step(params, repeated), dtype, loss=3)
    options = {"max_steps": 15, "stop": jgmm.LogProbStop(0.0)}
    close(jgmm.em(params, X, weight, **options).params, jgmm.em(params, repeated, **options).params, dtype, loss=100)
    close(jgmm.bic(params, X, weight), jgmm.bic(params, repeated), dtype, loss=3)
    close(jgmm.aic(params, X, weight), jgmm.aic(params, repeated), dtype, loss=3)
    close(jgmm.relative_ridge(X, 1.0, weight), jgmm.relative_ridge(repeated, 1.0), dtype, loss=3)


def test_step_is_m_after_e(cov, dtype):
    params, (X, _) = random_gmm(0, K, D, cov, dtype), random_data(1, N, D, K, dtype)
    close(jgmm.step(params, X, ridge=0.1), jgmm.m_step(jgmm.e_step(params, X), params.cov, ridge=0.1), dtype, loss=0)


def test_the_likelihood_never_falls(cov, dtype):
    params, (X, _) = random_gmm(0, K, D, cov, dtype), random_data(1, N, D, K, dtype)
    result = jgmm.em(params, X, history=200, max_steps=150, stop=jgmm.LogProbStop(0.0))
    history = np.asarray(result.history, np.float64)[: int(result.num_steps) + 1]
    assert len(history) > 10
    assert np.isfinite(history).all()
    assert np.isnan(np.asarray(result.history)[int(result.num_steps) + 1 :]).all()
    assert np.diff(history).min() >= -tolerance(dtype) * np.abs(history).max()


def test_what_is_returned_belongs_together(cov, dtype):
    params, (X, _) = random_gmm(0, K, D, cov, dtype), random_data(1, N, D, K, dtype)
    result = jgmm.em(params, X, max_steps=7)
    close(result.stats, jgmm.e_step(result.params, X), dtype)
    close(result.mean_log_prob, jgmm.log_prob(result.params, X).mean(), dtype)


def test_order_of_components_does_not_matter(cov, dtype):
    params, (X, _) = random_gmm(0, K, D, cov, dtype), random_data(1, N, D, K, dtype)
    order = jnp.array([2, 0, 1])
    shared = cov == "tied"

    def permute(p):
        return jgmm.GMM(p.weights[order], p.means[order], p.cov if shared else jax.tree.map(lambda x: x[order], p.cov))

    close(jgmm.step(permute(params), X), permute(jgmm.step(params, X)), dtype, loss=3)


def affine(params, cov, scale, offset):
    """The mixture of ``x -> scale x + offset``: (d,) for diag, a number for spherical, else (d, d)."""
    matrix = {"diag": np.diag, "spherical": lambda s: s * np.eye(D)}.get(cov, np.asarray)(scale)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    means = params.means @ matrix.T + offset
    if cov in ("full", "tied"):
        return jgmm.GMM(params.weights, means, type(params.cov)(matrix @ params.cov.cov @ matrix.T)), matrix
    return jgmm.GMM(params.weights, means, type(params.cov)(params.cov.var * scale**2)), matrix


def test_em_moves_with_the_data_under_affine_maps(cov, dtype):
    params, (X, _) = random_gmm(0, K, D, cov), random_data(1, N, D, K)
    rng = np.random.default_rng(3)
    scale = {"diag": np.array([0.5, 2.0, 30.0]), "spherical": np.float64(5.0)}.get(
        cov, rng.normal(size=(D, D)) + 2 * np.eye(D)
    )
    offset = np.array([1.0, -2.0, 3.0])
    moved, matrix = affine(params, cov, scale, offset)
    options = {"max_steps": 5, "stop": jgmm.LogProbStop(0.0)}
    there = jgmm.em(moved, (np.asarray(X) @ matrix.T + offset).astype(dtype), **options)
    here = jgmm.em(params, X.astype(dtype), **options)
    expected, _ = affine(here.params, cov, scale, offset)
    close(there.params, expected.astype(dtype), dtype, loss=30)
    log_det = float(np.linalg.slogdet(matrix)[1])
    close(there.mean_log_prob, here.mean_log_prob - log_det, dtype, loss=10)


def test_a_richer_family_fits_the_same_responsibilities_better(dtype):
    params, (X, _) = random_gmm(0, K, D, "full", dtype), random_data(1, N, D, K, dtype)
    stats, resp = jgmm.e_step(params, X), np.asarray(jgmm.responsibilities(params, X), np.float64)

    def expected(family):  # the complete-data log-likelihood, which the M-step maximises
        p = jgmm.m_step(stats, family)
        joint = [
            jgmm.log_prob(jgmm.GMM(jnp.ones(1, dtype), m[None], jgmm.Full(c[None])), X)
            for m, c in zip(p.means, p.covariances, strict=True)
        ]
        return (resp * np.stack(joint, 1)).sum()

    spherical, diag, tied, full = map(expected, ("spherical", "diag", "tied", "full"))
    assert spherical <= diag <= full
    assert tied <= full


@pytest.mark.parametrize("weighted", [False, True])
def test_fishers_identity_the_score_is_built_from_the_statistics(cov, weighted):
    """d log L / d mu_k = Sigma_k^-1 shift_k and d log L / d pi_k = N_k / pi_k (Dempster et al. 1977)."""
    params, (X, _) = random_gmm(0, K, D, cov), random_data(1, N, D, K)
    weight = jnp.asarray(np.random.default_rng(2).integers(0, 3, N) if weighted else np.ones(N), X.dtype)
    score = jax.grad(lambda p: (weight * jgmm.log_prob(p, X)).sum())(params)
    stats = jgmm.e_step(params, X, weight)
    close(score.weights, stats.weight / params.weights, "float64", loss=10)
    close(score.means, jnp.linalg.solve(params.covariances, stats.shift[..., None])[..., 0], "float64", loss=10)
    if cov == "full":
        precision = jnp.linalg.inv(params.cov.cov)
        expected = precision @ (stats.scatter - stats.weight[:, None, None] * params.cov.cov) @ precision / 2
        close((score.cov.cov + jnp.swapaxes(score.cov.cov, 1, 2)) / 2, expected, "float64", loss=10)


def test_the_gradient_vanishes_at_a_fixed_point(cov):
    X, _ = random_data(1, N, D, K)
    start = jgmm.init.kmeans(jax.random.key(0), X, K, cov=cov)
    params = jgmm.em(start, X, stop=jgmm.ParamStop(1e-12), max_steps=5000).params

    def objective(logits, means, cov):
        return jgmm.log_prob(jgmm.GMM(jax.nn.softmax(logits), means, cov), X).mean()

    score = jax.jit(jax.grad(objective, argnums=(0, 1, 2)))(jnp.log(params.weights), params.means, params.cov)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(score)) < 1e-8
