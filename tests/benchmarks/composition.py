"""Many fits in one compiled call, beside a loop of scikit-learn fits with equal settings.

(a) 1000 ragged data sets of 150 to 250 rows, 2 features, 3 components, padded to 250 rows with weight zero: one k-means
start each. (b) 500 bootstrap refits of 1000 rows, 2 features, 3 components, each started from the fit of all rows; the
draws are part of jgmm's time. Both: full covariances, an absolute ridge of 1e-6, at most 100 steps and a tolerance of
1e-3: scikit-learn's bounds one step, jgmm's `LogProbStop` all that is left to gain, so jgmm takes more steps. "default"
is `fit` as it comes (16 starts, tol 1e-8), 25 data sets at a time, so that the starts of all need not be held at once.
Each library has processes of its own.
Quality: the mean log-likelihood (nats a row), averaged over the fits, and in how many jgmm's is not below by 1e-3.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from alone import alone
from common import X64, median_time, timed
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
    warnings.simplefilter("ignore", ConvergenceWarning)
    models, seconds = timed(
        lambda: [GaussianMixture(K, random_state=0, reg_covar=1e-6, **options).fit(X) for X in data_sets]
    )
    return seconds, [model.score(X) for model, X in zip(models, data_sets, strict=True)]


def run_of(call):
    """Of a compiled call: seconds of the first, median seconds, mean log-likelihoods and numbers of steps."""
    result, first = timed(call)
    return first, median_time(call, 3), result.mean_log_prob.tolist(), result.num_steps.tolist()


def row(task, mode, dtype, ours, theirs):
    (first, seconds, log_prob, steps), (their_seconds, scores) = ours, theirs
    kept = (np.array(log_prob) >= np.array(scores) - 1e-3).sum()
    return {
        "task": task, "mode": mode, "dtype": dtype, "jgmm ms": 1e3 * seconds, "scikit-learn ms": 1e3 * their_seconds,
        "ratio": their_seconds / seconds, "first call s": first, "jgmm nats": f"{np.mean(log_prob):.4f}",
        "scikit-learn nats": f"{np.mean(scores):.4f}", "not worse": f"{kept} of {len(scores)}",
        "steps, mean": float(np.mean(steps)), "most": max(steps),
    }  # fmt: skip


def at_a_time(function, size):
    """``vmap`` in blocks of this ``size``, one after the other."""
    return lambda *data: jax.lax.map(lambda one: function(*one), data, batch_size=size)


def fit_one(key, X, w):
    return jgmm.fit(key, X, K, sample_weight=w, **ONE_START)


def fit_default(key, X, w):
    return jgmm.fit(key, X, K, sample_weight=w)


MODES = {"vmap": jax.vmap(fit_one), "default, lax.map": at_a_time(fit_default, 25)}


def ragged(count):
    """So many data sets of 150 to 250 rows."""
    rng = np.random.default_rng(0)
    return [blobs(rng, n) for n in rng.integers(150, 251, size=count)]


def their_ragged(count):
    return loop(ragged(count))


def our_ragged(count, mode, dtype):
    data_sets = ragged(count)
    padded = np.stack([np.pad(X, ((0, 250 - len(X)), (0, 0))) for X in data_sets])
    present = np.arange(250) < np.array([len(X) for X in data_sets])[:, None]
    keys = jax.random.split(jax.random.key(0), count)
    data, run = (keys, jnp.asarray(padded, dtype), jnp.asarray(present, dtype)), jax.jit(MODES[mode])
    return run_of(lambda: run(*data))


def resampled(count):
    """Rows, a mixture of them, and the key and the weights of so many bootstrap samples."""
    rows, key = blobs(np.random.default_rng(1), 1000), jax.random.key(1)
    params = jgmm.fit(jax.random.key(0), rows, K).params
    return rows, params, key, jgmm.resample.bootstrap(key, len(rows), count)


def their_refits(count):
    rows, params, _, weights = resampled(count)
    start = {
        "weights_init": np.asarray(params.weights) / float(params.weights.sum()),
        "means_init": np.asarray(params.means),
        "precisions_init": np.linalg.inv(params.covariances),
    }
    return loop([np.repeat(rows, np.asarray(w, int), axis=0) for w in weights], **start)


def our_refits(count, dtype):
    rows, params, key, _ = resampled(count)
    X, begin = jnp.asarray(rows, dtype), params.astype(dtype)

    @jax.jit
    def run(key):
        refit = jax.vmap(lambda w: jgmm.em(begin, X, w, **SETTINGS))
        return refit(jgmm.resample.bootstrap(key, len(X), count))

    return run_of(lambda: run(key))


def rows(quick):
    count, refits = (100, 50) if quick else (1000, 500)
    theirs = alone(their_ragged, count)
    for dtype in ("float64", "float32"):
        for mode in MODES:
            ours = alone(our_ragged, count, mode, dtype, **X64)
            yield row(f"{count} ragged data sets", mode, dtype, ours, theirs)
    theirs = alone(their_refits, refits, **X64)
    for dtype in ("float64", "float32"):
        yield row(f"{refits} bootstrap refits", "vmap", dtype, alone(our_refits, refits, dtype, **X64), theirs)
