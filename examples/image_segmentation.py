"""Image segmentation: a Gaussian mixture of the colours of a photograph, with scikit-learn's beside it.

    python examples/image_segmentation.py [--image FILE] [-k 4] [--position] [--sweep] [--step N] [--out PATH]

Every pixel is a row: its colour (L*, a*, b*: equal distances look about equally different) and, with ``--position``,
where it lies. Needs the extra packages of ``pip install "jgmm[examples]"``. The cells (``# %%``) run one by one too.
"""

# %% The arguments, before the slow imports.
from pathlib import Path

from arguments import Parser, count, image, png

parser = Parser(description="Segment a photograph by a Gaussian mixture of its pixels' colours.")
parser.add_argument("--image", metavar="FILE", type=image, help="any picture (default: scikit-learn's flower.jpg)")
parser.add_argument("-k", metavar="K", type=count, default=4, help="how many segments (default: %(default)s)")
parser.add_argument("--position", action="store_true", help="a pixel's place counts as well as its colour")
parser.add_argument("--sweep", action="store_true", help="fit 2 to 10 segments as well, and compare them")
parser.add_argument("--step", metavar="N", type=count, default=1, help="keep every Nth row and column of the picture")
picture = Path(__file__).parent / "out" / "image_segmentation.png"
parser.add_argument("--out", metavar="PATH", type=png, default=str(picture), help="the result (default: %(default)s)")
args = parser.parse()

# %%
import time

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from skimage import color, segmentation
from sklearn.datasets import load_sample_image
from sklearn.mixture import GaussianMixture

import jgmm

jax.config.update("jax_enable_x64", True)  # scikit-learn works in float64: like is compared with like


# %% The pixels as rows. Lab is in units of about one just noticeable difference, the picture 100 units wide.
image = load_sample_image("flower.jpg") if args.image is None else np.asarray(args.image)
image = image[:: args.step, :: args.step] / 255
height, width = image.shape[:2]
features = color.rgb2lab(image).reshape(-1, 3)
if args.position:
    rows, columns = np.indices((height, width))
    features = np.column_stack([features, np.stack([columns, rows], -1).reshape(-1, 2) * 100 / width])
X = jnp.asarray(features)

# %% Two fits of the same rows. Pixels drawn at random are better starts than k-means for so many rows of so few
# features, and one start in dozens finds the best optimum: 128 take ten steps on a sixteenth of the pixels, the best
# 32 forty more, and the best four run to convergence on all of them.
STARTS = {"init": "random_points", "num_init": 128, "race": ((10, 32), (40, 4))}
RIDGE = 1e-6  # scikit-learn's, in squared units of the features


def report(name, k, log_prob, bic, seconds):
    print(f"{name:34} {k:3}  {log_prob:13.5f}  {bic:11.0f}  {seconds}", flush=True)


def fit_jgmm(k):
    """Fit k components twice: the first call compiles. Return the fit."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        result = jax.block_until_ready(jgmm.fit(jax.random.key(0), X, k, ridge=RIDGE, **STARTS))
        seconds.append(time.perf_counter() - start)
    bic = float(jgmm.bic(result.params, X))
    report("jgmm.fit", k, float(result.mean_log_prob), bic, f"{seconds[1]:7.1f} s, first call {seconds[0]:.1f} s")
    try:
        return result.check()
    except jgmm.FitError as error:  # a picture of few colours: still worth a look
        print(f"Note: {error}")
        return result


def fit_sklearn(k, **options):
    start = time.perf_counter()
    model = GaussianMixture(k, random_state=0, reg_covar=RIDGE, max_iter=1000, **options).fit(features)
    seconds = time.perf_counter() - start
    name = "GaussianMixture, " + ", ".join(f"{name}={value:g}" for name, value in options.items())
    report(name, k, model.score(features), model.bic(features), f"{seconds:7.1f} s")


print(f"{height} x {width} pixels, {X.shape[1]} features. Log-likelihoods are means per pixel. jgmm: 128 starts raced.")
print("Fitting; scikit-learn takes a minute or more.\n", flush=True)
print(f"{'':36} k  log-lik./pixel        BIC     seconds")
result = fit_jgmm(args.k)
fit_sklearn(args.k, n_init=5, tol=1e-5)

# %% More segments: each number is a shape of its own, and compiles once for all its starts. On photographs BIC falls
# to the end of any such range: colours are no Gaussian clusters, and BIC does not choose k here. The eye does.
if args.sweep:
    print("\nSweep", flush=True)
    for k in range(2, 11):
        fit_jgmm(k)
        fit_sklearn(k, n_init=1, tol=1e-3)

# %% The picture.
resp = np.asarray(jgmm.responsibilities(result.params, X))
labels = resp.argmax(axis=1)
mean_colors = resp.T @ image.reshape(-1, 3) / resp.sum(axis=0)[:, None]
segments = mean_colors[labels].reshape(image.shape)
boundaries = segmentation.mark_boundaries(image, labels.reshape(height, width), color=(1, 1, 1), mode="inner")
uncertainty = np.asarray(jgmm.uncertainty(result.params, X)).reshape(height, width)

figure = Figure(figsize=(7.6, 7.6 * height / width + 0.7), dpi=110, layout="constrained")
axes = figure.subplots(2, 2)
place = "colour and place" if args.position else "colour alone"
panels = {"The photograph": image, f"{args.k} segments by {place}": segments, "Their boundaries": boundaries}
for panel, (title, pixels) in zip(axes.flat, panels.items(), strict=False):
    panel.imshow(pixels)
    panel.set_title(title, fontsize="medium")
shown = axes[1, 1].imshow(uncertainty, cmap="cividis", vmin=0, vmax=0.5)
axes[1, 1].set_title("Doubt: 1 - probability of the segment", fontsize="medium")
figure.colorbar(shown, ax=axes, location="bottom", shrink=0.4, aspect=40, label="doubt")
for panel in axes.flat:
    panel.set_axis_off()
figure.savefig(args.out)
Image.open(args.out).convert("RGB").quantize(256).save(args.out, optimize=True)  # 256 colours: a third of the size
print(f"\nPicture: {args.out}")
