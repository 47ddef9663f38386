"""Writers of one file: those that are killed leave nothing for long, and those that live do not meet."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import jgmm
from jgmm._files import archive


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


KILLED = """
import os, sys
import jgmm

os.fsync = lambda file: os.kill(os.getpid(), 9)
jgmm.save(sys.argv[1], 1)
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_what_a_killed_writer_left_is_removed(path):
    subprocess.run([sys.executable, "-c", KILLED, str(path)])
    (left,) = os.listdir(path.parent)
    assert left != path.name
    jgmm.save(path, 1)
    assert os.listdir(path.parent) == [path.name]


def test_the_file_of_a_writer_that_lives_stays(path):
    with archive.replacing(path) as slow:
        slow.write(b"whole")
        jgmm.save(path, 1)
        assert jgmm.load(path) == 1
        assert len(os.listdir(path.parent)) == 2
    assert (path.read_bytes(), os.listdir(path.parent)) == (b"whole", [path.name])


def test_writers_at_the_same_time_write_whole_files(path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: jgmm.save(path, number), range(100)))
    assert jgmm.load(path) in range(100)
    assert os.listdir(path.parent) == [path.name]
