"""Rows onto devices, and over processes: all of them, padded with absent ones, each on its own device."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, run_example

import jgmm

X = np.random.default_rng(0).normal(size=(11, 2))


def test_the_rows_and_their_weights_come_as_they_are(dtype):
    weight = np.arange(11)
    rows, spread_weight = jgmm.spread(X.astype(dtype), weight)
    assert rows.dtype == spread_weight.dtype == dtype
    np.testing.assert_array_equal(rows, X.astype(dtype))
    np.testing.assert_array_equal(spread_weight, weight)
    np.testing.assert_array_equal(jgmm.spread(X.astype(dtype))[1], np.ones(11))


def test_a_memory_map_is_read_and_integers_become_numbers(tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(6).reshape(3, 2))
    rows, _ = jgmm.spread(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert rows.dtype == jnp.result_type(float)
    np.testing.assert_array_equal(rows, np.arange(6).reshape(3, 2))


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (X[0], {}, ValueError, r"X must be 2-D, .* got shape \(2,\)"),
        (X, {"sample_weight": np.ones(3)}, ValueError, r"sample_weight must have shape \(11,\), .* got \(3,\)"),
        (X, {"axis_name": "columns"}, ValueError, r"among the axes of the mesh, \('rows',\), got 'columns'"),
        (X.astype(str), {}, TypeError, "X must"),
        (np.ma.masked_less(X, 0), {}, TypeError, "without a mask"),
    ],
)
def test_what_cannot_be_spread_is_refused(rows, options, error, message):
    with pytest.raises(error, match=message):
        jgmm.spread(rows, **options)


def test_two_processes_with_uneven_parts_give_what_one_gives(tmp_path):
    """Each reads its own rows of the file; every one of them gets the result, and one writes it."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(501, 2)) + center for center in (-3, 0, 4)]).astype("float32")
    rng.shuffle(rows)
    np.save(tmp_path / "rows.npy", rows)
    given = ["--data", tmp_path / "rows.npy", "-k", "3", "--save", tmp_path / "mixture.npz"]
    printed = run_example("multihost", *map(str, given), cwd=tmp_path)
    assert "1503 rows, 2 features; processes: 2, devices: 2" in printed
    expected = jgmm.fit(jax.random.key(0), rows, 3)
    found = jgmm.load(tmp_path / "mixture.npz").check()
    assert found.stats.total == 1503
    close(found.params, expected.params, "float32", loss=1e4)
    shown = re.search(r"weights \[(.*)\]", printed)[1].split()
    np.testing.assert_allclose(np.sort(expected.params.weights), [*map(float, shown)], atol=1e-4)
