"""Laws of the tree of groups, and R mclust's partitions and likelihoods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DATA, raises
from sklearn.datasets import load_iris

import jgmm
from jgmm._starts import agglomerate as module
from jgmm._starts.agglomerate import agglomerate, cut
from jgmm._starts.hierarchical import _sample, _scaling, tree

MODELS = {"EII": "EII", "tied": "EEE", "diag": "VVI", "full": "VVV"}
KS = range(1, 10)  # of mclust's tables


def blobs(seed=0, n=60, d=3):
    """Rows in d + 1 groups far from each other, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(d + 1, size=n)
    return 12 * np.eye(d + 1)[labels, :d] + rng.normal(size=(n, d)), labels


def same(a, b):
    """Whether two labellings are one partition."""
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


def assert_same_trees(a, b, rows=slice(None)):
    assert a.num_groups == b.num_groups
    for k in range(1, a.num_groups + 1):
        assert same(a.labels(k)[rows], b.labels(k)), k


def criterion(rows, weight, labels):
    """The sum over groups of n log(|W / n| + (tr W + a) / n), written down as it is."""

    def scatter(rows, weight):
        centered = rows - np.average(rows, axis=0, weights=weight)
        return np.einsum("n,ni,nj->ij", weight, centered, centered)

    regular = np.trace(scatter(rows, weight)) / rows.shape[1] / weight.sum()
    value = 0
    for label in np.unique(labels):
        n = weight[labels == label].sum()
        W = scatter(rows[labels == label], weight[labels == label])
        value += n * np.log(np.linalg.det(W / n) + (np.trace(W) + regular) / n)
    return value


def greedy(rows, weight):
    """The partitions into m, m - 1, ... 1 groups, every pair tried at every step."""
    labels = np.arange(len(rows))
    partitions = [labels]
    while (groups := np.unique(labels)).size > 1:
        tried = [np.where(labels == j, i, labels) for j in groups for i in groups if i < j]
        labels = min(tried, key=lambda labels: criterion(rows, weight, labels))
        partitions.append(labels)
    return partitions


@pytest.mark.parametrize("d", [1, 2, 3])
def test_each_step_joins_the_pair_that_costs_least(d):
    rng = np.random.default_rng(d)
    rows, weight = 0.3 * rng.normal(size=(14, d)), rng.uniform(0.5, 3, 14)
    merges, rises = agglomerate(rows, weight)
    partitions = greedy(rows, weight)
    for k in range(1, 15):
        assert same(cut(merges, k), partitions[14 - k])
    values = [criterion(rows, weight, labels) for labels in partitions]
    np.testing.assert_allclose(rises, np.diff(values), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["one group grows and grows", "equal costs"])
def test_rows_that_are_not_searched_would_change_nothing(monkeypatch, kind):
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(13)] * 2), -1).reshape(-1, 2) / 8
    rows = grid if kind == "equal costs" else rng.standard_cauchy(size=(150, 3)) / 8
    merges, rises = agglomerate(rows, np.ones(len(rows)))

    class Searched(module.Pairs):
        def join(self, i, j, last, costs):
            super().join(i, j, last, costs)
            for row in range(1, last):
                self._search(row)

    monkeypatch.setattr(module, "Pairs", Searched)
    every, every_rise = agglomerate(rows, np.ones(len(rows)))
    np.testing.assert_array_equal(merges, every)
    np.testing.assert_array_equal(rises, every_rise)


def test_determinants_that_are_lost_beside_the_traces_are_rightly_left_out(monkeypatch):
    """Of seven features they are lost in most pairs; here all are formed, and the tree is the same."""
    rows = blobs(n=80, d=7)[0] / 5
    merges, rises = agglomerate(rows, np.ones(80))
    monkeypatch.setattr(module.Groups, "_counts", lambda self, trace, weight: np.ones_like(trace, bool))
    every, every_rise = agglomerate(rows, np.ones(80))
    np.testing.assert_array_equal(merges, every)
    np.testing.assert_allclose(rises, every_rise, rtol=0, atol=1e-11)


@pytest.fixture
def data(request):
    X = load_iris().data if request.param == "iris" else request.getfixturevalue("faithful")
    start = np.loadtxt(DATA / "mclust" / f"{request.param}_init_labels.csv", delimiter=",", skiprows=1, dtype=int)
    log_prob = np.genfromtxt(DATA / "mclust" / f"{request.param}_loglik_tight.csv", delimiter=",", names=True)
    return X, start, log_prob


@pytest.mark.parametrize("data", ["iris", "faithful"], indirect=True)
def test_from_rows_alone_the_partitions_are_mclusts(data):
    """This version of mclust begins with a group a row, equal rows too; label by label, ties included."""
    X, start, _ = data
    weight = np.ones(len(X))
    merges, _ = agglomerate(_scaling(X, weight)(X), weight)
    for k in KS:
        np.testing.assert_array_equal(cut(merges, k) + 1, start[:, k - 1])


@pytest.mark.parametrize("data", ["iris", "faithful"], indirect=True)
def test_rounding_does_not_decide_between_equal_costs(data):
    """Both are rounded measurements: many pairs cost the same, and which comes first decides the whole tree."""
    X, start, _ = data
    weight = np.ones(len(X))
    scaled = _scaling(X, weight)(X)
    rng = np.random.default_rng(0)
    for _ in range(8):
        merges, _ = agglomerate(scaled * (1 + 1e-15 * rng.normal(size=X.shape)), weight)
        np.testing.assert_array_equal(cut(merges, KS[-1]) + 1, start[:, -1])


@pytest.mark.parametrize("data", ["iris"], indirect=True)
def test_the_partitions_of_iris_are_mclusts(data):
    """Two of its rows are equal: too few to matter."""
    X, start, _ = data
    joined = tree(X)
    assert joined.num_groups == 149
    for k in KS:
        np.testing.assert_array_equal(joined.labels(k) + 1, start[:, k - 1])


def m_step_of(X, labels, cov, k):
    """The mixture of a partition, with as many components of weight zero as make it k: one program for all."""
    X = jnp.asarray(X)
    one_hot = jax.nn.one_hot(labels, k, dtype=X.dtype)
    center = jnp.broadcast_to(X.mean(0), (k, X.shape[1]))
    diff = X - center[0][None]
    scatter = jnp.einsum("nk,ni,nj->kij", one_hot, diff, diff)
    total = jnp.asarray(float(len(X)))
    return jgmm.m_step(jgmm.Stats(center, one_hot.sum(0), one_hot.T @ diff, scatter, total, jnp.zeros(())), cov)


@pytest.mark.parametrize(("data", "as_good"), [("iris", 36), ("faithful", 32)], indirect=["data"])
def test_em_arrives_where_it_does_from_mclusts_partitions(data, as_good):
    """Or higher, in that many of 36. Equal rows of Old Faithful are one group here, so its tree is another."""
    X, _, expected = data
    joined = tree(X)
    better = []
    for cov, model in MODELS.items():
        for k in KS:
            params = m_step_of(X, joined.labels(k), cov, KS[-1])
            result = jgmm.em(params, X, stop=jgmm.LogProbStop(1e-9), max_steps=20_000)
            better.append(float(result.stats.log_prob) - expected[model][k - 1])
    allowed = 1e-5 * np.concatenate([np.abs(expected[model]) for model in MODELS.values()])
    assert (np.array(better) >= -allowed).sum() >= as_good
    assert np.mean(better) >= -1e-5


def test_partitions_are_nested():
    joined = tree(blobs()[0])
    for k in range(1, joined.num_groups):
        coarse, fine = joined.labels(k), joined.labels(k + 1)
        assert fine.max() == k
        assert all(len(set(coarse[fine == label])) == 1 for label in range(k + 1))


def test_labels_follow_the_first_rows():
    labels = tree(blobs()[0]).labels(5)
    first = [np.flatnonzero(labels == label)[0] for label in range(5)]
    assert first == sorted(first)
    assert labels.dtype == np.int32


def test_clear_groups_are_found():
    X, labels = blobs(n=300)
    assert same(tree(X).labels(4), labels)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_units_and_origins_change_nothing(scale):
    X = blobs()[0]
    moved = np.ascontiguousarray((X * scale) * [1.0, 8.0, 0.25])
    assert_same_trees(tree(moved), tree(X))
    assert_same_trees(tree(X + 1e3), tree(X))


def test_the_order_of_rows_changes_nothing_but_the_order_of_labels():
    X = blobs()[0]
    order = np.random.default_rng(1).permutation(len(X))
    assert_same_trees(tree(X), tree(X[order]), rows=order)


def test_equal_rows_stay_together():
    X = blobs(n=40)[0]
    joined = tree(np.concatenate([X, X[::-1], X[:7]]))
    assert joined.num_groups == 40
    labels = joined.labels(40)
    np.testing.assert_array_equal(labels, np.concatenate([labels[:40], labels[:40][::-1], labels[:7]]))
    assert_same_trees(joined, tree(X, np.where(np.arange(40) < 7, 3, 2)), rows=slice(40))


def test_weight_two_is_the_row_twice():
    X = blobs(n=40)[0]
    weight = np.random.default_rng(1).integers(1, 4, 40)
    weighted = tree(X, weight)
    assert_same_trees(tree(np.repeat(X, weight, axis=0)), weighted, rows=np.cumsum(weight) - 1)
    assert not all(same(weighted.labels(k), tree(X).labels(k)) for k in range(1, 41))


@pytest.mark.parametrize("unit", [2.0**-20, 2.0**20])
def test_the_unit_of_the_weights_does_not_matter(unit):
    X = blobs(n=40)[0]
    weight = np.random.default_rng(1).uniform(0.1, 3, 40)
    assert_same_trees(tree(X, unit * weight), tree(X, weight))


def test_rows_of_weight_zero_join_nothing_and_get_the_nearest_label():
    X = blobs(n=40)[0]
    more = np.concatenate([X, X[:5] + 1e-6, np.full((1, 3), np.nan), np.full((1, 3), 1e6)])
    joined = tree(more, np.arange(47) < 40)
    assert_same_trees(joined, tree(X), rows=slice(40))
    np.testing.assert_array_equal(joined.labels(40)[40:45], joined.labels(40)[:5])
    assert set(joined.labels(6)[45:]) <= set(range(6))


@pytest.mark.parametrize("key", [None, 0])
def test_of_many_rows_a_sample_is_joined_and_the_others_follow(key):
    X, labels = blobs(n=2000)
    key = None if key is None else jax.random.key(key)
    joined, again = (tree(np.concatenate([X, X[:50]]), max_rows=100, key=key) for _ in range(2))
    assert joined.num_groups <= 100
    assert same(joined.labels(4)[:2000], labels)
    for k in (2, 4, 30):
        assert joined.labels(k).max() == k - 1
        np.testing.assert_array_equal(joined.labels(k), again.labels(k))
        np.testing.assert_array_equal(joined.labels(k)[2000:], joined.labels(k)[:50])


@pytest.mark.parametrize("key", [None, 0])
def test_a_sample_is_in_proportion_to_the_weights(key):
    weight = np.tile([0.0, 0.5, 1.0, 4.0, 2.5], 80)  # 320 rows that are there, 640 in all
    sample, drawn = _sample(weight, 160, None if key is None else jax.random.key(key))
    times = np.bincount(sample, drawn, minlength=400)
    assert times.sum() == 160
    assert np.all(np.abs(times - weight / 4) <= 1)
    assert not times[weight == 0].any()


@pytest.mark.parametrize(
    "change",
    [
        lambda X: np.concatenate([X, np.full((len(X), 1), 7.1)], 1),  # constant
        lambda X: np.concatenate([X, X.sum(1, keepdims=True)], 1),  # a combination
        lambda X: np.concatenate([X, np.zeros((len(X), 30))], 1),
    ],
)
def test_features_that_say_nothing_new_do_no_harm(change):
    X, labels = blobs()
    assert same(tree(change(X)).labels(4), labels)


def test_more_features_than_rows():
    X = np.random.default_rng(0).normal(size=(8, 20)) + 6 * (np.arange(8) % 2)[:, None]
    np.testing.assert_array_equal(tree(X).labels(2), np.arange(8) % 2)
    assert tree(X).num_groups == 8


def test_float32_and_integers():
    X, labels = blobs()
    assert same(tree(X.astype(np.float32)).labels(4), labels)
    assert same(tree(jnp.asarray((100 * X).round().astype(int))).labels(4), labels)


def test_weights_of_very_different_size_give_labels():
    X = blobs(n=80, d=12)[0]
    X[::8] *= 1e3
    labels = tree(X, np.where(np.arange(80) % 8, 1, 1e-9)).labels(9)
    assert set(labels) == set(range(9))


def test_rows_that_are_all_equal_are_one_group():
    joined = tree(np.ones((5, 2)))
    assert (joined.num_groups, joined.labels(1).tolist()) == (1, [0] * 5)
    raises(ValueError, ["at most the 1 distinct rows", "got 2", "fewer components"], joined.labels, 2)


def test_bad_input_says_what_was_expected():
    X = blobs(n=12)[0]
    raises(ValueError, ["at most the 12 distinct rows", "got 13"], tree(X).labels, 13)
    raises(ValueError, ["num_components must be at least 1, got 0"], tree(X).labels, 0)
    raises(ValueError, ["X must be 2-D"], tree, X[:, 0])
    raises(ValueError, ["X must be finite"], tree, np.where(X > 1, np.nan, X))
    raises(ValueError, ["max_rows must be at least 2, got 1"], tree, X, max_rows=1)
    raises(TypeError, ["key must be a JAX random key"], tree, X, key=0)
    raises(TypeError, ["outside jit"], jax.jit(lambda X: tree(X).labels(2)), X)
