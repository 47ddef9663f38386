"""Time of one EM iteration, jgmm beside scikit-learn (and gmmx, if installed), from the same start.

jgmm: compiled first; the median of five calls of ``em`` with ten steps less that of five, over five steps.
"spread": the same with the rows spread over as many CPU devices as there are cores (two here).
scikit-learn and gmmx: the median of three fits of 6 iterations less that of 1, over 5. All in the dtype
named, all free to use every core, and each library in processes of its own.

"share": the arithmetic of the least that must be done, 4 n k (d (d + 1) / 2 + d) operations, over the time,
as a share of the rate of a 2048 x 2048 matrix product on this machine.
"""

import importlib.util
import statistics
import warnings

import jax
import numpy as np
from alone import alone
from common import FAMILIES, X64, median_time, problem, product_rate
from jax.sharding import NamedSharding, PartitionSpec
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm

TITLE = "One EM iteration"
SHAPES = [(131072, 2, 3), (131072, 10, 16), (131072, 32, 16), (65536, 64, 32), (16384, 128, 16), (1048576, 4, 8)]


def problems(cov, dtype, quick):
    """Rows and a start of each shape."""
    return [problem(n // 16 if quick else n, d, k, dtype, cov) for n, d, k in SHAPES]


def jgmm_times(cov, dtype, quick):
    """For each shape seconds of an iteration, of one of spread rows, and the operations a second of a product."""
    spread = NamedSharding(jax.make_mesh((jax.device_count(),), ("rows",)), PartitionSpec("rows"))
    places, rate = (jax.devices()[0], spread), product_rate(dtype)
    return [
        (*(time_jgmm(jax.device_put(X, place), start) for place in places), rate)
        for X, start in problems(cov, dtype, quick)
    ]


def sklearn_times(cov, dtype, quick):
    """For each shape seconds of an iteration of scikit-learn."""
    return [time_sklearn(X, start, cov) for X, start in problems(cov, dtype, quick)]


def gmmx_times(cov, dtype, quick):
    """For each shape seconds of an iteration of gmmx."""
    return [time_gmmx(X, start) for X, start in problems(cov, dtype, quick)]


def time_jgmm(X, start):
    call = lambda steps: jgmm.em(start, X, stop=jgmm.LogProbStop(0.0), max_steps=steps)  # noqa: E731
    assert int(call(10).num_steps) == 10
    return (median_time(lambda: call(10)) - median_time(lambda: call(5))) / 5


def time_sklearn(X, start, cov, repeats=3):
    k, d = start.means.shape
    eye = {"full": np.tile(np.eye(d), (k, 1, 1)), "tied": np.eye(d), "diag": np.ones((k, d)), "spherical": np.ones(k)}

    def fit(steps):
        return GaussianMixture(
            k, covariance_type=cov, tol=0, max_iter=steps, weights_init=start.weights, means_init=start.means,
            precisions_init=eye[cov].astype(X.dtype),
        ).fit(X)  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return (median_time(lambda: fit(6), repeats) - median_time(lambda: fit(1), repeats)) / 5


def time_gmmx(X, start):
    from gmmx import EMFitter, GaussianMixtureModelJax

    mixture = GaussianMixtureModelJax.from_squeezed(start.means, np.asarray(start.covariances), start.weights)
    X = jax.device_put(X)

    def fit(steps):
        fitter = EMFitter(tol=0.0, max_iter=steps)
        jax.block_until_ready(fitter.fit(X, mixture))
        return median_time(lambda: fitter.fit(X, mixture), 3)

    return (fit(6) - fit(1)) / 5


def rows(quick):
    ratios = {}
    for cov in FAMILIES:
        for dtype in ("float64", "float32"):
            choice = cov, dtype, quick
            theirs, gmmx = alone(sklearn_times, *choice, **X64), [None] * len(SHAPES)
            if (cov, dtype) == ("full", "float32") and importlib.util.find_spec("gmmx"):
                gmmx = alone(gmmx_times, *choice, JAX_ENABLE_X64="false")  # with x64 on it refuses float32 data
            ours = alone(jgmm_times, *choice, **X64)
            for shape, (one, shared, rate), sklearn, other in zip(SHAPES, ours, theirs, gmmx, strict=True):
                n, d, k = shape[0] // 16 if quick else shape[0], *shape[1:]
                row = {"covariance": cov, "dtype": dtype, "n, d, k": f"{n}, {d}, {k}", "jgmm ms": 1e3 * one}
                row |= {"spread ms": 1e3 * shared, "scikit-learn ms": 1e3 * sklearn}
                row |= {"ratio": sklearn / one, "spread ratio": sklearn / shared, "gmmx ms": "", "ratio to gmmx": ""}
                ratios.setdefault(f"{cov}, {dtype}", []).append(sklearn / one)
                ratios.setdefault(f"{cov}, {dtype}, spread", []).append(sklearn / shared)
                if other is not None:
                    row |= {"gmmx ms": 1e3 * other, "ratio to gmmx": other / one}
                    ratios.setdefault("full, float32, to gmmx", []).append(other / one)
                row["share"] = 4 * n * k * (d * (d + 1) / 2 + d) / one / rate if cov == "full" else ""
                yield row
    for name, values in ratios.items():
        yield {"covariance": f"geometric mean, {name}", "ratio": statistics.geometric_mean(values)}
