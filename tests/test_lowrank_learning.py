"""Other ways to learn factors and noise of many features: online EM, gradients, implicit derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import close, raises
from scipy.stats import multivariate_normal
from test_lowrank_wide import D, N, Q, each, mixture, rows

import jgmm
from jgmm._gradient.ascent import expected_log_prob

SIZE, RATES = 60, [1.0, 0.7, 0.5, 0.4, 0.3]


def batches(dtype="float64"):
    return rows(dtype).reshape(-1, SIZE, D)


def posterior(mean, loadings, noise, X):
    """The means (n, q) and the covariance (q, q) of the factors of rows."""
    basis = loadings.T @ np.linalg.inv(loadings @ loadings.T + np.diag(noise))
    return (X - mean) @ basis.T, np.eye(Q) - basis @ loadings


def complete(component, resp, X):
    """The complete-data statistics per row: sums of r, r x, r x^2, r x z^T, r z and r z z^T."""
    z, cov = posterior(*component, X)
    sums = resp.sum(), resp @ X, resp @ X**2, (resp[:, None] * X).T @ z, resp @ z, (resp[:, None] * z).T @ z
    return [x / len(X) for x in (*sums[:5], sums[5] + resp.sum() * cov)]


def learnt(sums):
    """A component, and its statistics in terms of factors with mean 0 and covariance I (parameter expansion)."""
    weight, x, squares, products, z, outer = sums
    mean, center = x / weight, z / weight
    back = np.linalg.inv(np.linalg.cholesky(outer / weight - np.outer(center, center)))
    products = (products - np.outer(x, center)) @ back.T
    loadings = products / weight
    noise = squares / weight - mean**2 - (loadings**2).sum(1)
    return (mean, loadings, noise), [weight, x, squares, products, 0 * z, weight * np.eye(Q)]


def recursion(params):
    """Online EM on statistics of rows and factors, all of them kept (Cappe & Moulines 2009)."""
    weights, *parts = (np.asarray(x) for x in (params.weights, params.means, *jax.tree.leaves(params.cov)))
    components, kept = list(zip(*parts, strict=True)), None
    for X, rate in zip(np.asarray(batches()), RATES, strict=True):
        density = [multivariate_normal(mean, W @ W.T + np.diag(psi)).pdf(X) for mean, W, psi in components]
        joint = weights[:, None] * density
        new = [complete(*given, X) for given in zip(components, joint / joint.sum(0), strict=True)]
        kept = new if kept is None else kept
        kept = [[(1 - rate) * a + rate * b for a, b in zip(*pair, strict=True)] for pair in zip(kept, new, strict=True)]
        components, kept = zip(*map(learnt, kept), strict=True)
        weights = np.array([sums[0] for sums in kept])
    return weights, *(np.stack(part) for part in zip(*components, strict=True))


def online(dtype="float64", **options):
    carry = mixture(dtype=dtype), None
    for X, rate in zip(batches(dtype), RATES, strict=True):
        carry = jgmm.online_step(*carry, X, rate, **options)
    return carry


def test_online_steps_are_those_of_all_statistics_of_rows_and_factors(dtype):
    params, _ = online(dtype)
    close((params.weights, params.means, *jax.tree.leaves(params.cov)), recursion(mixture()), dtype, loss=10)


def test_a_scan_of_online_steps_is_the_loop():
    params = mixture()

    def run(batches):
        step = lambda carry, now: (jgmm.online_step(*carry, *now), None)  # noqa: E731
        return jax.lax.scan(step, (params, 0.0 * jgmm.e_step(params, batches[0])), (batches, jnp.asarray(RATES)))[0]

    found, expected = ((params, stats.scatter) for params, stats in (jax.jit(run)(batches()), online()))
    close(found, expected, "float64", loss=30)


@each
def test_online_steps_end_where_em_does(noise):
    """With the ridge, of which the statistics that are carried on must hold nothing."""
    X = rows()
    fixed = jgmm.em(mixture(noise), X, ridge=0.1, stop=jgmm.LogProbStop(1e-14), max_steps=5000).params
    carry = fixed, jgmm.e_step(fixed, X)
    for _ in range(3):
        carry = jgmm.online_step(*carry, X, 0.4, ridge=0.1)
    close(carry[0], fixed, "float64", loss=1e7)


def test_online_steps_keep_what_is_frozen_and_what_no_row_speaks_of():
    params, stats = online(frozen=("cov", "means"))
    close(params.cov, mixture().cov, "float64", loss=0)
    params, stats = online()
    new, after = jax.jit(jgmm.online_step)(params, stats, rows(), 0.5, sample_weight=jnp.zeros(N))
    close((new, after.scatter), (params, stats.scatter), "float64")


def test_running_statistics_of_another_mixture_are_refused():
    params, X = mixture(), rows()
    diag = jgmm.e_step(jgmm.GMM(params.weights, params.means, params.cov.noise), X)
    raises(ValueError, ["a scatter of shape (2, 6, 3), (2, 2, 6)"], jgmm.online_step, params, diag, X, 0.5)
    other = jgmm.e_step(jgmm.step(params, X), X)
    raises(
        ValueError, ["running_stats must be those that the last online_step"], jgmm.online_step, params, other, X, 0.5
    )
    new, _ = jax.jit(jgmm.online_step)(params, other, X, 0.5)
    close(new.cov, params.cov, "float64", loss=0)  # inside jit the sum is NaN, and the last good one stays


@each
def test_the_gradient_of_the_expected_density_is_that_of_the_density(noise):
    """Fisher's identity, with the factors of a row as what is missing."""
    params, X = mixture(noise), rows()
    stats = jgmm.e_step(params, X)
    ours = jax.jit(jax.grad(lambda params: expected_log_prob(params, params.cov.factor(), stats)))(params)
    close(ours, jax.jit(jax.grad(lambda params: jgmm.log_prob(params, X).sum()))(params), "float64", loss=10)


@each
def test_a_gradient_fit_finds_the_optimum_of_em(noise):
    X = rows()
    best = jgmm.em(mixture(noise), X, stop=jgmm.LogProbStop(1e-10), max_steps=5000, accelerate="anderson").check()
    near = jgmm.em(mixture(noise), X, max_steps=20).params
    result = jgmm.fit_gradient(near, X).check()
    assert type(result.params.cov) is type(near.cov)
    assert abs(result.stats.log_prob - best.stats.log_prob) < 1e-5 * N
    exact = jgmm.fit_gradient(near, X, optimizer=jgmm.newton(), stop=jgmm.GradientStop(1e-8)).check()
    assert abs(exact.stats.log_prob - best.stats.log_prob) < 1e-8 * N


def best(start):
    return jgmm.em(start, rows(), stop=jgmm.LogProbStop(1e-15), max_steps=5000, accelerate="anderson").check().params


def test_standard_errors_are_those_of_the_matrices():
    params = best(mixture("spherical"))
    narrow = jgmm.GMM(params.weights, params.means, jgmm.LowRank(params.cov.loadings, params.cov.noise))
    ours, theirs = (jgmm.standard_errors(params, rows()) for params in (params, narrow))
    assert ours.status == jgmm.Status.CONVERGED
    assert type(ours.errors.cov) is type(params.cov)
    close(ours, theirs, "float64", loss=0)


def test_the_derivative_of_a_fit_is_that_of_its_differences():
    start, X = best(mixture("spherical")), rows()
    rule = jgmm.LogProbStop(1e-18)

    def number(bend):
        result = jgmm.em(start, X * (1 + bend * X), stop=rule, max_steps=5000, accelerate="anderson")
        stats = result.stats
        parts = result.params.covariances[0, 0], result.params.means, stats.shift, stats.log_prob, stats.scatter.squares
        return sum(part.sum() for part in parts)

    value = jax.jit(number)
    ends = [value(bend) for bend in (1e-4, -1e-4)]
    close(jax.jit(jax.grad(number))(0.0), (ends[0] - ends[1]) / 2e-4, "float64", loss=1e7)
