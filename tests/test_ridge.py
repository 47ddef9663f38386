"""The default ridge keeps a fit defined, on a scale that far rows do not move, and changes no sound answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, close

import jgmm
from jgmm import ComponentStatus, Status

KEYS = jax.random.split(jax.random.key(0), 5)


def scale(X, sample_weight=None):
    """The standard deviation that the ridge is measured by."""
    return np.sqrt(jgmm.relative_ridge(X, 1.0, sample_weight))


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("share", [0.006, 1 / 3, 0.5])
@pytest.mark.parametrize("distance", [1e2, 1e6, 1e12])
def test_neither_a_few_far_rows_nor_a_far_cluster_move_the_scale(share, distance):
    X = normal(0, 1000, 2)
    X[: int(1000 * share)] += distance
    assert (np.abs(np.log2(scale(X))) < 1.5).all()


def test_three_clusters_far_from_each_other_leave_the_scale_of_each():
    X = normal(0, 999, 1) + np.repeat([0.0, 1e6, -3e8], 333)[:, None]
    assert (np.abs(np.log2(scale(X))) < 2).all()


def test_columns_of_few_values_have_their_standard_deviation_and_constant_ones_the_mean_of_the_others():
    rng = np.random.default_rng(0)
    two, rare, clipped = rng.random(600) < 0.3, rng.random(600) < 0.01, np.maximum(0, rng.normal(-1.5, 1, 600))
    X = np.stack([two, rare, clipped, np.full(600, 7.0)], 1)
    expected = X.var(0)
    expected[3] = expected[:3].mean()
    close(scale(X) ** 2, expected, "float64")


@pytest.mark.parametrize("n", [40, 300])  # the spread is taken between all rows, or between some
def test_a_weight_of_two_is_twice_the_row_and_units_do_not_matter(n, dtype):
    X, weight = normal(1, n, 3).astype(dtype), np.random.default_rng(0).integers(0, 3, n)
    once = scale(X, weight)
    close(scale(np.repeat(X, weight, 0)), once, dtype)
    units = np.array([1e-6, 3.0, 1e5], dtype)
    close(scale(X * units, weight) / units, once, dtype)


def test_the_default_is_a_millionth_or_what_rounding_needs():
    X = normal(0, 50, 20)
    close(jgmm.relative_ridge(X), 1e-6 * scale(X) ** 2, "float64")
    X = X.astype("float32")
    close(jgmm.relative_ridge(X), 80 * np.finfo("float32").eps * scale(X) ** 2, "float32")


def test_a_far_cluster_does_not_bend_the_others(dtype):
    X = np.concatenate([normal(0, 150, 1), normal(1, 150, 1) + 8, normal(2, 100, 1) + 20_000])
    exact = [part.var() for part in np.split(X, [150, 300])[:2]]
    fits = jax.jit(jax.vmap(lambda key, X: jgmm.fit(key, X, 3), (0, None)))(KEYS, X.astype(dtype)).check()
    for means, variances in zip(fits.params.means[..., 0], fits.params.cov.cov[..., 0, 0], strict=True):
        order = np.argsort(means)
        np.testing.assert_allclose(means[order], [0, 8, 20_000], atol=0.2)
        np.testing.assert_allclose(variances[order][:2], exact, rtol=0.02)
    assert not fits.component_status.any()


@pytest.mark.parametrize("distance", [1e4, 2e4, 1e5])
def test_three_far_rows_do_not_bend_the_bulk(distance):
    bulk = normal(0, 497, 2)
    result = jgmm.fit(KEYS[0], np.concatenate([bulk, normal(1, 3, 2) + np.array([distance, 0])]), 2)
    (covariance,) = result.params.covariances[result.params.weights > 0.5]
    np.testing.assert_allclose(covariance, np.cov(bulk.T, ddof=0), atol=0.02)


@pytest.mark.parametrize("far", [1e6, 1e12])
@pytest.mark.parametrize("cov", FAMILIES)
def test_one_row_at_any_distance_is_told_and_leaves_the_blobs_alone(cov, far, dtype):
    blobs = [normal(0, 100, 2), normal(1, 100, 2) + np.array([10, 0])]
    result = jgmm.fit(KEYS[0], np.concatenate([*blobs, [[far, far]]]).astype(dtype), 3, cov=cov)
    status, code = Status(int(result.status)), np.asarray(result.component_status)
    if cov == "tied" and far == 1e12 and dtype == "float32":  # one cell of the numbers there is 65,536 long
        assert status == Status.DEGENERATE
        return
    alone, *pair = np.argsort(result.params.weights)
    assert not code[pair].any()
    if cov != "tied":
        assert status == Status.DEGENERATE
        assert code[alone] in (ComponentStatus.FLOORED, ComponentStatus.KEPT)
    order = sorted(pair, key=lambda k: float(result.params.means[k, 0]))
    for k, blob in zip(order, blobs, strict=True):
        np.testing.assert_allclose(result.params.means[k], blob.mean(0), atol=0.01)
        expected = blob.var(0) if cov in ("full", "diag") else np.mean([b.var(0) for b in blobs], 0)
        expected = expected if cov != "spherical" else blob.var(0).mean()
        np.testing.assert_allclose(np.diag(result.params.covariances[k]), expected, rtol=0.02)


def one_hot():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 5, 370)
    columns = []
    for _ in range(6):
        chances = rng.dirichlet(np.full(10, 0.4), 5)
        columns.append(np.eye(10)[[rng.choice(10, p=chances[g]) for g in group]])
    return np.concatenate(columns, 1), 10


def clipped():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(250, 100)) @ rng.normal(size=(100, 100)) / 10
    return np.maximum(0, mixed + rng.normal(size=100) / 2), 5


@pytest.mark.parametrize("data", [one_hot, clipped])
def test_many_features_in_float32_are_kept_by_the_ridge_and_not_by_chance(data):
    """A ridge below rounding let covariances fail, and the fit end with those of long before."""
    X, k = data()
    X = X.astype("float32")
    result = jgmm.fit(KEYS[0], X, k)
    assert set(result.component_status.tolist()) == {ComponentStatus.FLOORED}
    larger = jgmm.fit(KEYS[0], X, k, ridge=4 * jgmm.relative_ridge(X))
    assert float(result.mean_log_prob) > float(larger.mean_log_prob)


@pytest.mark.parametrize(("share", "code"), [(0.005, "OK"), (0.02, "RIDGED"), (0.4, "RIDGED"), (0.6, "FLOORED")])
@pytest.mark.parametrize("cov", ["full", "diag", "spherical"])
def test_a_ridge_of_more_than_a_hundredth_of_a_variance_is_told_and_of_most_is_a_failure(cov, share, code):
    X = jnp.asarray(np.concatenate([normal(0, 60, 2), 5 + 0.01 * normal(1, 60, 2)]))
    start = jgmm.init.kmeans(KEYS[0], X, 2, cov=cov)
    start = jax.tree.map(lambda leaf: leaf[np.argsort(start.means[:, 0])], start)
    # Beside the data's least variance v the ridge r has the share r / (v + r).
    tight = X[60:].var(0).mean() if cov == "spherical" else jnp.linalg.eigvalsh(jnp.cov(X[60:].T, ddof=0))[0]
    tight = X[60:].var(0).min() if cov == "diag" else tight
    result = jgmm.em(start, X, ridge=share / (1 - share) * tight)
    assert result.component_status.tolist() == [ComponentStatus.OK, ComponentStatus[code]]
    assert Status(int(result.status)) == (Status.DEGENERATE if code == "FLOORED" else Status.CONVERGED)
    told = "more than a hundredth" in str(result)
    assert told == (code == "RIDGED")
