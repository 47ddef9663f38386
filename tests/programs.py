"""The programs that a user's first call compiles: those held to a budget, and timed by the benchmarks."""

import re

import jax
import numpy as np

import jgmm
from jgmm._starts.makers import STARTS


def programs(n, d, k, cov="full", dtype="float32"):
    """{name: (function, arguments)} for rows of k blobs; the functions ask only for what is public."""
    rng = np.random.default_rng(0)
    X = (3 * rng.normal(size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(dtype)
    start = jgmm.GMM(np.full(k, 1 / k, dtype), X[:k], covariances(k, d, cov, dtype))

    def em(accelerate):
        return (lambda start, X: jgmm.em(start, X, accelerate=accelerate)), (start, X)

    def init(name):
        return (lambda key, X: getattr(jgmm.init, name)(key, X, k, cov=cov)), (key, X)

    key = jax.random.key(0)
    return {
        "fit": (lambda key, X: jgmm.fit(key, X, k, cov=cov), (key, X)),
        "em": em(None),
        "em, Anderson": em("anderson"),
        "em, SQUAREM": em("squarem"),
        "e_step": (jgmm.e_step, (start, X)),
        "step": (jgmm.step, (start, X)),
        **{f"init.{name}": init(name) for name in STARTS},
    }


def covariances(k, d, cov, dtype):
    """The unit matrix, of each family."""
    return {
        "full": lambda: jgmm.Full(np.tile(np.eye(d, dtype=dtype), (k, 1, 1))),
        "tied": lambda: jgmm.Tied(np.eye(d, dtype=dtype)),
        "diag": lambda: jgmm.Diag(np.ones((k, d), dtype)),
        "spherical": lambda: jgmm.Spherical(np.ones(k, dtype)),
    }[cov]()


def fusions(function, arguments, options=None):
    """How many kernels XLA makes of a function with these compiler options: its seconds go with them."""
    text = jax.jit(function).lower(*arguments).compile(compiler_options=options).as_text()
    return len(re.findall(r" fusion\(", text))
