"""The quickstart runs as a user runs it, and what it prints and draws is right."""

import re

import numpy as np
import pytest
from helpers import EXAMPLES, run_example
from matplotlib import image


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """What examples/quickstart.py prints, and the picture that it draws; it is run once."""
    folder = tmp_path_factory.mktemp("quickstart")
    picture = folder / "new folder" / "picture.png"
    return run_example("quickstart", "--out", picture, cwd=folder), picture


def rows(printed, name):
    """The rows of the printed tables that begin with ``name``: starts, steps, status, log-likelihood, ARI."""
    fields = r"\s+(\d+)\s+(\d+)\s+([A-Z_]+)\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s"
    found = re.findall(f"^{re.escape(name)}{fields}", printed, flags=re.MULTILINE)
    return [(int(a), int(b), status, float(log_prob), float(ari)) for a, b, status, log_prob, ari in found]


def test_blobs_are_recovered(quickstart):
    (blobs, iris), (plain,) = rows(quickstart[0], "jgmm.fit"), rows(quickstart[0], "random_resp, ParamStop")
    for expected, (starts, _, status, _, ari) in ((64, blobs), (8, plain)):
        assert starts == expected
        assert status == "CONVERGED"
        assert ari > 0.99
    assert abs(plain[3] - blobs[3]) <= 2e-5
    assert iris[2] == "CONVERGED"
    assert iris[4] > 0.9


def test_no_fit_ends_below_scikit_learn(quickstart):
    ours = rows(quickstart[0], "jgmm.fit")
    for name in ("GaussianMixture, defaults", "GaussianMixture, like jgmm"):
        theirs = rows(quickstart[0], name)
        assert len(theirs) == len(ours) == 2
        for a, b in zip(ours, theirs, strict=True):
            assert a[3] >= b[3] - 2e-5


def test_picture_is_drawn(quickstart):
    picture = quickstart[1]
    pixels = image.imread(picture)
    height, width, _ = pixels.shape
    assert width <= 1200
    assert height <= 560
    assert picture.stat().st_size < 200_000
    colors, counts = np.unique(np.round(pixels[..., :3].reshape(-1, 3), 2), axis=0, return_counts=True)
    assert len(colors) > 50
    assert (colors[counts.argmax()] == 1).all()  # on white
    drawn = (pixels[..., :3] < 0.95).any(-1)
    assert 0.02 < drawn.mean() < 0.5
    assert not drawn[[0, -1]].any()  # nothing is cut off
    assert not drawn[:, [0, -1]].any()


DRAWING = sorted(path for path in EXAMPLES.glob("*.py") if '"--out"' in path.read_text())


@pytest.mark.parametrize("path", DRAWING, ids=lambda path: path.stem)
def test_a_picture_goes_where_git_ignores_it_unless_another_place_is_given(path):
    """So that a first run changes no file that is tracked: those of examples/figures are drawn by ``--out``."""
    places = re.findall(r'^picture = Path\(__file__\)\.parent / "(.*)" / "(.*)"$', path.read_text(), flags=re.MULTILINE)
    assert places == [("out", f"{path.stem}.png")]
    assert "examples/out/" in (EXAMPLES.parent / ".gitignore").read_text().splitlines()
    assert (EXAMPLES / "figures" / f"{path.stem}.png").is_file()
