"""Learn features through a fit: a mixture clusters digits, and a few labels say what the clusters should be.

    python examples/learn_features.py [--out PATH]

Two features, linear in the image, are fed to ``jgmm.em``, which sees no label. Ten labelled images of each digit say
what its components should have been; the gradient of that loss by the features goes through the converged fit (the
implicit function theorem), not through its steps. Needs the extra packages of ``pip install "jgmm[examples]"``.
"""

# %% The arguments, before the slow imports.
from pathlib import Path

from arguments import Parser, png

parser = Parser(description="Learn two features of digits by the gradient of a mixture's fit to them.")
picture = Path(__file__).parent / "out" / "learn_features.png"
parser.add_argument("--out", metavar="PATH", type=png, default=str(picture), help="the picture (default: %(default)s)")
args = parser.parse()

# %%

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import jgmm
import jgmm.plot

# %% The digits 3, 5 and 8 as twelve principal components; ten of each keep their labels, the others are for the score.
DIGITS, NUM_LABELS, NUM_STEPS = (3, 5, 8), 10, 60
images, digits = load_digits(return_X_y=True)
kept = np.isin(digits, DIGITS)
images, classes = images[kept] - images[kept].mean(axis=0), np.searchsorted(DIGITS, digits[kept])
left, _, _ = np.linalg.svd(images, full_matrices=False)
X = jnp.asarray(left[:, :12] * len(left) ** 0.5, jnp.float32)
labelled = np.concatenate([np.flatnonzero(classes == c)[:NUM_LABELS] for c in range(len(DIGITS))])
unlabelled = np.setdiff1d(np.arange(len(X)), labelled)


# %% One fit, as a function of the features.
def cluster(matrix, start):
    """The mixture of the features ``X @ matrix``, from a start; no label is used."""
    return jgmm.em(start, X @ matrix, accelerate="anderson")


def loss(matrix, start):
    """The cross-entropy (nats) between the labels and what the fitted mixture says of those rows; and the fit."""
    fit = cluster(matrix, start)
    resp = jgmm.responsibilities(fit.params, (X @ matrix)[labelled])
    return -jnp.log(resp[jnp.arange(len(labelled)), classes[labelled]] + 1e-6).mean(), fit


def accuracy(params, matrix):
    """The share of the rows without a label whose component is their digit."""
    return float((np.asarray(jgmm.predict(params, X @ matrix)) == classes)[unlabelled].mean())


def start_at(matrix):
    """Where the first fit starts: a component at the labelled rows of each digit."""
    features = X @ matrix
    means = jnp.stack([features[labelled][classes[labelled] == c].mean(axis=0) for c in range(len(DIGITS))])
    return jgmm.GMM(jnp.full(len(DIGITS), 1 / len(DIGITS)), means, jgmm.Tied(jnp.cov(features.T) / 4))


# %% Gradient descent on the features. Each fit starts where the last one ended, which its derivative does not see.
optimizer = optax.adam(0.05)
step = jax.jit(jax.value_and_grad(loss, has_aux=True))
matrix = jnp.eye(X.shape[1], 2)  # the first two principal components
params, state, losses, shown = start_at(matrix), optimizer.init(matrix), [], []
print(f"{len(X)} images of {DIGITS}, {len(labelled)} of them labelled, {X.shape[1]} numbers each, 2 features")
print("\nstep  loss (nats)  EM steps  status     accuracy of the rest")
for number in range(NUM_STEPS + 1):
    (value, fit), gradient = step(matrix, params)
    params = fit.params
    losses.append(float(value))
    if number % 10 == 0:
        status, right = jgmm.Status(int(fit.status)).name, accuracy(params, matrix)
        print(f"{number:4}  {losses[-1]:11.4f}  {int(fit.num_steps):8}  {status:9}  {right:8.3f}")
    if number in (0, NUM_STEPS):
        shown.append((matrix, params, accuracy(params, matrix)))
    if not jnp.isfinite(gradient).all():
        raise SystemExit(f"Step {number}: the fit has no derivative ({jgmm.Status(int(fit.status)).message})")
    change, state = optimizer.update(gradient, state)
    matrix = matrix + change


# %% The picture.
def draw_features(axes, matrix, params):
    """The rows by their digit, ringed where the label was given, and the components."""
    features = np.asarray(X @ matrix)
    jgmm.plot.points(features, classes, s=9, ax=axes)
    jgmm.plot.points(features[labelled], classes[labelled], s=24, edgecolors="black", linewidths=0.8, alpha=1, ax=axes)
    jgmm.plot.ellipses(params, ax=axes)
    axes.set(xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(False)


figure = Figure(figsize=(7.8, 3.4), dpi=130, layout="constrained")  # without pyplot: no display is needed
before, after, curve = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 1))
for axes, title, found in zip((before, after), ("Principal components", "Learned"), shown, strict=True):
    *drawn, right = found
    draw_features(axes, *drawn)
    axes.set_title(f"{title}: {right:.0%} of the rest", fontsize="medium")
curve.plot(losses, color="black")
curve.set_title("Loss", fontsize="medium")
curve.set(xlabel="step", ylabel="cross-entropy (nats)", ylim=(0, None))
curve.spines[["top", "right"]].set_visible(False)
names, title = [f"digit {digit}" for digit in DIGITS], "Ringed: labelled. Ellipses hold 50 and 90 % of what EM found."
style = {"ncols": 3, "frameon": False, "fontsize": "small", "title_fontsize": "small", "markerscale": 2}
figure.legend(before.collections[: len(DIGITS)], names, title=title, loc="outside lower center", **style)
figure.savefig(args.out)
print(f"\nPicture: {args.out}")
