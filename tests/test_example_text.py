"""The text example finds the packages that docstrings are from, at least as well as scikit-learn, and draws them."""

import csv
import re
import runpy
import sys

import numpy as np
import pytest
from helpers import EXAMPLES, run_example
from matplotlib import image
from matplotlib.colors import to_rgb

import jgmm.plot

FEW = ["asyncio", "email"]
EXPECTED = {  # a term of each topic, and the least ARI, NMI and accuracy
    "a table": (["loop", "rfc"], [0.8, 0.7, 0.94]),
    "default": (["decimal", "loop", "header", "address"], [0.88, 0.85, 0.94]),
}
COLORS = [np.round(0.6 * np.array(to_rgb(color)), 1) for color in jgmm.plot.colors(4)]  # of the ellipses


def table(path):
    """A table of two packages, 70 docstrings each."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        from text_data import docstrings
    finally:
        sys.path.remove(str(EXAMPLES))
    rows = [pair for package in FEW for pair in docstrings(package)[:70]]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("category", "text"), *rows])
    return path


@pytest.fixture(scope="module", params=["a table", pytest.param("default", marks=pytest.mark.slow)])
def run(request, tmp_path_factory):
    """What examples/text_clustering.py prints, and the picture that it draws; it is run once for each data set."""
    folder = tmp_path_factory.mktemp("text")
    picture = folder / "new folder" / "picture.png"
    data = ["--data", table(folder / "table.csv")] if request.param == "a table" else []
    options = {"cwd": folder, "own_options": request.param == "default"}
    return run_example("text_clustering", *data, "--out", picture, **options), picture, *EXPECTED[request.param]


def row(printed, name):
    """The row of the table that begins with ``name``: ARI, NMI, accuracy, log-likelihood, seconds."""
    found = re.search(rf"^{re.escape(name)}((?: +(?:nan|-?\d+\.\d+)){{5}})$", printed, flags=re.MULTILINE)
    assert found, f"no row {name} in: {printed}"
    return [float(number) for number in found[1].split()]


def test_the_packages_are_found(run):
    assert (np.array(row(run[0], "jgmm full")[:3]) >= run[3]).all()
    topics = re.search(r"highest terms\n(.*?)\n\n", run[0], flags=re.DOTALL)[1].splitlines()
    assert len(topics) == len(run[2])
    for term in run[2]:
        assert sum(term in topic for topic in topics) == 1


@pytest.mark.parametrize("cov", ["full", "tied"])
def test_the_likelihood_reaches_scikit_learns(run, cov):
    """Up to chance: the random starts of either find one of a few maxima 0.2 apart, and single ones lie 4 lower."""
    assert row(run[0], f"jgmm {cov}")[3] >= row(run[0], f"GaussianMixture {cov}")[3] - 0.25


def test_the_most_uncertain_documents_come_first(run):
    table = run[0].split("The most uncertain")[1]
    runner_up = [float(line.split()[2]) for line in table.splitlines()[2:6]]
    assert len(runner_up) == 4
    assert runner_up == sorted(runner_up, reverse=True)
    assert runner_up[0] > 0


def test_the_picture_is_drawn(run):
    pixels = image.imread(run[1])[..., :3]
    assert run[1].stat().st_size < 300_000
    assert pixels.shape[1] <= 1200
    drawn = (pixels < 0.95).any(-1)
    assert 0.02 < drawn.mean() < 0.5
    assert not drawn[[0, -1]].any()  # nothing is cut off
    assert not drawn[:, [0, -1]].any()
    tones = np.round(pixels.reshape(-1, 3), 1)
    for color in COLORS[: len(run[2])]:
        assert (tones == np.float32(color)).all(1).sum() > 20


LITTLE = "category,text\na,the first text about trees\nb,the second text about stones\n"
BAD = {  # what the file holds, and parts of the message
    "missing file": (None, ["--data", "there is no file"]),
    "missing column": ("category,body\na,b\n", ["columns category and text", "lacks text"]),
    "nothing": ("", ["columns category and text", "lacks category and text"]),
    "one category": ("category,text\na,one text\na,another text\n", ["at least 2 categories", "got 1"]),
    "empty text": ("category,text\na,one text\nb,  \n", ["1 rows have no category or no text", "row 2"]),
    "few documents": (LITTLE, ["more than 50 documents and terms", "got 2 and 1"]),
}


def refused(monkeypatch, capsys, arguments, parts):
    """Assert that the script, run in this process, ends with code 2 and a message with every one of the ``parts``."""
    monkeypatch.syspath_prepend(EXAMPLES)  # as for a script that is run
    monkeypatch.setattr("sys.argv", ["text_clustering.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / "text_clustering.py"))
    message = capsys.readouterr().err
    assert ended.value.code == 2
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in: {message}"


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_table_is_refused(bad, tmp_path, monkeypatch, capsys):
    content, parts = BAD[bad]
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_text(content)
    refused(monkeypatch, capsys, ["--data", path], ["table.csv", *parts])


@pytest.mark.filterwarnings("ignore:Retry downloading")
def test_no_network_is_a_clear_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    refused(monkeypatch, capsys, ["--newsgroups"], ["20 newsgroups", "refused"])
