"""Each of the fourteen families goes through what stands around a fit: weights, chunks, bootstrap, errors, plots."""

import functools

import jax
import numpy as np
import pytest
from helpers import EIGEN, FAMILIES, close, random_data, random_gmm
from matplotlib.figure import Figure

import jgmm
import jgmm.plot

N, D, K = 60, 2, 2
NAMES = [*FAMILIES, *EIGEN]
SHARED = {"EVE", "VVE"}  # their axes are known to about the root of rounding


@functools.cache
def case(name):
    """A mixture of the family, rows, and weights 0, 1 and 2."""
    X, _ = random_data(1, N, D, K)
    params = jgmm.m_step(jgmm.e_step(random_gmm(0, K, D, "full"), X), name, ridge=0.1)
    return params, X, np.arange(N) % 3.0


def refit(params, X, weight, **options):
    """Two steps of EM, which are one small program a family."""
    return jgmm.step(jgmm.step(params, X, weight, ridge=0.01, **options), X, weight, ridge=0.01, **options)


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_of_two_is_twice_the_row_and_chunks_change_nothing(name):
    params, X, weight = case(name)
    whole = refit(params, X, weight)
    loss = 1e7 if name in SHARED else 1e4
    close(refit(params, np.repeat(X, weight.astype(int), 0), np.ones(N)), whole, "float64", loss=loss)
    close(refit(params, X, weight, chunk_size=7), whole, "float64", loss=loss)


@pytest.mark.parametrize("name", NAMES)
def test_the_bootstrap_is_the_loop_over_its_resamples(name):
    params, X, _ = case(name)
    weights = jgmm.resample.bootstrap(jax.random.key(0), N, 3)
    found = jax.vmap(lambda weight: refit(params, X, weight))(weights)
    for i, weight in enumerate(weights):
        close(jax.tree.map(lambda leaf, i=i: leaf[i], found), refit(params, X, weight), "float64", loss=1e7)
    assert (found.means.std(0) > 0).all()


@pytest.mark.parametrize("name", EIGEN)
def test_standard_errors_of_the_means_are_those_of_their_clusters(name):
    """Of the means, which every family has free; of clusters that are apart, and copies of each other."""
    X = np.concatenate([np.random.default_rng(0).normal(size=(40, D)) + c for c in (-4, 4)])
    start = jgmm.m_step(jgmm.e_step(jgmm.init.kmeans(jax.random.key(0), X, K), X), name)
    result = jgmm.em(start, X, accelerate="anderson").check()
    errors = jgmm.standard_errors(result.params, X).errors.means
    expected = np.sqrt(np.diagonal(result.params.covariances, axis1=1, axis2=2) / 40)
    np.testing.assert_allclose(errors, expected, rtol=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_its_ellipses_are_drawn(name):
    params, X, _ = case(name)
    ax = Figure().subplots()
    jgmm.plot.clusters(params, X, ax=ax)
    assert len(ax.patches) >= K
