"""Degenerate data: a status that says so or a sound fit, and never a NaN that is called converged."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, random_data

import jgmm
from jgmm import ComponentStatus, Status

KEY = jax.random.key(0)
STOP = jgmm.LogProbStop(1e-6)


def blobs():
    return np.array(random_data(0, 120, 3, 3, separation=6.0)[0])


def constant_column(X):
    X[:, 1] = 7.0


def duplicated_rows(X):
    X[:50] = X[0]


def identical_rows(X):
    X[:] = 2.5


def equal_columns(X):
    X[:, 2] = X[:, 0]


def far_outlier(X):
    X[0] = 1e8


def tight_and_wide(X):
    rng = np.random.default_rng(1)
    X[:60], X[60:] = rng.normal(0, 1e-4, (60, 3)), rng.normal(5, 1e4, (60, 3))


def uneven_scales(X):
    X *= np.array([1e-4, 1.0, 1e4])


def huge(X):
    X *= 1e12


def tiny(X):
    X *= 1e-12


def zeros(X):
    X[:] = 0


def few_rows(X):
    """Only k rows have weight: see `DAYS`."""


ALL = [
    constant_column, duplicated_rows, identical_rows, equal_columns, far_outlier, tight_and_wide, uneven_scales,
    huge, tiny, zeros, few_rows,
]  # fmt: skip
SOUND = {duplicated_rows, uneven_scales, huge, tiny}
FLAT = {constant_column, equal_columns, identical_rows, zeros, few_rows}


def day(spoil):
    X = blobs()
    spoil(X)
    return X


DAYS = np.stack([day(spoil) for spoil in ALL])
WEIGHTS = np.stack([np.arange(120) % 40 == 0 if spoil is few_rows else np.ones(120) for spoil in ALL]).astype(float)


def fits(cov, dtype):
    """All days in one program: ``vmap`` over data sets, weights, and no ridge beside the default one."""

    def one(X, weight, share):
        ridge = share * jgmm.relative_ridge(X, sample_weight=weight)
        return jgmm.fit(KEY, X, 3, cov=cov, num_init=2, ridge=ridge, sample_weight=weight, stop=STOP, max_steps=100)

    each = jax.jit(jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None)))
    results = each(DAYS.astype(dtype), WEIGHTS.astype(dtype), np.arange(2, dtype=dtype))
    for i, spoil in enumerate(ALL):
        for share in range(2):
            yield spoil, share, jax.tree.map(operator.itemgetter((i, share)), results)


def test_every_number_that_comes_back_is_finite(cov, dtype):
    for spoil, ridged, result in fits(cov, dtype):
        status = Status(int(result.status))
        where = f"{spoil.__name__}: {status.name}"
        finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((result.params, result.stats)))
        if ridged:  # the default ridge makes every one of these a proper fit
            assert status <= Status.DEGENERATE, where
            result.params.check()
        else:  # without one, no start may exist; then the status says so
            assert finite or status in (Status.INVALID_START, Status.NON_FINITE), where
        assert finite or status > Status.DEGENERATE, where
        if ridged and spoil in SOUND and cov != "spherical":
            assert status in (Status.CONVERGED, Status.MAX_STEPS), where
        if ridged and spoil in FLAT and cov == "full":
            assert status == Status.DEGENERATE, where
            assert ComponentStatus.FLOORED in np.asarray(result.component_status), where


def test_the_default_ridge_is_the_relative_one():
    X = day(duplicated_rows)
    given = jgmm.fit(KEY, X, 3, num_init=2, ridge=jgmm.relative_ridge(X), max_steps=3)
    close(jgmm.fit(KEY, X, 3, num_init=2, max_steps=3).params, given.params, "float64", loss=1e3)


def test_a_direction_without_spread_is_reported_with_the_remedy():
    result = jgmm.fit(KEY, day(constant_column), 3, num_init=2)
    with pytest.raises(jgmm.FitError, match=r"DEGENERATE.*larger ridge.*Component 0: collapsed"):
        result.check()


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_an_offset_changes_nothing_but_the_means(cov, offset):
    X = blobs()
    X, moved = jnp.asarray(X), jnp.asarray(X + offset)
    start = jgmm.init.kmeans(KEY, X, 3, cov=cov)
    there = jgmm.GMM(start.weights, start.means + offset, start.cov)
    here = jgmm.em(start, X, max_steps=20)
    result = jgmm.em(there, moved, max_steps=20)
    loss = offset  # the data themselves are rounded at offset * eps
    close(result.params.covariances, here.params.covariances, "float64", loss=loss)
    close(result.params.means - offset, here.params.means, "float64", loss=loss)
    close(result.mean_log_prob, here.mean_log_prob, "float64", loss=loss)


def test_a_covariance_far_from_the_origin_keeps_its_digits(dtype):
    """One step of N(0, 1) rows at 2^20 (float64) or 2^16 (float32), against exact sums."""
    offset = {"float32": 2.0**16, "float64": 2.0**20}[dtype.name]
    rows = (np.round(np.random.default_rng(0).normal(size=(500, 2)) * 64) / 64).astype(dtype)
    start = jgmm.GMM(np.ones(1, dtype), np.full((1, 2), offset, dtype), jgmm.Full(np.eye(2, dtype=dtype)[None]))
    params = jgmm.step(start, rows + dtype.type(offset))
    close(params.covariances[0], np.cov(rows.astype("float64").T, ddof=0), dtype)


def test_the_default_ridge_rescales_with_the_data(cov):
    X = blobs()
    scale = np.full(3, 1e-6) if cov == "spherical" else np.array([1e-6, 1.0, 1e6])
    here, there = (jgmm.fit(KEY, data, 3, cov=cov, num_init=2) for data in (X, X * scale))
    # Which of two equally good starts wins, and with it the order of the components, is a matter of the last bit.
    first, second = (np.argsort(result.params.means[:, 0]) for result in (here, there))
    close(np.asarray(there.params.means)[second] / scale, here.params.means[first], "float64", loss=1e4)
    covariances = np.asarray(there.params.covariances)[second] / np.outer(scale, scale)
    close(covariances, here.params.covariances[first], "float64", loss=1e4)
    close(there.mean_log_prob + np.log(scale).sum(), here.mean_log_prob, "float64", loss=1e4)


def test_a_collapsing_component_keeps_its_last_good_covariance_and_the_others_do_not_notice():
    """Thirty copies of one row, no ridge: the likelihood has no maximum, and EM must not run into it."""
    X = np.concatenate([blobs(), np.full((30, 3), 40.0)])
    start = jgmm.init.kmeans(KEY, X, 4)
    result = jgmm.em(start, X)
    code = np.asarray(result.component_status)
    (collapsed,) = np.flatnonzero(code == ComponentStatus.KEPT)
    assert Status(int(result.status)) == Status.DEGENERATE
    np.testing.assert_allclose(result.params.means[collapsed], 40.0)
    np.testing.assert_allclose(result.params.weights[collapsed], 0.2)
    others = np.delete(np.arange(4), collapsed)
    alone = jgmm.em(
        jgmm.GMM(start.weights[others] / 0.8, start.means[others], jgmm.Full(start.cov.cov[others])), blobs()
    )
    close(result.params.means[others], alone.params.means, "float64", loss=1e5)
    close(result.params.cov.cov[others], alone.params.cov.cov, "float64", loss=1e5)


def test_an_emptied_component_stays_where_it_was():
    X = blobs()
    start = jgmm.init.kmeans(KEY, X, 3)
    far = jnp.full((1, 3), 1e3)
    four = jgmm.GMM(
        jnp.append(start.weights * 0.9, 0.1), jnp.concatenate([start.means, far]),
        jgmm.Full(jnp.concatenate([start.cov.cov, jnp.eye(3)[None]])),
    )  # fmt: skip
    result = jgmm.em(four, X)
    assert result.component_status.tolist() == [0, 0, 0, ComponentStatus.EMPTY]
    assert float(result.params.weights[3]) == 0.0
    np.testing.assert_array_equal(result.params.means[3:], far)
    close(result.params.means[:3], jgmm.em(start, X).params.means, "float64", loss=1e5)
    assert np.isfinite(jgmm.log_prob(result.params, X)).all()


def test_a_failed_start_never_wins():
    """One start in two is not a mixture at all. (Degenerate ones: see `test_restarts`.)"""

    def start(key, X, k, *, cov, sample_weight):
        good = jgmm.init.kmeans(KEY, X, k, cov=cov, sample_weight=sample_weight)
        bad = jax.random.bernoulli(key, 0.5)
        return jgmm.GMM(good.weights, jnp.where(bad, jnp.nan, good.means), good.cov)

    result = jgmm.fit(jax.random.key(1), blobs(), 3, init=start, num_init=8, race=())
    codes = result.restarts.status.tolist()
    assert Status.INVALID_START in codes
    assert Status.CONVERGED in codes
    result.check()


def test_components_of_very_different_size_are_both_found(dtype):
    X = day(tight_and_wide).astype(dtype)
    # The default ridge, 1e-6 of the variance, would floor a component 1e-8 as wide as the data.
    result = jgmm.fit(KEY, X, 2, cov="spherical", init="random_points", num_init=16, max_steps=2000, ridge=0.0)
    sd = np.sort(np.sqrt(np.asarray(result.check().params.cov.var, np.float64)))
    assert 0.5e-4 < sd[0] < 2e-4
    assert 0.5e4 < sd[1] < 2e4
