"""The product kernel of factors and noise for many features: the statistics of the whitened one, where it may run."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close

import jgmm
from jgmm._expectation.kernels import SMALL, affordable, cancellation, expectation, products, tolerated_loss, whitened
from jgmm._expectation.moments import frame_of

N, D, K, Q = 311, 32, 2, 2  # 311 is a multiple of no chunk size

fast = jax.jit(products)
within, either = jax.jit(affordable), jax.jit(expectation)


@jax.jit
def safe(params, factor, frame, X, weight):
    """The whitened kernel, which needs no frame."""
    return whitened(params, factor, X, weight)


@functools.cache
def problem(dtype, noise="diag", offset=0.0):
    """Mixture, factor, frame, rows and weights; the means ``offset`` deviations of the noise from the centre."""
    rng = np.random.default_rng(0)
    loadings, var = rng.normal(size=(K, D, Q)), rng.uniform(0.5, 1.5, (K, D))
    psi = jgmm.Diag(var) if noise == "diag" else jgmm.Spherical(var[:, 0])
    means = rng.normal(size=(K, D)) + offset * np.sqrt(var) * np.array([[1], [-1]])
    cov = jgmm.LowRank(loadings, psi, wide=True)
    params = jgmm.GMM(np.array([0.4, 0.6]), means, cov).astype(dtype)
    X = jgmm.sample(jax.random.key(0), params.astype("float64"), N)[0].astype(dtype)
    weight = jnp.asarray(rng.integers(0, 3, N), dtype)
    frame = frame_of(type(cov), X, weight).recenter(jnp.zeros((1, D), dtype))
    return params, params.cov.factor(), frame, X, weight


def exactly(case):
    """The statistics of the whitened kernel in float64, of the same numbers."""
    params, _, frame, X, weight = jax.tree.map(lambda x: x.astype("float64"), case)
    return safe(params, params.cov.factor(), frame, X, weight)


@pytest.mark.parametrize("noise", ["diag", "spherical"])
def test_both_kernels_give_the_same_statistics(noise, dtype):
    case = problem(dtype, noise)
    close(fast(*case), safe(*case), dtype, loss=3)
    assert N * D * K > SMALL
    close(jax.jit(jgmm.e_step)(case[0], *case[3:]), fast(*case), dtype, loss=3)
    close(jgmm.e_step(case[0], *case[3:], chunk_size=64), fast(*case), dtype, loss=3)


def test_both_kernels_give_the_same_derivatives():
    params, _, frame, X, weight = problem("float64")

    def total(kernel):
        def value(params, X):
            stats = kernel(params, params.cov.factor(), frame, X, weight)
            return stats.log_prob + (stats.scatter.moments**2).sum() + (stats.shift**2).sum()

        return jax.jit(jax.grad(value, (0, 1)))(params, X)

    close(total(products), total(lambda params, factor, frame, *rows: whitened(params, factor, *rows)), "float64", 30)


def test_mixtures_side_by_side_are_those_alone():
    params, _, frame, X, weight = problem("float64")
    two = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, dataclasses.replace(params, means=params.means + 0.2))
    found = jax.jit(jax.vmap(lambda params: products(params, params.cov.factor(), frame, X, weight)))(two)
    for lane in range(2):
        one = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (two, found))
        close(one[1], safe(one[0], one[0].cov.factor(), frame, X, weight), "float64", loss=10)


def test_rows_that_are_absent_may_hold_anything():
    params, factor, frame, X, weight = problem("float64")
    broken = X.at[np.flatnonzero(weight == 0)].set(jnp.nan)
    close(fast(params, factor, frame, broken, weight), fast(params, factor, frame, X, weight), "float64", loss=0)


def at_loss(dtype, share):
    """A `problem` whose means are so far out that the kernel would lose this share of what it may."""
    most = share * tolerated_loss(jnp.dtype(dtype), D) / float(jnp.finfo(dtype).eps)
    offset = float(np.sqrt(most / 2 / D))
    for _ in range(8):  # the variances, and the means that the offset is added to, count as well
        offset *= float(np.sqrt(most / cancellation(*problem("float64", "diag", offset)[:3])))
    return problem(dtype, "diag", offset)


def test_at_the_edge_of_the_bound_it_loses_no_more_than_it_says(dtype):
    inside, outside = at_loss(dtype, 0.99), at_loss(dtype, 1.01)
    assert within(*inside[:3])
    assert not within(*outside[:3])
    close(either(*inside), fast(*inside), dtype, loss=0)
    close(either(*outside), safe(*outside), dtype, loss=0)
    ours, exact, loss = fast(*inside), exactly(inside), tolerated_loss(dtype, D)
    assert abs(float(ours.log_prob) - float(exact.log_prob)) / float(exact.total) <= loss
    found, true = (jgmm.m_step(stats, inside[0].cov).covariances for stats in (ours, exact))
    np.testing.assert_allclose(found, true, rtol=0, atol=4 * loss * float(jnp.abs(true).max()))


def test_the_loss_is_real_beyond_the_bound(dtype):
    """And the whitened kernel does not have it: the choice between them is needed."""
    case = at_loss(dtype, 1e4)
    exact = exactly(case)
    wrong, right = (
        abs(float(stats.log_prob) - float(exact.log_prob)) / float(exact.total)
        for stats in (fast(*case), either(*case))
    )
    assert wrong > tolerated_loss(dtype, D) > right


def test_no_array_of_rows_features_and_components_is_made():
    """A chunk's work is that of its rows: nothing has k d numbers a row."""
    given = problem("float64")[:3]
    rows = jax.ShapeDtypeStruct((100_000, D), "float64"), jax.ShapeDtypeStruct((100_000,), "float64")
    used = fast.lower(*given, *rows).compile().memory_analysis()
    assert used.temp_size_in_bytes < 0.1 * 100_000 * D * 8
