"""Quickstart: fit Gaussian mixtures with jgmm, put scikit-learn beside it, and draw what was found.

    python examples/quickstart.py [--out PATH]

Needs the extra packages of ``pip install "jgmm[examples]"``. The cells (``# %%``) run one by one in an editor too.
"""

# %% The arguments, before the slow imports.
from pathlib import Path

from arguments import Parser, png

parser = Parser(description="Fit two small data sets with jgmm and scikit-learn, and draw the fits.")
picture = Path(__file__).parent / "out" / "quickstart.png"
parser.add_argument("--out", metavar="PATH", type=png, default=str(picture), help="the picture (default: %(default)s)")
args = parser.parse()

# %%
import statistics
import time

import jax
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_iris, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

import jgmm
import jgmm.plot


# %% How the fits are compared: one row of a table for each.
def timed(call, repeats=5):
    """What ``call`` returns, the seconds of the first call, and the median of ``repeats`` more; of it, without more."""
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        value = jax.block_until_ready(call())  # JAX computes in the background: wait for the numbers
        seconds.append(time.perf_counter() - start)
    return value, seconds[0], statistics.median(seconds[1:] or seconds)


def print_heading(title):
    print(f"\n{title}\n{'-' * len(title)}")
    print(f"{'':27}starts  steps  status     log-lik./row    ARI  first call  next calls")


def print_row(name, starts, steps, status, log_prob, ari, first, later):
    numbers = f"{starts:6}  {steps:5}  {status:9}  {log_prob:12.5f}  {ari:5.3f}"
    print(f"{name:27}{numbers}  {1e3 * first:7.0f} ms  {1e3 * later:7.1f} ms")


def fit_jgmm(name, key, X, truth, **options):
    """Fit three components, print the row, and return the fit."""
    result, *seconds = timed(lambda: jgmm.fit(key, X, 3, **options))
    result.check()  # raises, with the remedy, unless the fit converged
    ari = adjusted_rand_score(truth, jgmm.predict(result.params, X))
    starts, status = len(result.restarts.status), jgmm.Status(int(result.status)).name
    print_row(name, starts, int(result.num_steps), status, float(result.mean_log_prob), ari, *seconds)
    return result


def fit_sklearn(name, X, truth, repeats=5, **options):
    """The same by scikit-learn, on one thread: for data this small its threads cost more than they bring."""
    with threadpool_limits(1):
        model, *seconds = timed(lambda: GaussianMixture(n_components=3, random_state=42, **options).fit(X), repeats)
    ari = adjusted_rand_score(truth, model.predict(X))
    status = "CONVERGED" if model.converged_ else "MAX_STEPS"
    print_row(name, options.get("n_init", 1), model.n_iter_, status, model.score(X), ari, *seconds)


def compare(title, key, X, truth):
    """jgmm as it comes, scikit-learn as it comes, and scikit-learn with the starts and the tolerance of jgmm."""
    print_heading(title)
    result = fit_jgmm("jgmm.fit", key, X, truth)
    fit_sklearn("GaussianMixture, defaults", X, truth)
    starts = len(result.restarts.status)
    fit_sklearn("GaussianMixture, like jgmm", X, truth, repeats=0, n_init=starts, tol=1e-8, max_iter=1000)
    return result


# %% Three round blobs. The same key gives the same fit. The first call compiles, later ones only compute.
# scikit-learn's arrays are float64; JAX makes them float32 unless the user enables x64, and that is enough here.
print("""Log-likelihoods are means per row, of the parameters returned. 'next calls' is the median of five.
jgmm: 64 starts raced, float32. GaussianMixture: float64, one thread; 'defaults' are n_init=1, tol=1e-3,
'like jgmm' is n_init=64, tol=1e-8, max_iter=1000 (this tol bounds a step, jgmm's all that is left to gain), all of
them run to the end, timed by one call.""")
key = jax.random.key(42)
blobs, blob_truth = make_blobs(n_samples=1000, n_features=2, centers=3, cluster_std=1.0, random_state=42)
blob_fit = compare("Blobs: 1000 rows, 2 features, 3 components", key, blobs, blob_truth)

print("\ncomponent  weight    mean")
for k, (weight, mean) in enumerate(zip(blob_fit.params.weights, blob_fit.params.means, strict=True)):
    print(f"{k:9}  {weight:6.3f}  {mean[0]:6.3f}  {mean[1]:6.3f}")

# %% Iris: two of its three classes overlap, and a loose tolerance stops short of the optimum.
iris, iris_truth = load_iris(return_X_y=True)
iris_fit = compare("Iris: 150 rows, 4 features, 3 components", key, iris, iris_truth)

# %% Another start and stop, the textbook's. A fit keeps what became of each of its starts.
print_heading("Blobs again: from random assignments, until no parameter moves")
textbook = {"init": "random_resp", "stop": jgmm.ParamStop(), "num_init": 8, "race": (), "accelerate": None}
plain_fit = fit_jgmm("random_resp, ParamStop", key, blobs, blob_truth, **textbook)
restarts = jax.tree.map(np.asarray, plain_fit.restarts)  # fits are pytrees: one call takes all of it to NumPy
print()
for name, values in (("steps", restarts.num_steps), ("log-lik./row", restarts.mean_log_prob)):
    print(f"{name:12}" + "".join(f"{value:9.5g}" for value in values))
reached = np.isclose(restarts.mean_log_prob, blob_fit.mean_log_prob, atol=1e-5)
print(f"{reached.sum()} of {reached.size} starts reach the optimum found above.")


# %% The picture: rows in the colour of their component, and the ellipses that hold half and nine tenths of each.
figure = Figure(figsize=(7.8, 3.7), dpi=150, layout="constrained")  # without pyplot: no display is needed
left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
panels = {
    "Blobs": (left, blob_fit.params, blobs, (0, 1)),
    "Iris, two of four features": (right, iris_fit.params, iris, (2, 3)),
}
for title, (axes, params, X, features) in panels.items():
    drawn = jgmm.plot.clusters(params, X, features=features, ax=axes)
    axes.legend(handles=drawn.centers, title="weights", loc="lower right", frameon=False)
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
left.set_aspect("equal", adjustable="datalim")
right.set(xlabel="petal length (cm)", ylabel="petal width (cm)")
figure.supxlabel("Fainter: more in doubt. Ellipses hold 50 and 90 % of a component.", fontsize="small", color="0.35")
figure.savefig(args.out)
print(f"\nPicture: {args.out}")
