"""Time of one EM iteration, jgmm beside scikit-learn, from the same start in the same run.

    python tests/benchmarks/iteration.py [--quick]

jgmm: compiled first, then the median of five calls of ``em`` with a fixed number of steps, ready when
timed, over the steps (its first E-step counts as one). scikit-learn: the median of three fits of 6
iterations less that of 1, over 5. Both in the dtype named, both free to use every core.
"""

import argparse
import os
import platform
import statistics
import time
import warnings

import jax
import jaxlib
import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm

SHAPES = [(131072, 2, 3), (131072, 10, 16), (131072, 32, 16), (65536, 64, 32), (16384, 128, 16), (1048576, 4, 8)]
STEPS = 5


def median_time(call, repeats):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def problem(n, d, k, dtype):
    rng = np.random.default_rng(0)
    centers = 3 * rng.normal(size=(k, d))
    X = (centers[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(dtype)
    means = (centers + 0.5 * rng.normal(size=(k, d))).astype(dtype)
    return X, jgmm.GMM(np.full(k, 1 / k, dtype), means, jgmm.Full(np.tile(np.eye(d, dtype=dtype), (k, 1, 1))))


def time_jgmm(X, start):
    X = jax.numpy.asarray(X)
    stop = jgmm.LogProbStop(0.0)
    call = lambda: jgmm.em(start, X, stop=stop, max_steps=STEPS)  # noqa: E731
    assert int(call().num_steps) == STEPS
    return median_time(call, 5) / (STEPS + 1)


def time_sklearn(X, start, dtype):
    def fit(steps):
        precisions = np.tile(np.eye(X.shape[1], dtype=dtype), (len(start.weights), 1, 1))
        return GaussianMixture(
            len(start.weights), tol=0, max_iter=steps, weights_init=start.weights, means_init=start.means,
            precisions_init=precisions,
        ).fit(X)  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return (median_time(lambda: fit(6), 3) - median_time(lambda: fit(1), 3)) / 5


def main():
    parser = argparse.ArgumentParser(description="Time one EM iteration of jgmm and scikit-learn.")
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the rows")
    quick = parser.parse_args().quick
    jax.config.update("jax_enable_x64", True)
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, jax {jax.__version__}, ",
        end="",
    )
    print(f"jaxlib {jaxlib.__version__}, scikit-learn {sklearn.__version__}, backend {jax.default_backend()}\n")
    print("| n, d, k | dtype | jgmm | scikit-learn | ratio |\n|---|---|---|---|---|")
    ratios = {}
    for dtype in ("float64", "float32"):
        for n, d, k in SHAPES:
            X, start = problem(n // 16 if quick else n, d, k, dtype)
            ours, theirs = time_jgmm(X, start), time_sklearn(X, start, dtype)
            ratios.setdefault(dtype, []).append(theirs / ours)
            print(
                f"| {len(X)}, {d}, {k} | {dtype} | {1e3 * ours:.1f} ms | {1e3 * theirs:.1f} ms | {theirs / ours:.1f} |",
                flush=True,
            )
    for dtype, values in ratios.items():
        print(f"\nGeometric mean, {dtype}: {statistics.geometric_mean(values):.1f}")


if __name__ == "__main__":
    main()
