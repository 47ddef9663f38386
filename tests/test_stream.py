"""Rows in batches: the same fit as of one array, whatever the split; faults name the batch."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import D, K, N, case, close, raises, random_data, random_gmm

import jgmm
from jgmm._base.status import Status
from jgmm._stream.em import _add

STEPS = 6


def rows(dtype="float64"):
    """Rows and weights as NumPy arrays."""
    _, _, X, w = case(dtype=dtype)
    return np.asarray(X), np.asarray(w)


def fits(cov="full", dtype="float64", weighted=False, batches=None, **options):
    """The fit of one array, and that of its batches."""
    _, params, X, w = case(cov=cov, dtype=dtype)
    options = {"max_steps": STEPS, "history": STEPS + 2} | options
    whole = jgmm.em(params, X, w if weighted else None, **options)
    return whole, jgmm.em_stream(params, batches, **options)


def same(whole, stream, dtype="float64", loss=300.0):
    assert jax.tree.structure(whole) == jax.tree.structure(stream)
    for a, b in zip(jax.tree.leaves(stream), jax.tree.leaves(whole), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        close(np.nan_to_num(a), np.nan_to_num(b), dtype, loss=loss)


def split(lengths, X, w=None):
    ends = np.cumsum(lengths)
    parts = [slice(end - n, end) for n, end in zip(lengths, ends, strict=True)]
    return [X[part] if w is None else (X[part], w[part]) for part in parts]


SPLITS = {"one": [23], "rows": [1] * 23, "sevens": [7, 7, 7, 2], "uneven": [3, 11, 1, 8]}


@pytest.mark.parametrize("lengths", SPLITS.values(), ids=list(SPLITS))
@pytest.mark.parametrize("accelerate", [None, "anderson"])
def test_any_split_of_the_rows_gives_the_fit_of_one_array(lengths, accelerate):
    X, w = rows()
    same(*fits(weighted=True, batches=split(lengths, X, w), accelerate=accelerate))


@pytest.mark.parametrize(
    "options",
    [{"ridge": 0.1}, {"frozen": ("means",)}, {"accelerate": "squarem", "stop": jgmm.ParamStop(0.1)}, {"history": None}],
    ids=["ridge", "frozen", "squarem", "history"],
)
def test_every_option_is_that_of_em(options, dtype):
    X, _ = rows(dtype)
    same(*fits("full", dtype, batches=split(SPLITS["sevens"], X), **options), dtype)


@pytest.mark.parametrize("family", ["tied", "diag", "spherical", "VEV"])
def test_every_family_is_fitted_as_by_em(family):
    X, _ = rows()
    same(*fits(family, batches=split(SPLITS["sevens"], X), ridge=0.01, accelerate="anderson"), loss=3e3)


def test_both_kernels_sum_over_batches():
    """Batches of more than a few rows take the product kernel."""
    X, _ = random_data(3, 6000, D, K)
    params = random_gmm(3, K, D, "tied")
    whole = jgmm.em(params, X, max_steps=3)
    same(whole, jgmm.em_stream(params, jgmm.batches(np.asarray(X), 3000), max_steps=3), loss=100)


def test_far_rows_lose_no_digits():
    X, _ = rows()
    _, params, _, _ = case()
    moved = jgmm.affine(params, 1.0, 1e6)
    near = jgmm.em_stream(params, jgmm.batches(X, 7), max_steps=STEPS)
    far = jgmm.em_stream(moved, jgmm.batches(X + 1e6, 7), max_steps=STEPS)
    close(far.params.cov.cov, near.params.cov.cov, "float64", loss=1e5)


def test_it_ends_where_em_ends():
    whole, stream = fits(batches=split([10, 13], rows()[0]), max_steps=500)
    assert whole.converged
    same(whole, stream, loss=1e4)


def test_a_row_of_weight_zero_is_absent():
    X, w = rows()
    w = np.where(np.arange(N) % 3 == 0, 0, w)
    holed = np.where(w[:, None] == 0, np.nan, X)
    _, params, _, _ = case()
    there = w > 0
    few = jgmm.em_stream(params, [(X[there], w[there])], max_steps=STEPS)
    absent = (np.full((4, D), np.nan), np.zeros(4))  # a whole batch of no weight
    same(few, jgmm.em_stream(params, [absent, *split([9, 14], holed, w), absent], max_steps=STEPS))
    raises(ValueError, ["positive weight"], jgmm.em_stream, params, [absent, absent])


def test_features_of_any_magnitude_are_rescaled(dtype):
    X, _ = rows(dtype)
    _, params, _, _ = case(dtype=dtype)
    exponent = 50 if dtype == np.float32 else 400
    cov = jgmm.Full(jnp.asarray(np.ldexp(params.cov.cov, 2 * exponent)))
    start = jgmm.GMM(params.weights, jnp.asarray(np.ldexp(params.means, exponent)), cov)
    options = {"max_steps": STEPS, "history": STEPS + 1, "ridge": float(2.0 ** (2 * exponent - 8))}
    large = jgmm.em_stream(start, jgmm.batches(np.ldexp(X, exponent), 7), **options)
    near = jgmm.em_stream(params, jgmm.batches(X, 7), **options | {"ridge": 2.0**-8})
    close(np.ldexp(large.params.means, -exponent), near.params.means, dtype, loss=300)
    close(np.ldexp(large.params.cov.cov, -2 * exponent), near.params.cov.cov, dtype, loss=300)
    close(large.history, np.asarray(near.history) - D * exponent * np.log(2.0), dtype, loss=300)


def test_sources_of_every_kind_give_the_same_fit(tmp_path):
    X, w = rows()
    _, params, _, _ = case()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")

    class Dataset:
        """As of an HDF5 file: what is not sliced is not read."""

        shape = X.shape

        def __getitem__(self, part):
            assert part.stop - part.start <= 7
            return X[part]

    sources = [jgmm.batches(X, 7), jgmm.batches(mapped, 7), jgmm.batches(Dataset(), 7), lambda: iter(split([7, 16], X))]
    results = [jgmm.em_stream(params, source, max_steps=STEPS) for source in sources]
    for result in results[1:]:
        same(results[0], result)
    weighted = jgmm.em_stream(params, jgmm.batches(mapped, 7, w), max_steps=STEPS)
    same(jgmm.em(params, X, w, max_steps=STEPS), weighted)


def test_batches_cover_the_rows_once():
    X, w = rows()
    for size in (1, 7, N, 100):
        parts = jgmm.batches(X, size)
        assert len(parts) == len(list(parts)) == -(-N // size)
        np.testing.assert_array_equal(np.concatenate(list(parts)), X)
    np.testing.assert_array_equal(np.concatenate([part for _, part in jgmm.batches(X, 7, w)]), w)
    assert "(23, 2), 7" in repr(jgmm.batches(X, 7))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no account of the memory")
def test_a_memory_map_takes_no_more_memory_than_a_batch(tmp_path):
    def resident():
        """KB of files in memory."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssFile")).split()[1])

    np.save(tmp_path / "X.npy", np.zeros((2**20, 8)))  # 64 MB
    rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    before, most = resident(), 0
    for part in jgmm.batches(rows, 2**16):  # 4 MB each
        assert part.sum() == 0
        most = max(most, resident())
    assert most - before < 16 * 1024
    changed = np.load(tmp_path / "X.npy", mmap_mode="c")
    changed[:] = 1.0
    assert all((part == 1).all() for part in jgmm.batches(changed, 2**18))
    assert (changed == 1).all()


def test_a_reader_may_use_its_memory_again():
    """One buffer for all batches: each is copied before the next is read."""
    X, _ = rows()
    _, params, _, _ = case()

    def source():
        buffer = np.empty((8, D))
        for start in range(0, 16, 8):
            buffer[:] = X[start : start + 8]
            yield buffer
            buffer[:] = np.nan

    same(jgmm.em(params, X[:16], max_steps=STEPS), jgmm.em_stream(params, source, max_steps=STEPS))


def test_batches_of_other_lengths_compile_next_to_nothing():
    _, params, X, _ = case()
    X = np.concatenate([np.asarray(X)] * 20)
    jgmm.em_stream(params, split([200, 200, 60], X), max_steps=1)
    before = _add._cache_size()
    jgmm.em_stream(params, split([200, 190, 70], X), max_steps=1)
    jgmm.em_stream(params, split([200, 195, 65], X), max_steps=3)
    assert _add._cache_size() <= before + 1  # 70 rows are padded to 80, 60 and 65 to their own
    before = _add._cache_size()
    jgmm.em_stream(params, split([200, *[33] * 7, 29], X), max_steps=1)
    assert _add._cache_size() == before + 2


def test_nothing_is_told_unless_it_is_asked_for(capsys):  # by Python: XLA may say a word when it reads its cache
    fits(batches=[rows()[0]], max_steps=2)
    assert capsys.readouterr() == ("", "")


def test_progress_is_told_sweep_by_sweep(capfd, monkeypatch):
    X, _ = rows()
    _, params, _, _ = case()
    told = []
    result = jgmm.em_stream(params, jgmm.batches(X, 7), max_steps=2, history=3, progress=told.append)
    assert [done["sweep"] for done in told] == [0, 1, 2]
    assert all(done["num_rows"] == N and done["rows_per_second"] > 0 for done in told)
    np.testing.assert_allclose([done["mean_log_prob"] for done in told], result.history, rtol=1e-14)
    assert told[-1]["most_seconds_left"] == 0
    jgmm.em_stream(params, jgmm.batches(X, 7), max_steps=2, progress=True)
    assert "sweep 2" in capfd.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "tqdm", None)
    jgmm.em_stream(params, jgmm.batches(X, 7), max_steps=2, progress=True)
    assert capfd.readouterr().err.count("mean log-likelihood") == 3


def with_batch(bad, index=2):
    """A source whose batch ``index`` is this."""
    X, _ = rows()
    parts = split([7, 7, 7, 2], X)
    parts[index] = bad
    return parts


FAULTS = {
    "columns": (np.ones((3, 3)), ValueError, ["Batch 2 of sweep 0", "2 features of the first batch", "got 3"]),
    "nan": (np.full((3, 2), np.nan), ValueError, ["Batch 2 of sweep 0", "finite", "column"]),
    "infinite": (np.full((3, 2), np.inf), ValueError, ["Batch 2 of sweep 0", "finite"]),
    "text": (np.full((3, 2), "a"), TypeError, ["Batch 2 of sweep 0", "dtype"]),
    "dtype": (np.ones((3, 2), "float32"), TypeError, ["Batch 2 of sweep 0", "float64", "float32"]),
    "rank": (np.ones(3), ValueError, ["Batch 2 of sweep 0", "2-D"]),
    "empty": (np.ones((0, 2)), ValueError, ["Batch 2 of sweep 0", "at least one row"]),
    "none": (None, TypeError, ["Batch 2 of sweep 0", "None"]),
    "weights": ((np.ones((3, 2)), np.ones(2)), ValueError, ["Batch 2 of sweep 0", "sample_weight"]),
    "no weights": ((np.ones((3, 2)), np.zeros(2)), ValueError, ["Batch 2 of sweep 0", "sample_weight"]),
    "negative": ((np.ones((3, 2)), -np.ones(3)), ValueError, ["Batch 2 of sweep 0", "not negative"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_batch_is_named(name):
    bad, error, parts = FAULTS[name]
    raises(error, parts, jgmm.em_stream, case()[1], with_batch(bad))


def test_a_reader_that_fails_is_named_in_a_note():
    X, _ = rows()
    sweeps = []

    def source():
        sweeps.append(None)
        yield X[:7]
        if len(sweeps) > 2:  # the first time is a look at the first batch
            raise OSError("the disk is gone")
        yield X[7:]

    with pytest.raises(OSError, match="the disk is gone") as caught:
        jgmm.em_stream(case()[1], source)
    assert "batch 1 of sweep 1" in caught.value.__notes__[0]


def test_a_sweep_that_ends_early_is_named():
    X, _ = rows()
    sweeps = []

    def source():
        sweeps.append(None)
        yield X[:7]
        if len(sweeps) <= 2:
            yield X[7:]

    parts = ["7", "sweep 1", "batch 1", "23"]
    raises(ValueError, parts, jgmm.em_stream, case()[1], source)
    once = iter([X, X, X])
    raises(ValueError, ["0 of them in sweep 1", "once"], jgmm.em_stream, case()[1], lambda: once)


@pytest.mark.parametrize(
    ("source", "error", "parts"),
    [
        (iter([rows()[0]]), TypeError, ["again and again", "list_iterator"]),
        ((x for x in [rows()[0]]), TypeError, ["again and again", "generator"]),
        (rows()[0], TypeError, ["jgmm.batches"]),
        (3, TypeError, ["int"]),
        ([], ValueError, ["at least one batch"]),
        (lambda: [], ValueError, ["at least one batch"]),
        ([np.ones((3, 3))], ValueError, ["2 features of the parameters"]),
    ],
)
def test_a_source_that_is_none_is_refused(source, error, parts):
    raises(error, parts, jgmm.em_stream, case()[1], source)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"stop": 1e-3}, ["stop"]),
        ({"max_steps": -1}, ["max_steps"]),
        ({"ridge": -1.0}, ["ridge"]),
        ({"history": 0}, ["history"]),
        ({"accelerate": "newton"}, ["accelerate"]),
        ({"frozen": "means"}, ["frozen"]),
        ({"progress": 3}, ["progress"]),
        ({"checkpoint_seconds": -1.0, "checkpoint": "a"}, ["checkpoint_seconds"]),
        ({"checkpoint_seconds": 1.0}, ["checkpoint"]),
    ],
)
def test_a_bad_option_is_refused_and_nothing_written(options, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raises((ValueError, TypeError), parts, jgmm.em_stream, case()[1], [rows()[0]], **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "error", "parts"),
    [
        (([[1.0]], 3), TypeError, ["np.asarray(rows)"]),
        ((np.ones(3), 3), ValueError, ["(n, d)", "(3,)"]),
        ((None, 3), ValueError, ["(n, d)"]),
        ((np.ones((3, 1)), 0), ValueError, ["size"]),
        ((np.ones((3, 1)), 2, np.ones(2)), ValueError, ["sample_weight", "(2,)"]),
        ((np.ones((3, 1)), 2, [1, 1, 1]), TypeError, ["sample_weight"]),
    ],
)
def test_batches_of_what_cannot_be_cut_are_refused(arguments, error, parts):
    raises(error, parts, jgmm.batches, *arguments)


def test_inside_jit_it_is_refused():
    _, params, X, _ = case()
    run = lambda params: jgmm.em_stream(params, [X]).params.means  # noqa: E731
    for inside in (jax.jit(run), jax.vmap(run), jax.jacobian(run)):
        raises(TypeError, ["outside jit"], inside, params)


def test_statuses_are_those_of_em():
    _, params, _, _ = case()
    X, _ = rows()
    assert int(jgmm.em_stream(params, [X], max_steps=0).status) == Status.MAX_STEPS
    same_rows = np.ones((N, D))
    a, b = jgmm.em(params, same_rows, ridge=1e-6), jgmm.em_stream(params, [same_rows[:9], same_rows[9:]], ridge=1e-6)
    assert int(a.status) == int(b.status) == Status.DEGENERATE
    np.testing.assert_array_equal(a.component_status, b.component_status)
