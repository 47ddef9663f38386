"""A fit of a stream: a sample in one pass, `fit` of it, and exact sweeps over all rows."""

import jax
import numpy as np
import pytest
from helpers import Breaking, D, K, N, case, close, raises, random_data
from values import assert_same

import jgmm
from jgmm._stream.progress import Reporter
from jgmm._stream.sample import sample_stream
from jgmm._stream.source import Stream

KEY = jax.random.key(0)
FAST = {"num_init": 2, "init": "kmeans", "race": ()}
SMALL = np.asarray(case()[2])


def sample(batches, size, seed=0):
    return sample_stream(Stream(batches), size, seed, Reporter(False, 1))


def test_a_sample_of_all_rows_is_all_of_them():
    X, w = SMALL, np.asarray(case()[3])
    rows, weight, least = sample([(X[:9], w[:9]), (X[9:], w[9:])], N)
    assert least == 0
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(weight, w)


@pytest.mark.parametrize("size", [1, 5, 22])
def test_a_sample_does_not_depend_on_the_split_or_on_absent_rows(size):
    X, w = SMALL, np.asarray(case()[3])
    rows, _, _ = sample([(X, w)], size)
    assert rows.shape == (size, D)
    assert len({tuple(row) for row in rows} & {tuple(row) for row in X}) == size
    gap = np.full((2, D), np.nan), np.zeros(2)
    holed = np.concatenate([X[:3], gap[0], X[3:]]), np.concatenate([w[:3], gap[1], w[3:]])
    for batches in (
        [(X[i : i + 1], w[i : i + 1]) for i in range(N)],
        [gap, (X[:9], w[:9]), gap, (X[9:], w[9:])],
        [holed],
    ):
        np.testing.assert_array_equal(sample(batches, size)[0], rows)


def test_sums_over_samples_are_without_bias():
    """Of rows of different weights: the mean over many samples is what they weigh."""
    X, w = np.arange(20.0)[:, None], np.linspace(0.1, 4, 20)
    found = np.zeros((2000, 20))
    for seed in range(len(found)):
        rows, weight, least = sample([(X, w)], 7, seed)
        found[seed, rows[:, 0].astype(int)] = weight
        assert weight.min() >= least > 0
    error = np.abs(found.mean(0) - w)
    assert (error < 5 * found.std(0) / len(found) ** 0.5).all()


def test_equal_weights_give_equal_chances_and_equal_weights():
    counts = np.zeros(20)
    for seed in range(2000):
        rows, weight, least = sample([np.arange(20.0)[:, None]], 5, seed)
        counts[rows[:, 0].astype(int)] += 1
        np.testing.assert_array_equal(weight, np.full(5, least))
    assert abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)


def test_of_few_rows_it_is_the_fit_of_all(dtype):
    X = SMALL.astype(dtype)
    whole = jgmm.fit(KEY, X, K, **FAST)
    stream = jgmm.fit_stream(KEY, jgmm.batches(X, 7), K, **FAST)
    assert stream.params.means.dtype == dtype
    assert abs(float(stream.mean_log_prob) - float(whole.mean_log_prob)) < (1e-5 if dtype == np.float32 else 1e-8)
    close(stream.params.means, whole.params.means, "float32", loss=10)
    close(stream.restarts, whole.restarts, dtype)
    assert int(stream.num_steps) <= 3  # the start is where it ends


def test_sweeps_over_all_rows_end_at_their_optimum():
    X, _ = random_data(1, 6000, D, K)
    X = np.asarray(X)
    result = jgmm.fit_stream(KEY, jgmm.batches(X, 1000), K, sample_rows=500, history=3, **FAST).check()
    again = jgmm.em(result.params, X, ridge=jgmm.relative_ridge(X), max_steps=3, history=1)
    assert abs(float(again.history[0]) - float(result.mean_log_prob)) < 1e-9
    assert float(again.mean_log_prob) - float(result.mean_log_prob) < 1e-6
    assert float(result.history[0]) < float(result.mean_log_prob)
    assert float(result.stats.total) == 6000
    assert_same(result, jgmm.fit_stream(KEY, jgmm.batches(X, 1000), K, sample_rows=500, history=3, **FAST))


def test_features_of_any_magnitude_are_rescaled():
    X = np.ldexp(SMALL, 400)
    large = jgmm.fit_stream(KEY, jgmm.batches(X, 7), K, **FAST)
    near = jgmm.fit_stream(KEY, jgmm.batches(SMALL, 7), K, **FAST)
    close(np.ldexp(large.params.means, -400), near.params.means, "float64", loss=1e4)
    offset = D * 400 * np.log(2.0)
    close(large.restarts.mean_log_prob + offset, near.restarts.mean_log_prob, "float64", loss=1e4)


def test_a_run_that_breaks_off_goes_on_to_the_same_end(tmp_path):
    path = tmp_path / "state.npz"
    options = {"sample_rows": 15, "max_steps": 3, "cov": "diag", **FAST}
    undisturbed = jgmm.fit_stream(KEY, jgmm.batches(SMALL, 7), K, **options)
    for at in (2, 6, 7):  # in the pass for the sample, in the first sweep, in the second
        with pytest.raises(OSError, match="cut") as caught:
            jgmm.fit_stream(KEY, Breaking(SMALL, at), K, checkpoint=path, **options)
        assert ("the pass for the sample" if at == 2 else "of sweep") in caught.value.__notes__[0]
    source = Breaking(SMALL, -1)
    assert_same(jgmm.fit_stream(KEY, source, K, checkpoint=path, **options), undisturbed)
    assert source.read <= 1 + 4 * 4  # no second pass for the sample
    raises(ValueError, ["another key"], jgmm.fit_stream, jax.random.key(1), source, K, checkpoint=path, **options)
    other = options | {"sample_rows": 16}
    raises(ValueError, ["another sample_rows"], jgmm.fit_stream, KEY, source, K, checkpoint=path, **other)
    raises(ValueError, ["another function"], jgmm.em_stream, case(cov="diag")[1], source, checkpoint=path)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"num_components": 0}, ["num_components"]),
        ({"sample_rows": 2}, ["sample_rows"]),
        ({"init": np.zeros(N, int)}, ["init", "partition"]),
        ({"cov": "round"}, ["cov"]),
        ({"num_init": 0}, ["num_init"]),
        ({"race": 3}, ["race"]),
        ({"ridge": -1.0}, ["ridge"]),
    ],
)
def test_a_bad_option_is_refused_and_nothing_written(options, parts, tmp_path):
    options = {"num_components": K, "checkpoint": tmp_path / "a.npz"} | options
    raises((ValueError, TypeError), parts, jgmm.fit_stream, KEY, [SMALL], **options)
    assert not list(tmp_path.iterdir())
