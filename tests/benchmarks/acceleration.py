"""Sweeps over the data until the mean log-likelihood is within 1e-9 of the optimum: EM, SQUAREM, Anderson.

Three mixtures whose components lie about one standard deviation apart (2000 rows each), and Old Faithful with
three components and a tied covariance; float64, all three methods from one start of k-means. The optimum
(nats a row) is the best of three runs to where nothing moves (`ParamStop(1e-9)`). Sweeps: the first entry of
``history`` that is near enough. ms: a compiled run of that many steps, the median of five.
"""

from pathlib import Path

import jax
import numpy as np
from common import median_time

import jgmm

TITLE = "Sweeps to the optimum"
METHODS = {"EM": None, "SQUAREM": "squarem", "Anderson": "anderson"}
MOST = 50_000
NEAR = 1e-9


def apart(centers, covs, seed, n=2000):
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(centers), size=n)
    roots = np.linalg.cholesky(np.asarray(covs, float))
    noise = np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(n, len(centers[0]))))
    return np.asarray(centers)[labels] + noise


def mixtures():
    """Name, rows, number of components, covariance."""
    yield "1-d, 2 components", apart([[0.0], [1.5]], [[[1.0]], [[0.5]]], 1), 2, "full"
    three = [np.eye(2), [[1, 0.6], [0.6, 0.8]], [[0.5, -0.3], [-0.3, 1]]]
    yield "2-d, 3 components", apart([[0, 0], [1, 1], [1.5, -0.5]], three, 2), 3, "full"
    yield "5-d, 4 components", apart(np.eye(5)[:4], [np.eye(5)] * 4, 4), 4, "spherical"
    faithful = Path(__file__).parents[1] / "data" / "faithful.csv"
    yield "Old Faithful, 3 components", np.loadtxt(faithful, delimiter=",", skiprows=1), 3, "tied"


def compare(name, X, k, cov):
    X = jax.device_put(X)
    start = jgmm.init.kmeans(jax.random.key(0), X, k, cov=cov)

    def run(method, stop, most, history=None):
        return jgmm.em(start, X, stop=stop, max_steps=most, history=history, accelerate=METHODS[method])

    paths = {m: np.asarray(run(m, jgmm.ParamStop(1e-9), MOST, MOST + 1).history) for m in METHODS}
    optimum = max(np.nanmax(path) for path in paths.values())
    row = {"mixture": f"{name}, {cov}", "optimum": f"{optimum:.9f}"}
    near = {method: np.flatnonzero(path >= optimum - NEAR) for method, path in paths.items()}
    assert all(len(sweeps) for sweeps in near.values()), f"{name}: not one optimum"
    sweeps = {method: int(found[0]) for method, found in near.items()}
    row |= {f"{method} sweeps": count for method, count in sweeps.items()}
    row["EM / Anderson"] = sweeps["EM"] / sweeps["Anderson"]
    for method, count in sweeps.items():
        call = lambda method=method, count=count: run(method, jgmm.LogProbStop(0.0), count)  # noqa: E731
        assert int(call().num_steps) == count
        row[f"{method} ms"] = 1e3 * median_time(call)
    return row


def rows(quick):
    jax.config.update("jax_enable_x64", True)
    for name, X, k, cov in mixtures():
        if not (quick and k == 4):
            yield compare(name, X, k, cov)
