"""The image examples run as a user runs them, at a small size: their numbers, their pictures, their errors."""

import re

import numpy as np
import pytest
from helpers import run_example
from matplotlib import image


def fits(printed, name):
    """The mean log-likelihoods that the tables hold for the fits called ``name``, in order."""
    return [float(value) for value in re.findall(rf"^{name}.*?(-\d+\.\d+)", printed, flags=re.MULTILINE)]


def check_picture(path, width):
    """A picture of the promised size, on white, with nothing cut off."""
    pixels = np.atleast_3d(image.imread(path))[..., :3]  # grey, or colours
    assert pixels.shape[1] == width
    assert path.stat().st_size < 300_000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert (pixels[[0, -1]] > 0.95).all()
    assert (pixels[:, [0, -1]] > 0.95).all()


def test_segmentation_finds_more_than_scikit_learn_and_draws_it(tmp_path):
    picture = tmp_path / "new folder" / "picture.png"
    printed = run_example("image_segmentation", "--step", 8, "-k", 3, "--position", "--out", picture, cwd=tmp_path)
    (ours,), (theirs,) = fits(printed, "jgmm.fit"), fits(printed, "GaussianMixture")
    assert ours >= theirs - 1e-5
    assert "54 x 80 pixels, 5 features" in printed
    assert f"Picture: {picture}" in printed
    check_picture(picture, 836)


def test_patches_take_off_noise(tmp_path):
    picture = tmp_path / "picture.png"
    options = ["--step", 4, "--patches", 3000, "-k", 4, "--out", picture]
    printed = run_example("image_patches", *options, cwd=tmp_path)
    (ours,), (theirs,) = fits(printed, "jgmm.fit"), fits(printed, "GaussianMixture")
    assert ours >= theirs - 0.1  # neither ran to convergence
    found = re.findall(r"^(\S.*?)\s{2,}(\d+\.\d\d) ", printed, flags=re.MULTILINE)
    psnr = {name: float(value) for name, value in found}
    assert 19.9 < psnr["noisy"] < 21  # 20 log10(255 / 25) = 20.17, and a little more for what is clipped
    assert psnr["mixture by jgmm"] > psnr["noisy"] + 5
    assert psnr["mixture by jgmm"] > psnr["total variation"]
    assert f"Picture: {picture}" in printed
    check_picture(picture, 780)


@pytest.mark.parametrize("name", ["image_segmentation", "image_patches"])
def test_a_wrong_file_is_refused(name, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    printed = run_example(name, "--image", "notes.png", cwd=tmp_path, code=2)
    assert "error: argument --image" in printed
    assert "notes.png" in printed
