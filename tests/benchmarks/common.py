"""What the benchmarks share: the clock, the machine, and mixtures to start from."""

import os
import platform
import statistics
import time

import jax
import jaxlib
import numpy as np
import sklearn

import jgmm

# Each core a device of its own. One array lies on one of them unless it is spread, and is worked on as ever.
jax.config.update("jax_num_cpu_devices", os.cpu_count())

FAMILIES = {
    "full": lambda k, d, dtype: jgmm.Full(np.tile(np.eye(d, dtype=dtype), (k, 1, 1))),
    "tied": lambda k, d, dtype: jgmm.Tied(np.eye(d, dtype=dtype)),
    "diag": lambda k, d, dtype: jgmm.Diag(np.ones((k, d), dtype)),
    "spherical": lambda k, d, dtype: jgmm.Spherical(np.ones(k, dtype)),
}


X64 = {"JAX_ENABLE_X64": "true"}  # the environment of a process in float64


def timed(call):
    """(result, seconds) of a call."""
    begin = time.perf_counter()
    result = jax.block_until_ready(call())
    return result, time.perf_counter() - begin


def median_time(call, repeats=5):
    """Seconds of a call, ready when timed; the caller has compiled it."""
    return statistics.median(timed(call)[1] for _ in range(repeats))


def problem(n, d, k, dtype, cov="full"):
    """Rows of k Gaussian blobs and a mixture near them to start from."""
    rng = np.random.default_rng(0)
    centers = 3 * rng.normal(size=(k, d))
    X = (centers[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(dtype)
    means = (centers + 0.5 * rng.normal(size=(k, d))).astype(dtype)
    return X, jgmm.GMM(np.full(k, 1 / k, dtype), means, FAMILIES[cov](k, d, dtype))


def product_rate(dtype):
    """Multiplications and additions a second of a product of two 2048 x 2048 matrices."""
    a = jax.random.normal(jax.random.key(0), (2048, 2048), dtype)
    square = jax.jit(lambda a: jax.numpy.matmul(a, a, precision="highest"))
    jax.block_until_ready(square(a))
    return 2 * 2048**3 / median_time(lambda: square(a), 7)


def machine():
    """Where and with what this runs."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
