"""Restarts: `fit` with its defaults beside scikit-learn, and 32 starts beside scikit-learn's ``n_init=32``.

Thirteen data sets, each feature at mean zero and variance one, full covariances, both with a ridge of
1e-6. Quality: the mean log-likelihood (nats a row) of five fits of jgmm from five keys (worst and best)
and how many of them reach scikit-learn's best of ten starts (to 1e-5). Time: jgmm, compiled, median of the
five; scikit-learn, median of five fits with one start each, with k-means. Both in float64.
"""

import statistics
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from common import median_time
from pairs import DATA, RIDGE, blobs, mixed, standardised
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm

TITLE = "Restarts"


def data_sets():
    """Name, rows, number of components."""
    rng = np.random.default_rng(0)
    read = lambda name: np.loadtxt(DATA / name, delimiter=",", skiprows=1)  # noqa: E731
    stretched = datasets.make_blobs(2000, centers=5, random_state=0)[0] @ np.array([[0.6, -0.64], [-0.41, 0.85]])
    unequal = blobs(rng, (1500, 300, 100, 50), [[0] * 3, [3] * 3, [-3, 2, 0], [2, -3, 1]], (1, 0.5, 0.3, 0.2))
    many = datasets.make_blobs(5000, centers=25, n_features=2, cluster_std=0.6, random_state=1)[0]
    yield "iris", datasets.load_iris().data, 3
    yield "wine", datasets.load_wine().data, 3
    yield "breast cancer", datasets.load_breast_cancer().data, 2
    yield "digits", datasets.load_digits().data, 10
    yield "Old Faithful", read("faithful.csv"), 3
    yield "diabetes", read("diabetes.csv"), 3
    yield "anisotropic", stretched, 5
    yield "unequal sizes", unequal, 4
    yield "overlapping", blobs(rng, [1000] * 4, 2 * np.eye(4), [1] * 4), 4
    yield "many components", many, 25
    yield "20 features", mixed(rng, 8000, 20, 8), 8
    yield "moons", datasets.make_moons(2000, noise=0.08, random_state=0)[0], 6
    yield "40000 rows", mixed(rng, 40000, 6, 10), 10


def compare(name, X, k):
    fits, seconds, singles = [], [], []
    call = lambda seed: jgmm.fit(jax.random.key(seed), X, k, ridge=RIDGE)  # noqa: E731
    start = time.perf_counter()
    jax.block_until_ready(call(0))
    first = time.perf_counter() - start
    for seed in range(1, 6):
        start = time.perf_counter()
        fits.append(float(jax.block_until_ready(call(seed)).mean_log_prob))
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        GaussianMixture(k, random_state=seed, reg_covar=RIDGE).fit(X)
        singles.append(time.perf_counter() - start)
    start = time.perf_counter()
    best = GaussianMixture(k, n_init=10, random_state=0, reg_covar=RIDGE).fit(X).score(X)
    ten = time.perf_counter() - start
    ours, theirs = statistics.median(seconds), statistics.median(singles)
    return {
        "data": name, "n, d, k": f"{len(X)}, {X.shape[1]}, {k}", "sklearn best of 10": f"{best:.4f}",
        "jgmm worst": f"{min(fits):.4f}", "jgmm best": f"{max(fits):.4f}",
        "reach it": f"{sum(value >= best - 1e-5 for value in fits)} of 5", "jgmm ms": 1e3 * ours,
        "sklearn 1 start ms": 1e3 * theirs, "sklearn 10 starts ms": 1e3 * ten, "first call s": first,
    }  # fmt: skip


def thirty_two(quick):
    """32 starts of both, 8192 x 8, 8 components: k-means starts run to the end, and the race of `fit`."""
    n = 1024 if quick else 8192
    X = standardised(mixed(np.random.default_rng(1), n, 8, 8))
    start = time.perf_counter()
    theirs = GaussianMixture(8, n_init=32, random_state=0, reg_covar=RIDGE).fit(X)
    seconds, best = time.perf_counter() - start, theirs.score(X)
    for dtype in ("float64", "float32"):
        rows = jnp.asarray(X, dtype)
        for name, options in (("all to the end", {"init": "kmeans", "race": ()}), ("race", {})):
            call = lambda seed, rows=rows, options=options: jgmm.fit(  # noqa: E731
                jax.random.key(seed), rows, 8, num_init=32, ridge=RIDGE, **options
            )
            reached = float(call(0).mean_log_prob)
            ours = median_time(lambda call=call: call(1), 3)
            yield {
                "data": f"32 starts, {name}, {dtype}", "n, d, k": f"{n}, 8, 8",
                "sklearn best of 10": f"{best:.4f} (of 32)",
                "jgmm worst": "", "jgmm best": f"{reached:.4f}", "reach it": str(reached >= best - 1e-5),
                "jgmm ms": 1e3 * ours, "sklearn 1 start ms": "", "sklearn 10 starts ms": f"{1e3 * seconds:.0f} (32)",
                "first call s": f"ratio {seconds / ours:.0f}",
            }  # fmt: skip


def rows(quick):
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name, X, k in data_sets():
        if not (quick and len(X) * X.shape[1] > 20_000):
            yield compare(name, standardised(X), k)
    yield from thirty_two(quick)
