"""Many fits in one compiled call, beside a loop of scikit-learn fits with equal settings.

(a) 1000 ragged data sets of 150 to 250 rows, 2 features, 3 components, padded to 250 rows with weight zero: one k-means
start each. (b) 500 bootstrap refits of 1000 rows, 2 features, 3 components, each started from the fit of all rows; the
draws are part of jgmm's time. Both: full covariances, an absolute ridge of 1e-6, at most 100 steps and a tolerance of
1e-3: scikit-learn's bounds one step, jgmm's `LogProbStop` all that is left to gain, so jgmm takes more steps. "default"
is `fit` as it comes (16 starts, tol 1e-8), 25 data sets at a time, so that the starts of all need not be held at once.
Quality: the mean log-likelihood (nats a row), averaged over the fits, and in how many jgmm's is not below by 1e-3.
"""

import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from common import median_time
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm

TITLE = "Many fits in one call"
K = 3
SETTINGS = {"ridge": 1e-6, "stop": jgmm.LogProbStop(1e-3), "max_steps": 100}
ONE_START = SETTINGS | {"init": "kmeans", "num_init": 1, "accelerate": None}


def blobs(rng, n):
    """Rows of three blobs, each with its own correlations."""
    roots, centers = 0.5 * rng.normal(size=(K, 2, 2)) + np.eye(2), 3 * rng.normal(size=(K, 2))
    labels = rng.integers(K, size=n)
    return centers[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(n, 2)))


def loop(data_sets, **options):
    """Seconds of a loop of scikit-learn fits, and the mean log-likelihood of each."""
    models, begin = [], time.perf_counter()
    for X in data_sets:
        models.append(GaussianMixture(K, random_state=0, reg_covar=1e-6, **options).fit(X))
    seconds = time.perf_counter() - begin
    return seconds, np.array([model.score(X) for model, X in zip(models, data_sets, strict=True)])


def compare(task, mode, dtype, call, theirs):
    seconds, scores = theirs
    begin = time.perf_counter()
    result = jax.block_until_ready(call())
    first, ours = time.perf_counter() - begin, median_time(call, 3)
    log_prob = np.asarray(result.mean_log_prob)
    kept = (log_prob >= scores - 1e-3).sum()
    return {
        "task": task, "mode": mode, "dtype": dtype, "jgmm ms": 1e3 * ours, "scikit-learn ms": 1e3 * seconds,
        "ratio": seconds / ours, "first call s": first, "jgmm nats": f"{log_prob.mean():.4f}",
        "scikit-learn nats": f"{scores.mean():.4f}", "not worse": f"{kept} of {len(scores)}",
        "steps, mean": float(result.num_steps.mean()), "most": int(result.num_steps.max()),
    }  # fmt: skip


def at_a_time(function, size):
    """``vmap`` in blocks of this ``size``, one after the other."""
    return lambda *data: jax.lax.map(lambda one: function(*one), data, batch_size=size)


def ragged(quick):
    rng, count = np.random.default_rng(0), 100 if quick else 1000
    data_sets = [blobs(rng, n) for n in rng.integers(150, 251, size=count)]
    theirs = loop(data_sets)
    padded = np.stack([np.pad(X, ((0, 250 - len(X)), (0, 0))) for X in data_sets])
    present = np.arange(250) < np.array([len(X) for X in data_sets])[:, None]
    keys = jax.random.split(jax.random.key(0), count)
    one = lambda key, X, w: jgmm.fit(key, X, K, sample_weight=w, **ONE_START)  # noqa: E731
    default = lambda key, X, w: jgmm.fit(key, X, K, sample_weight=w)  # noqa: E731
    modes = {"vmap": jax.vmap(one), "default, lax.map": at_a_time(default, 25)}
    for dtype in ("float64", "float32"):
        data = keys, jnp.asarray(padded, dtype), jnp.asarray(present, dtype)
        for mode, function in modes.items():
            run = jax.jit(function)
            yield compare(f"{count} ragged data sets", mode, dtype, lambda run=run, data=data: run(*data), theirs)


def bootstrap(quick):
    n, count = 1000, 50 if quick else 500
    rows = blobs(np.random.default_rng(1), n)
    params = jgmm.fit(jax.random.key(0), rows, K).params
    weights = jgmm.resample.bootstrap(jax.random.key(1), n, count)
    resamples = [np.repeat(rows, np.asarray(w, int), axis=0) for w in weights]
    start = {
        "weights_init": np.asarray(params.weights) / float(params.weights.sum()),
        "means_init": np.asarray(params.means),
        "precisions_init": np.linalg.inv(params.covariances),
    }
    theirs = loop(resamples, **start)
    for dtype in ("float64", "float32"):
        X, begin = jnp.asarray(rows, dtype), params.astype(dtype)

        @jax.jit
        def run(key, X=X, begin=begin):
            refit = jax.vmap(lambda w: jgmm.em(begin, X, w, **SETTINGS))
            return refit(jgmm.resample.bootstrap(key, n, count))

        yield compare(f"{count} bootstrap refits", "vmap", dtype, lambda run=run: run(jax.random.key(1)), theirs)


def rows(quick):
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore", ConvergenceWarning)
    yield from ragged(quick)
    yield from bootstrap(quick)
