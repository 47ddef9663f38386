"""Nothing lost: a run that is killed and started again ends bit for bit as one that was not."""

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import Breaking, case, raises
from values import assert_same

import jgmm

STEPS = 6
PARAMS, X = case()[1], np.asarray(case()[2])
OPTIONS = {"max_steps": STEPS, "history": STEPS + 1, "accelerate": "anderson", "ridge": 0.01}


def run(batches, path, **options):
    return jgmm.em_stream(PARAMS, batches, checkpoint=path, **OPTIONS | options)


@pytest.fixture(scope="module")
def undisturbed():
    return jgmm.em_stream(PARAMS, jgmm.batches(X, 7), **OPTIONS)


@pytest.mark.parametrize("at", [1, 6, 9, 14, 20])
def test_a_run_that_breaks_off_goes_on_to_the_same_end(at, tmp_path, undisturbed):
    path = tmp_path / "state.npz"
    with pytest.raises(OSError, match="cut"):
        run(Breaking(X, at), path)
    again = Breaking(X, -1)
    assert_same(run(again, path), undisturbed)
    sweeps_done = max(0, (at - 1) // 4)
    assert again.read == 1 + 4 * (
        STEPS + 1 - sweeps_done
    )  # one look at the first batch; what was done is not done again


def test_a_run_may_break_off_at_every_sweep(tmp_path, undisturbed):
    for _ in range(STEPS):
        with pytest.raises(OSError, match="cut"):
            run(Breaking(X, 6), tmp_path / "state.npz")
    assert_same(run(jgmm.batches(X, 7), tmp_path / "state.npz"), undisturbed)


def test_a_fit_that_has_ended_reads_no_sweep_and_may_be_prolonged(tmp_path, undisturbed):
    path = tmp_path / "state.npz"
    run(jgmm.batches(X, 7), path, max_steps=2)
    again = Breaking(X, -1)
    assert int(run(again, path, max_steps=2).num_steps) == 2
    assert again.read == 1
    assert_same(run(again, path), undisturbed)


def test_a_checkpoint_waits_and_keeps_the_end(tmp_path, monkeypatch, undisturbed):
    writings = []
    monkeypatch.setattr("jgmm._stream.checkpoint.save", lambda *a, save=jgmm.save: (writings.append(a), save(*a)))
    assert_same(run(jgmm.batches(X, 7), tmp_path / "a.npz", checkpoint_seconds=1e6), undisturbed)
    assert len(writings) == 3  # the problem, the start, the end
    run(jgmm.batches(X, 7), tmp_path / "b.npz")
    assert len(writings) == 3 + 2 + STEPS + 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ridge": 0.02}, "ridge"),
        ({"ridge": None}, "ridge"),
        ({"accelerate": "squarem"}, "accelerate"),
        ({"accelerate": jgmm.Anderson(memory=3)}, "accelerate"),
        ({"stop": jgmm.LogProbStop(1e-3)}, "stop"),
        ({"history": 3}, "history"),
        ({"frozen": ("means",)}, "frozen"),
        ({"params": jgmm.to_full(jgmm.affine(PARAMS, 1.0, 1.0))}, "start"),
        ({"params": PARAMS.astype("float32")}, "start"),
        ({"params": jgmm.GMM(PARAMS.weights, PARAMS.means, jgmm.Tied(PARAMS.cov.cov[0]))}, "start"),
        (
            {
                "params": jgmm.GMM(
                    PARAMS.weights[:1] / PARAMS.weights[0], PARAMS.means[:1], jgmm.Full(PARAMS.cov.cov[:1])
                )
            },
            "start",
        ),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused_and_stays(options, name, tmp_path):
    path = tmp_path / "state.npz"
    run(jgmm.batches(X, 7), path, max_steps=1)
    before = path.read_bytes()
    params = options.pop("params", PARAMS)
    call = {**OPTIONS, **options}
    raises(ValueError, [str(path), f"another {name}"], jgmm.em_stream, params, [X], checkpoint=path, **call)
    assert path.read_bytes() == before


def test_rows_that_are_not_those_of_the_checkpoint_are_refused(tmp_path):
    path = tmp_path / "state.npz"
    run(jgmm.batches(X, 7), path, max_steps=1)
    before = path.read_bytes()
    raises(ValueError, ["got 16 of them in sweep 2", "23 before"], run, [X[:16]], path)
    raises(ValueError, ["Batch 1 of sweep 2", "finite"], run, [X[:7], X[7:] * np.nan], path)
    assert jgmm.load(path) is not None
    np.testing.assert_array_equal(path.read_bytes(), before)


def test_a_file_that_is_no_checkpoint_is_refused_and_stays(tmp_path):
    path = tmp_path / "state.npz"
    jgmm.save(path, PARAMS)
    before = path.read_bytes()
    raises(jgmm.FileError, ["no checkpoint"], run, [X], path)
    path.write_bytes(before[:100])
    raises(jgmm.FileError, ["cannot be loaded"], run, [X], path)
    assert path.read_bytes() == before[:100]


def test_a_path_that_cannot_be_written_is_an_error_before_the_first_sweep(tmp_path, monkeypatch):
    source = Breaking(X, -1)
    for path in (tmp_path, tmp_path / "none" / "state.npz"):
        with pytest.raises(OSError, match=r"directory"):
            run(source, path)
    assert source.read == 2

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jgmm._files.store.write", full)
    with pytest.raises(OSError, match="No space"):
        run(source, tmp_path / "state.npz")
    assert source.read == 3
    assert not list(tmp_path.iterdir())


CHILD = """
import sys, time
import numpy as np
import jax
jax.config.update("jax_enable_x64", True)
import jgmm

rows = np.random.default_rng(0).normal(size=(600, 2)) + np.repeat([[0.0], [3.0], [6.0]], 200, 0)
start = jgmm.GMM(np.full(3, 1 / 3), rows[::250], jgmm.Full(np.tile(np.eye(2), (3, 1, 1))))

def source():
    for batch in jgmm.batches(rows, 100):
        time.sleep(0.002)
        yield batch

options = {"max_steps": 20, "stop": jgmm.LogProbStop(0.0), "checkpoint": sys.argv[1]}
result = jgmm.em_stream(start, source, progress=lambda done: print("swept", flush=True), **options)
jgmm.save(sys.argv[2], result)
"""


def child(path, end, sweeps=None, seconds=0.0):
    """Run the program, and kill it so long after so many sweeps; the return code."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(end)], stdout=subprocess.PIPE)
    if sweeps is not None:
        for _ in range(sweeps):
            process.stdout.readline()
        time.sleep(seconds)
        process.kill()
    process.communicate(timeout=120)
    return process.returncode


def check_killed(folder, moments):
    """The end of a run that is killed at each of these moments is that of an undisturbed one."""
    assert child(folder / "a.npz", folder / "a.end") == 0
    for moment in moments:
        if child(folder / "b.npz", folder / "b.end", *moment) == 0:
            (folder / "b.npz").unlink()  # it had ended: once more from the start
    assert child(folder / "b.npz", folder / "b.end") == 0
    assert_same(jgmm.load(folder / "b.end"), jgmm.load(folder / "a.end"))
    assert not list(folder.glob(".jgmm-*"))


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path):
    check_killed(tmp_path, [(5, 0.01)])


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_run_killed_at_twenty_moments_ends_as_an_undisturbed_one(tmp_path):
    draw = random.Random(0)
    check_killed(tmp_path, [(draw.randrange(5), draw.uniform(0, 0.05)) for _ in range(20)])
