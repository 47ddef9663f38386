"""The example of factor analysers: a few factors are better than none and than all, and the picture is drawn."""

import re

import numpy as np
import pytest
from helpers import check_picture, run_example


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """What examples/digits.py prints, and the picture that it draws; it is run once."""
    picture = tmp_path_factory.mktemp("digits") / "new folder" / "picture.png"
    return run_example("digits", "--factors", 4, "--out", picture, cwd=picture.parents[1]), picture


def test_a_few_factors_are_likelier_than_none_and_than_all(digits):
    rows = re.findall(r"^(none|4|full).* +(\d+) +(-\d+\.\d+) +(\d+\.\d)% ", digits[0], flags=re.MULTILINE)
    assert [row[0] for row in rows] == ["none", "4", "full"]
    numbers, scores, errors = (np.array([float(row[i]) for row in rows]) for i in (1, 2, 3))
    # Of two components: a weight, 64 means each, and 64 variances, 64 x 4 - 6 loadings more, or 2080 covariances.
    assert numbers.tolist() == [1 + 2 * (64 + 64), 1 + 2 * (64 + 64 + 250), 1 + 2 * (64 + 2080)]
    assert scores.argmax() == 1
    assert errors[1] < min(6, errors[0])


def test_the_picture_is_drawn(digits):
    check_picture(*digits)
