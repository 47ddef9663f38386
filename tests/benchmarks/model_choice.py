"""A grid of models, k = 1..9 by four families: `jgmm.select.sweep`, separate calls of `jgmm.fit`, and scikit-learn.

Each is a process of its own with nothing cached on disk, float64, the ridge 1e-6 of scikit-learn (``reg_covar``), its
other options as they are. "CPU": CPU seconds of all threads, compilation included. "again": seconds of the same sweep
once more. "wins": cells whose log-likelihood is at least that of scikit-learn's best of ten starts, less 1e-6 a row.
"unsound": cells that the table marks as degenerate or as resting on few rows. STARTS is jgmm's ``num_init`` (0 for its
default) or scikit-learn's ``n_init``. Quick: iris alone. (A file "select.py" here would hide Python's own.)
"""

import time
import warnings

import jax
import numpy as np
from alone import alone
from common import X64
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm

TITLE = "Choosing a model"
RIDGE = 1e-6
COUNTS, FAMILIES = range(1, 10), ("full", "tied", "diag", "spherical")


def data(name):
    """iris, or 10,000 rows of five features: six blobs that overlap, of different shape and size."""
    if name == "iris":
        return load_iris().data
    rng = np.random.default_rng(0)
    labels = rng.choice(6, size=10_000, p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    mixing = rng.normal(size=(6, 5, 5)) / 5**0.5 + np.eye(5)
    return 2.5 * rng.normal(size=(6, 5))[labels] + np.einsum("nij,nj->ni", mixing[labels], rng.normal(size=(10_000, 5)))


def with_sweep(X, starts):
    found = jgmm.select.sweep(jax.random.key(0), X, COUNTS, cov=FAMILIES, ridge=RIDGE, **starts)
    best, columns = found.best_index, found.columns
    return columns["log_prob"].tolist(), f"{columns['cov'][best]}, {columns['num_components'][best]}", found.tier < 3


def separate(X, starts):
    fits = [
        jgmm.fit(jax.random.key(0), X, k, cov=cov, ridge=RIDGE, **starts).stats.log_prob
        for cov in FAMILIES
        for k in COUNTS
    ]
    return [float(log_prob) for log_prob in fits], "", ()


def with_sklearn(X, starts):
    warnings.simplefilter("ignore", ConvergenceWarning)
    models = [
        GaussianMixture(k, covariance_type=cov, random_state=0, reg_covar=RIDGE, **starts).fit(X)
        for cov in FAMILIES
        for k in COUNTS
    ]
    best = min(models, key=lambda model: model.bic(X))
    return [model.score(X) * len(X) for model in models], f"{best.covariance_type}, {best.n_components}", ()


WAYS = {"sweep": with_sweep, "separate": separate, "sklearn": with_sklearn}


def measured(way, name, starts):
    """Seconds, CPU seconds, log-likelihoods and the model that BIC chooses; in this process."""
    X = data(name)
    options = {"n_init" if way == "sklearn" else "num_init": starts} if starts else {}
    times = []
    for _ in range(2 if way == "sweep" and name == "iris" else 1):
        begin, cpu = time.perf_counter(), time.process_time()
        log_prob, chosen, unsound = WAYS[way](X, options)
        times.append((time.perf_counter() - begin, time.process_time() - cpu))
    again = times[1][0] if len(times) > 1 else ""
    run = {"seconds": times[0][0], "CPU": times[0][1], "again": again, "chosen": chosen}
    return run | {"unsound": int(sum(unsound)), "log_prob": log_prob}


def child(*arguments):
    return alone(measured, *arguments, JAX_ENABLE_COMPILATION_CACHE="false", **X64)


def rows(quick):
    for name in ("iris",) if quick else ("iris", "10,000 x 5"):
        peer = child("sklearn", name, 10)
        target = np.array(peer["log_prob"]) - 1e-6 * len(data(name))
        runs = [("sklearn", 1), ("sweep", 0), ("sweep", 16)] + ([("separate", 0)] if name == "iris" else [])
        for (way, starts), run in [
            (("sklearn", 10), peer),
            *((run, child(run[0], name, run[1])) for run in runs),
        ]:
            wins = int((np.array(run.pop("log_prob")) >= target).sum())
            yield {"data": name, "way": way, "starts": starts or "default", **run, "wins": f"{wins} of {len(target)}"}
