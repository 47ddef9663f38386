"""Restarts: `fit` with its defaults beside scikit-learn, and 32 starts beside scikit-learn's ``n_init=32``.

Thirteen data sets, each feature at mean zero and variance one, full covariances, both with a ridge of
1e-6. Quality: the mean log-likelihood (nats a row) of five fits of jgmm from five keys (worst and best)
and how many of them reach scikit-learn's best of ten starts (to 1e-5). Time: jgmm, compiled, median of the
five; scikit-learn, median of five fits with one start each, with k-means. Both in float64, in processes of their own.
"""

import statistics
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from alone import alone
from common import X64, median_time, timed
from pairs import DATA, RIDGE, blobs, mixed, standardised
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm

TITLE = "Restarts"
THIRTY_TWO = {"all to the end": {"init": "kmeans", "race": ()}, "race": {}}  # options of `fit`


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


def data_set(name):
    """Rows, standardised, and the number of components."""
    return next((standardised(X), k) for other, X, k in data_sets() if other == name)


def ours(name):
    """Mean log-likelihoods of five default fits, their median seconds, and those of the first call."""
    X, k = data_set(name)
    call = lambda seed: jgmm.fit(jax.random.key(seed), X, k, ridge=RIDGE)  # noqa: E731
    _, first = timed(lambda: call(0))
    fits, seconds = zip(*(timed(lambda seed=seed: call(seed)) for seed in range(1, 6)), strict=True)
    return [float(fit.mean_log_prob) for fit in fits], statistics.median(seconds), first


def theirs(name):
    """scikit-learn: median seconds of one start, seconds of ten, and the best mean log-likelihood of these."""
    X, k = data_set(name)
    warnings.simplefilter("ignore", ConvergenceWarning)
    fit = lambda seed, starts: GaussianMixture(k, n_init=starts, random_state=seed, reg_covar=RIDGE).fit(X)  # noqa: E731
    single = statistics.median(timed(lambda seed=seed: fit(seed, 1))[1] for seed in range(1, 6))
    model, ten = timed(lambda: fit(0, 10))
    return single, ten, model.score(X)


def compare(name, X, k):
    (single, ten, best), (reached, seconds, first) = alone(theirs, name), alone(ours, name, **X64)
    return {
        "data": name, "n, d, k": f"{len(X)}, {X.shape[1]}, {k}", "sklearn best of 10": f"{best:.4f}",
        "jgmm worst": f"{min(reached):.4f}", "jgmm best": f"{max(reached):.4f}",
        "reach it": f"{sum(value >= best - 1e-5 for value in reached)} of 5", "jgmm ms": 1e3 * seconds,
        "sklearn 1 start ms": 1e3 * single, "sklearn 10 starts ms": 1e3 * ten, "first call s": first,
    }  # fmt: skip


def eight(n):
    """Rows of 8 features and 8 components."""
    return standardised(mixed(np.random.default_rng(1), n, 8, 8))


def their_thirty_two(n):
    """Seconds of 32 starts of scikit-learn, and the best mean log-likelihood."""
    X = eight(n)
    warnings.simplefilter("ignore", ConvergenceWarning)
    model, seconds = timed(lambda: GaussianMixture(8, n_init=32, random_state=0, reg_covar=RIDGE).fit(X))
    return seconds, model.score(X)


def our_thirty_two(n, dtype, name):
    """Seconds of 32 starts, and the mean log-likelihood reached."""
    X = jnp.asarray(eight(n), dtype)
    call = lambda seed: jgmm.fit(jax.random.key(seed), X, 8, num_init=32, ridge=RIDGE, **THIRTY_TWO[name])  # noqa: E731
    reached = float(call(0).mean_log_prob)
    return median_time(lambda: call(1), 3), reached


def thirty_two(quick):
    """32 starts of both, 8192 x 8, 8 components: k-means starts run to the end, and the race of `fit`."""
    n = 1024 if quick else 8192
    seconds, best = alone(their_thirty_two, n)
    for dtype in ("float64", "float32"):
        for name in THIRTY_TWO:
            ours, reached = alone(our_thirty_two, n, dtype, name, **X64)
            yield {
                "data": f"32 starts, {name}, {dtype}", "n, d, k": f"{n}, 8, 8",
                "sklearn best of 10": f"{best:.4f} (of 32)",
                "jgmm worst": "", "jgmm best": f"{reached:.4f}", "reach it": str(reached >= best - 1e-5),
                "jgmm ms": 1e3 * ours, "sklearn 1 start ms": "", "sklearn 10 starts ms": f"{1e3 * seconds:.0f} (32)",
                "first call s": f"ratio {seconds / ours:.0f}",
            }  # fmt: skip


def rows(quick):
    for name, X, k in data_sets():
        if not (quick and len(X) * X.shape[1] > 20_000):
            yield compare(name, X, k)
    yield from thirty_two(quick)
