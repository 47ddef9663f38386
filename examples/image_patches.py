"""Denoising with a mixture of image patches (Zoran & Weiss 2011, "EPLL"), beside other denoisers.

    python examples/image_patches.py [--image FILE] [--train FILE] [--sigma S] [-k K] [--patches N] ...

A mixture of 8 x 8 patches learns from one photograph what pictures look like, and takes the noise off another:
it looks for the picture whose every patch is likely, and which is close to what was seen. Needs the extra packages
of ``pip install "jgmm[examples]"``. The cells (``# %%``) run one by one in an editor too.
"""

# %% The arguments, before the slow imports.
from pathlib import Path

from arguments import Parser, count, image, png, positive

parser = Parser(description="Take the noise off a photograph by a Gaussian mixture of patches.")
parser.add_argument("--image", metavar="FILE", type=image, help="the picture (default: scikit-learn's flower.jpg)")
parser.add_argument(
    "--train", metavar="FILE", type=image, help="the picture to learn from (default: scikit-learn's china.jpg)"
)
parser.add_argument(
    "--sigma", type=positive, default=25, help="the noise, in grey levels of 255 (default: %(default)s)"
)
parser.add_argument("-k", type=count, default=32, help="how many components (default: %(default)s)")
parser.add_argument("--patches", metavar="N", type=count, default=100_000, help="to learn from (default: %(default)s)")
parser.add_argument("--step", metavar="N", type=count, default=1, help="keep every Nth row and column of the pictures")
picture = Path(__file__).parent / "out" / "image_patches.png"
parser.add_argument("--out", metavar="PATH", type=png, default=str(picture), help="the result (default: %(default)s)")
args = parser.parse()

# %%
import time
import warnings

import jax
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from skimage import color, metrics, restoration
from sklearn.datasets import load_sample_image
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm

SIDE = 8
image, learned_from = (
    load_sample_image(default) if given is None else np.asarray(given)
    for given, default in ((args.image, "flower.jpg"), (args.train, "china.jpg"))
)


# %% The patches. Each loses its mean, so brightness does not matter: what remains is texture and edges.
def grey(image):
    """The picture (height, width), 0 to 255."""
    return 255 * color.rgb2gray(image[:: args.step, :: args.step]).astype("float32")


def patches_of(image):
    """Its overlapping patches (n, 64) less their means, and the means (n, 1)."""
    rows = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE)).reshape(-1, SIDE**2)
    return rows - rows.mean(axis=1, keepdims=True), rows.mean(axis=1, keepdims=True)


def some_patches(image, n):
    """At most n patches, drawn at random, with noise of half a grey level: 8-bit values leave that much open, and
    without it flat patches, and the mean that is gone, would have no variance."""
    rows = patches_of(image)[0]
    rows = rows[rng.choice(len(rows), min(n, len(rows)), replace=False)]
    return rows + rng.normal(0, 0.5, rows.shape).astype("float32")


rng = np.random.default_rng(0)
clean = grey(image)
noisy = clean + rng.normal(0, args.sigma, clean.shape).astype("float32")
train, other = some_patches(grey(learned_from), args.patches), some_patches(clean, 20_000)


# %% Two mixtures of the same rows: both float32, k-means starts, the same ridge and limit of steps.
def learn(name, fit):
    start = time.perf_counter()
    params, seconds = jax.block_until_ready(fit()), time.perf_counter() - start
    learned, unseen = (float(jgmm.log_prob(params, rows).mean()) for rows in (train, other))
    print(f"{name:27} {learned:14.3f}  {unseen:16.3f}  {seconds:7.1f}", flush=True)
    return params


def fit_sklearn():
    model = GaussianMixture(args.k, random_state=0, reg_covar=RIDGE, max_iter=STEPS).fit(train)
    return jgmm.GMM(model.weights_, model.means_, jgmm.Full(model.covariances_)).astype("float32")


warnings.filterwarnings("ignore", category=ConvergenceWarning)  # in so few steps neither converges
RIDGE, STEPS = 1e-2, 15  # squared grey levels: far below the noise above
options = {"init": "kmeans", "num_init": 4, "ridge": RIDGE, "max_steps": STEPS}
print(f"{len(train)} patches of {SIDE} x {SIDE}, {args.k} components: the fits take a minute.\n", flush=True)
print(f"{'fit':27} log-lik./patch  other photograph  seconds (of a first call, jgmm's compiles)", flush=True)
ours = learn("jgmm.fit, 4 starts", lambda: jgmm.fit(jax.random.key(0), train, args.k, **options).params)
theirs = learn("GaussianMixture, 1 start", fit_sklearn)


# %% Denoising: half-quadratic splitting. Patches and picture are found in turn, and tied ever more tightly.
def overlay(patches, shape):
    """The sum at each pixel of the picture of the patches (n, 64) that overlap there."""
    total, (height, width) = np.zeros(shape, "float32"), np.subtract(shape, SIDE - 1)
    for (i, j), values in zip(np.ndindex(SIDE, SIDE), patches.T, strict=True):
        total[i : i + height, j : j + width] += values.reshape(height, width)
    return total


def denoise(params, noisy, sigma):
    """The picture of the highest expected patch log-likelihood near the noisy one (Zoran & Weiss 2011, sec. 3.2)."""
    image, count = noisy, overlay(np.ones_like(patches_of(noisy)[0]), noisy.shape)
    for beta in (1, 4, 8, 16, 32, 64):
        variance = np.float32(sigma**2 / beta)
        rows, means = patches_of(image)
        labels = np.asarray(jgmm.predict(jgmm.convolve(params, variance), rows))  # under the mixture seen through noise
        for k, (mean, cov) in enumerate(zip(np.asarray(params.means), np.asarray(params.covariances), strict=True)):
            wiener = np.linalg.solve(cov + variance * np.eye(SIDE**2, dtype="float32"), cov)
            rows[labels == k] = (rows[labels == k] - mean) @ wiener + mean
        image = (SIDE**2 * noisy + beta * overlay(rows + means, noisy.shape)) / (SIDE**2 + beta * count)
    return image


scale, pictures = args.sigma / 255, {"clean": clean}
denoisers = {
    "noisy": lambda: noisy,
    "total variation": lambda: 255 * restoration.denoise_tv_chambolle(noisy / 255, weight=scale),
    "non-local means": lambda: 255 * restoration.denoise_nl_means(noisy / 255, h=0.6 * scale, sigma=scale),
    "mixture by scikit-learn": lambda: denoise(theirs, noisy, args.sigma),
    "mixture by jgmm": lambda: denoise(ours, noisy, args.sigma),
}
print(f"\n{'denoiser':27} PSNR (dB)  seconds", flush=True)
for name, denoiser in denoisers.items():
    start = time.perf_counter()
    image, seconds = np.clip(denoiser(), 0, 255), time.perf_counter() - start
    quality = metrics.peak_signal_noise_ratio(clean, image, data_range=255)
    pictures[f"{name}: {quality:.2f} dB"] = image
    print(f"{name:27} {quality:9.2f}  {seconds:7.1f}", flush=True)

# %% The picture: the middle of the photograph.
middle = tuple(slice(max(0, size // 2 - 110), size // 2 + 110) for size in clean.shape)
figure = Figure(figsize=(7.8, 5.6), dpi=100, layout="constrained")
for panel, (title, image) in zip(figure.subplots(2, 3).flat, pictures.items(), strict=True):
    panel.imshow(image[middle], cmap="gray", vmin=0, vmax=255)
    panel.set_title(title, fontsize="medium")
    panel.set_axis_off()
figure.savefig(args.out)
Image.open(args.out).convert("L").save(args.out, optimize=True)
print(f"\nPicture: {args.out}")
