"""Laws of the initialisers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, random_data
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import jgmm
from jgmm._expectation.moments import frame_of, moments_of
from jgmm._starts.makers import DISTANT, GREEDY, STARTS, draws

NAMES = [*STARTS, "hierarchical"]
KEY = jax.random.key(0)
N, D, K = 90, 2, 3


@pytest.fixture(params=NAMES)
def init(request):
    return getattr(jgmm.init, request.param)


def data(dtype="float64"):
    return random_data(0, N, D, K, dtype, separation=8.0)


def test_a_start_is_a_mixture_of_the_family_and_dtype(init, cov, dtype):
    params = init(KEY, data(dtype)[0], K, cov=cov).check()
    assert (params.num_components, params.num_features) == (K, D)
    assert type(params.cov).__name__.lower() == cov
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(params))


def test_rows_of_weight_zero_are_absent(init):
    X = data()[0]
    padded = jnp.concatenate([X, 1e3 * jnp.ones((20, D)), jnp.full((5, D), jnp.nan)])
    weight = jnp.concatenate([jnp.ones(N), jnp.zeros(25)])
    close(init(KEY, padded, K, sample_weight=weight), init(KEY, X, K), "float64")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random_resp"])
def test_weight_two_is_the_row_twice(name):
    X = data()[0]
    weight = np.random.default_rng(1).multinomial(N, np.full(N, 1 / N))  # as many rows: the same program
    init = getattr(jgmm.init, name)
    close(init(KEY, X, K, sample_weight=weight), init(KEY, jnp.repeat(X, weight, axis=0), K), "float64", loss=10)


def test_weight_two_counts_twice_in_a_random_partition():
    """The partition itself is drawn by row, so only its sums can be compared."""
    X, weight = data()[0], np.random.default_rng(1).integers(1, 4, N)
    params = jgmm.init.random_resp(KEY, X, K, sample_weight=weight)
    close(params.weights @ params.means, np.average(X, axis=0, weights=weight), "float64")


@pytest.mark.parametrize("name", ["kmeans", "kmeans_plusplus"])
def test_a_feature_of_large_numbers_does_not_decide_alone(name):
    X, labels = data()
    noise = np.random.default_rng(2).normal(size=(N, 1))
    small, large = (jnp.concatenate([X, scale * noise], axis=1) for scale in (1.0, 1e6))
    init = getattr(jgmm.init, name)
    here, there = init(KEY, small, K), init(KEY, large, K)
    close(there.means[:, :D], here.means[:, :D], "float64", loss=10)
    assert adjusted_rand_score(labels, jgmm.predict(there, large)) > 0.5  # by the large feature alone: 0


@pytest.mark.parametrize("name", ["kmeans", "kmeans_plusplus", "mixed"])
def test_a_scale_keeps_the_unit_that_features_share(name):
    """A small feature of noise decides nothing where distances are taken in the data's own unit."""
    X, noise = data()[0], 1e-3 * np.random.default_rng(2).normal(size=(N, 4))
    init = getattr(jgmm.init, name)
    wide = jnp.concatenate([X, noise], axis=1)
    close(init(KEY, wide, K, scale=1.0).means[:, :D], init(KEY, X, K, scale=1.0).means, "float64")
    close(init(KEY, 1e3 * X, K, scale=1e3).means, 1e3 * init(KEY, X, K, scale=1.0).means, "float64")
    close(init(KEY, X, K, scale=X.std(0)), init(KEY, X, K), "float64")  # the default
    fitted = jgmm.fit(KEY, wide, K, init=partial(init, scale=1.0), num_init=1, max_steps=0, race=())
    close(fitted.params.weights.sum(), 1.0, "float64")


def test_kmeans_is_as_good_as_scikit_learns():
    X, _ = random_data(3, 400, 4, 8, separation=2.0)
    X = (X - X.mean(0)[None]) / X.std(0)[None]
    peers = [KMeans(8, n_init=1, random_state=s).fit(X).inertia_ for s in range(20)]

    def inertia(key):
        means = jgmm.init.kmeans(key, X, 8).means
        return ((X[:, None] - means[None]) ** 2).sum(-1).min(1).sum()

    ours = jax.vmap(inertia)(jax.random.split(KEY, 20))
    assert np.median(ours) <= np.median(peers) * 1.02


def test_random_points_are_rows_of_different_values():
    X = jnp.repeat(jnp.arange(5.0)[:, None], 20, axis=0)
    for key in jax.random.split(KEY, 5):
        assert sorted(jgmm.init.random_points(key, X, 5).means[:, 0].tolist()) == [0, 1, 2, 3, 4]


def test_rows_are_drawn_in_proportion_to_their_weights():
    X, weight = jnp.arange(4.0)[:, None], jnp.array([1.0, 0.0, 2.0, 5.0])
    draws = jax.vmap(lambda key: jgmm.init.random_points(key, X, 1, sample_weight=weight).means[0, 0])(
        jax.random.split(KEY, 4000)
    )
    share = np.bincount(np.asarray(draws, int), minlength=4) / 4000
    assert share[1] == 0
    np.testing.assert_allclose(share, weight / 8, atol=0.03)


def test_random_groups_are_of_equal_size():
    params = jgmm.init.random_resp(KEY, data()[0], K)
    close(params.weights, np.full(K, 1 / K), "float64")


@pytest.mark.parametrize("rows", [K, K + 1])
def test_hardly_more_rows_than_components(init, rows):
    init(KEY, data()[0][:rows], K).check()


def test_identical_rows(init):
    init(KEY, jnp.full((10, D), 3.0), K).check()


@pytest.mark.parametrize("kind", [0.0, 0.5, 0.9])
def test_a_mixed_start_is_one_of_three_kinds(kind):
    X, weight = data()[0], jnp.ones(N)
    moments = moments_of(frame_of(jgmm.Full, X, weight))
    u = jax.random.uniform(KEY, draws("mixed", N, K), float).at[0, -1].set(kind)
    mixed, greedy = (STARTS[name](u, X, weight, moments, K, jgmm.Full) for name in ("mixed", "kmeans_plusplus"))
    same = np.array_equal(mixed.center, greedy.center)
    assert same == (kind < GREEDY)
    rows = [np.flatnonzero((np.asarray(X) == center).all(1)) for center in np.asarray(mixed.center)]
    assert len(np.unique(np.concatenate(rows))) == K
    if kind > GREEDY + DISTANT:  # any rows: one is drawn in proportion to the weights, however near to another
        first = int(u[1, 0] * (N - 1))  # one has been drawn
        assert abs(int(rows[1][0]) - first) <= 1
