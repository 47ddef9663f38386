"""The example that trains through a fit: the loss falls, the clusters become the digits, the picture is drawn."""

import re

import numpy as np
import pytest
from helpers import check_picture, run_example


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """What examples/learn_features.py prints, and the picture that it draws; it is run once."""
    picture = tmp_path_factory.mktemp("learn_features") / "new folder" / "picture.png"
    return run_example("learn_features", "--out", picture, cwd=picture.parents[1]), picture


def test_the_loss_falls_and_the_rows_without_a_label_gain(learned):
    rows = re.findall(r"^ *(\d+) +(\d\.\d+) +\d+ +([A-Z_]+) +(\d\.\d+)$", learned[0], flags=re.MULTILINE)
    losses, accuracies = (np.array([float(row[i]) for row in rows]) for i in (1, 3))
    assert len(rows) == 7
    assert losses[-1] < losses[0] / 3
    assert accuracies[-1] > accuracies[0] + 0.04
    assert {row[2] for row in rows} <= {"CONVERGED", "STALLED"}


def test_the_picture_is_drawn(learned):
    check_picture(*learned)
