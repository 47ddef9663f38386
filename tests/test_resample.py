"""Resamples are weights: what they sum to, what they leave out, and the errors that they estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, raises, random_data

import jgmm
from jgmm import resample

KEY = jax.random.key(0)
FREQUENCIES = jnp.array([1.0, 0.0, 2.0, 3.0, 0.0, 1.0])
CALLS = {
    "bootstrap": lambda w, key=KEY: resample.bootstrap(key, len(w), 4, sample_weight=w),
    "bayesian": lambda w, key=KEY: resample.bootstrap(key, len(w), 4, sample_weight=w, bayesian=True),
    "jackknife": lambda w, key=KEY: resample.jackknife(len(w), sample_weight=w),
    "cross_validation": lambda w, key=KEY: resample.cross_validation(key, len(w), 3, sample_weight=w),
}
X = np.asarray(random_data(0, 30, 2, 1)[0])


def mean(weights):
    """The weighted mean of the first feature, for each resample."""
    return weights @ X[:, 0] / weights.sum(1)


@pytest.mark.parametrize("bayesian", [False, True])
def test_bootstrap_weights_keep_the_total_and_are_unbiased(bayesian):
    for given in (None, FREQUENCIES, jnp.array([0.5, 0.0, 20.0, 3.25, 0.0, 1.0])):
        weights = resample.bootstrap(KEY, 6, 4000, sample_weight=given, bayesian=bayesian)
        expected = jnp.ones(6) if given is None else given
        close(weights.sum(1), jnp.full(4000, expected.sum()), "float64")
        error = np.asarray(weights.std(0)) / 4000**0.5
        assert (np.abs(weights.mean(0) - expected) <= 4.5 * error + 1e-12).all()
        assert (weights[:, expected == 0] == 0).all()


def test_bootstrap_weights_are_counts_with_the_variance_of_draws():
    """Var w_i = N p (1 - p), Cov = -N p_i p_j; and N / (N + 1) of that for the Dirichlet weights, times s."""
    total = FREQUENCIES.sum()
    share = np.asarray(FREQUENCIES / total)
    cov = total * (np.diag(share) - np.outer(share, share))
    drawn = resample.bootstrap(KEY, 6, 20_000, sample_weight=FREQUENCIES)
    assert (drawn == jnp.round(drawn)).all()
    np.testing.assert_allclose(np.cov(drawn.T), cov, atol=0.06)
    smooth = resample.bootstrap(KEY, 6, 20_000, sample_weight=FREQUENCIES, bayesian=True)
    np.testing.assert_allclose(np.cov(smooth.T), cov * total / (total + 1), atol=0.06)


def test_standard_errors_of_a_mean():
    """Bootstrap: s sqrt((n - 1) / n) / sqrt(n), up to its own noise; jackknife: s / sqrt(n) exactly."""
    n, error = len(X), X[:, 0].std(ddof=1) / len(X) ** 0.5
    values = np.asarray(mean(resample.jackknife(n)))
    close(np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum()), error, "float64")
    for bayesian in (False, True):
        spread = mean(resample.bootstrap(KEY, n, 2000, bayesian=bayesian)).std()
        assert abs(spread / error - 1) < 0.07


def test_the_jackknife_of_frequencies_is_that_of_the_rows_written_out():
    repeats = np.asarray(FREQUENCIES, int)
    values, weight = X[:6, 0], np.asarray(FREQUENCIES)
    written = np.repeat(values, repeats)
    N = len(written)
    weights = np.asarray(resample.jackknife(6, sample_weight=FREQUENCIES))
    found = weights @ values / weights.sum(1)
    center = weight @ found / N
    close((N - 1) / N * (weight @ (found - center) ** 2), written.var(ddof=1) / N, "float64")
    assert (weights >= 0).all()


def test_every_row_is_held_out_once_and_folds_are_balanced():
    for given, folds in ((None, 4), (FREQUENCIES, 3), (None, 6)):
        weights = np.asarray(resample.cross_validation(KEY, 6, folds, sample_weight=given))
        whole = np.ones(6) if given is None else np.asarray(given)
        held_out = whole - weights
        close(held_out.sum(0), whole, "float64")
        assert (jnp.isin(held_out, jnp.array([0.0])) | (held_out == whole)).all()
        sizes = (held_out > 0).sum(1)
        assert sizes.min() >= 1
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == (whole > 0).sum()


def test_folds_are_dealt_at_random():
    held_out = jax.vmap(lambda key: resample.cross_validation(key, 6, 2)[0] == 0)(jax.random.split(KEY, 2000))
    np.testing.assert_allclose(held_out.mean(0), 0.5, atol=0.05)
    close(jnp.cov(held_out.T)[0, 1], -0.05, "float64", scale=1e11)  # 3 of 6 without replacement: p (1 - p) / 5


@pytest.mark.parametrize("name", CALLS)
def test_the_same_key_gives_the_same_weights_in_the_dtype_given(name, dtype):
    given = FREQUENCIES.astype(dtype)
    weights = CALLS[name](given)
    assert weights.dtype == dtype
    np.testing.assert_array_equal(CALLS[name](given), weights)
    close(jax.jit(CALLS[name])(given), weights, dtype)
    if name != "jackknife":
        assert (CALLS[name](given, jax.random.key(1)) != weights).any()


@pytest.mark.parametrize("name", CALLS)
def test_vmap_over_frequencies_equals_a_loop(name):
    lanes = jnp.stack([FREQUENCIES, FREQUENCIES[::-1], 3 * FREQUENCIES])
    for found, lane in zip(jax.vmap(CALLS[name])(lanes), lanes, strict=True):
        close(found, CALLS[name](lane), "float64")


def test_a_padded_data_set_is_resampled_as_if_it_ended_there():
    """Rows of weight zero at the end change nothing but the shape, for the jackknife and, in law, for the others."""
    padded = jnp.concatenate([jnp.ones(4), jnp.zeros(2)])
    close(resample.jackknife(6, sample_weight=padded)[:4, :4], resample.jackknife(4), "float64")
    assert (CALLS["bootstrap"](padded).sum(1) == 4).all()
    train = resample.cross_validation(KEY, 6, 4, sample_weight=padded)
    np.testing.assert_array_equal(train.sum(1), jnp.full(4, 3.0))


def test_refits_are_one_vmap():
    """The spread of k = 1 means over resamples is the standard error: em of weights is em of the rows drawn."""
    one = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Full(jnp.eye(2)[None]))
    weights = resample.bootstrap(KEY, len(X), 8)
    refits = jax.vmap(lambda w: jgmm.em(one, X, w, max_steps=2).params)(weights)
    rows = np.repeat(X, np.asarray(weights[3], int), axis=0)
    close(refits.means[3, 0], rows.mean(0), "float64")
    close(refits.cov.cov[3, 0], np.cov(rows.T, bias=True), "float64")


def test_what_is_no_frequency_ends_in_nan_inside_jit():
    for bad in (jnp.nan, jnp.inf):
        assert jnp.isnan(jax.jit(CALLS["bootstrap"])(FREQUENCIES.at[1].set(bad))).any()


def test_what_cannot_be_meant_is_refused():
    raises(ValueError, ["n must be at least 1"], resample.jackknife, 0)
    raises(TypeError, ["n must be a Python integer"], resample.bootstrap, KEY, 2.0, 3)
    raises(ValueError, ["num_resamples must be at least 1"], resample.bootstrap, KEY, 5, 0)
    raises(ValueError, ["num_folds must be at least 2"], resample.cross_validation, KEY, 5, 1)
    raises(ValueError, ["at most", "positive weight, 5", "got 6"], resample.cross_validation, KEY, 5, 6)
    raises(ValueError, ["positive weight, 4"], lambda: resample.cross_validation(KEY, 6, 5, sample_weight=FREQUENCIES))
    raises(ValueError, ["sample_weight", "shape (5,)"], lambda: resample.jackknife(5, sample_weight=FREQUENCIES))
    raises(ValueError, ["not negative"], lambda: resample.bootstrap(KEY, 6, 2, sample_weight=-FREQUENCIES))
    raises(TypeError, ["sample_weight must hold"], lambda: resample.bootstrap(KEY, 1, 2, sample_weight=["a"]))
