"""Each picture of jgmm.plot is the one that was looked at, to a tolerance; and a changed one is not."""

import numpy as np
import pytest
from matplotlib import image
from matplotlib.patches import Ellipse
from pictures import FOLDER, PICTURES, draw

# Root mean square of grey levels (0 to 255). The references have 64 colours, which alone makes up to 0.9; other
# versions of matplotlib move lines by a part of a pixel.
TOLERANCE = 4.0
CHANGES = {
    "another line": lambda ax: ax.plot([0, 1], [0, 1], transform=ax.transAxes, color="black"),
    "another ellipse": lambda ax: ax.add_patch(Ellipse((0.5, 0.5), 0.4, 0.4, transform=ax.transAxes, color="red")),
    "one artist less": lambda ax: [*ax.patches, *ax.collections, *ax.lines][0].remove(),
    "other limits": lambda ax: ax.set_xlim(ax.get_xlim()[0], ax.get_xlim()[0] + 1.3 * np.ptp(ax.get_xlim())),
}


def distance(a, b):
    return np.sqrt(np.mean((a - b) ** 2))


def reference(name):
    return 255 * image.imread(FOLDER / f"{name}.png")[..., :3].astype(float)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_as_it_was_looked_at(name):
    assert distance(draw(name), reference(name)) < TOLERANCE


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_fails(change):
    assert distance(draw("clusters", CHANGES[change]), reference("clusters")) > 1.5 * TOLERANCE


def test_every_reference_has_its_picture():
    assert {path.stem for path in FOLDER.glob("*.png")} == set(PICTURES)
    assert sum(path.stat().st_size for path in FOLDER.glob("*.png")) < 100_000
