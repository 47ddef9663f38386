"""Each example refuses a wrong argument with one line that names it, before anything slow is imported."""

import re
import subprocess
import sys

import pytest
from helpers import EXAMPLES

PROGRAMS = [path.stem for path in sorted(EXAMPLES.glob("*.py")) if "parser.parse()" in path.read_text()]
SLOW = {"jax", "jgmm", "librosa", "matplotlib", "numpy", "scipy", "skimage", "sklearn"}
RUN = f"""
import runpy, sys
path, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = path
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
try:
    runpy.run_path(path, run_name="__main__")
finally:
    print(*({SLOW} & set(sys.modules)))
"""


def refused(name, arguments, cwd):
    """The one line that a program ends with; it has imported nothing slow."""
    command = [sys.executable, "-W", "error", "-c", RUN, EXAMPLES / f"{name}.py", *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_all_programs_are_looked_at():
    assert len(PROGRAMS) == 8


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_unknown_argument_is_named(name, tmp_path):
    assert f"{name}.py: error: unrecognized arguments: --nonsense" in refused(name, ["--nonsense"], tmp_path)


WRONG = [
    ("digits", "--factors", "0", "expected a whole number of 1 or more, got '0'"),
    ("quickstart", "--out", "a.jpg", "ends in .png, got 'a.jpg'"),
    ("quickstart", "--out", "file.png/a.png", "its folder cannot be made"),
    ("image_patches", "--sigma", "none", "expected a positive number, got 'none'"),
    ("image_patches", "--train", "missing.png", "there is no file missing.png"),
    ("image_patches", "--image", "file.png", "file.png is no picture that can be read"),
    ("image_segmentation", "-k", "0", "expected a whole number of 1 or more, got '0'"),
    ("multihost", "--processes", "0", "expected a whole number of 1 or more, got '0'"),
    ("speech_recognition", "--data", "missing", "there is no folder missing"),
    ("speech_recognition", "--components", "2.5", "expected a whole number of 1 or more, got '2.5'"),
    ("text_clustering", "--data", "missing.csv", "there is no file missing.csv"),
]


@pytest.mark.parametrize(("name", "argument", "value", "message"), WRONG, ids=lambda part: re.sub(r"\W+", "-", part))
def test_a_wrong_value_is_named(name, argument, value, message, tmp_path):
    (tmp_path / "file.png").write_text("no picture")
    line = refused(name, [argument, value], tmp_path)
    assert f"{name}.py: error: argument {argument}: " in line
    assert message in line
