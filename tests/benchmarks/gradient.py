"""Sweeps over the data until the mean log-likelihood is within 1e-6 of the optimum: EM and gradients.

EM, EM under Anderson acceleration, L-BFGS (`fit_gradient`'s default), Adam on all rows, Adam on mini-batches of
64 rows. Float64, all from one start of k-means; the optimum (nats a row) is that of EM run to where nothing moves.
A sweep is one E-step of all rows: each evaluation of a line search is one, a pass over mini-batches with the
evaluation after it two. ms: a compiled run of that many steps, the median of five. Adam steps by 0.05, over
mini-batches by 0.01 at first and half as much every 20 passes. Empty: not there in 20,000 steps or 300 passes;
"another": on the way to a higher optimum.
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
from acceleration import apart
from common import median_time
from sklearn.datasets import load_iris

import jgmm

TITLE = "Sweeps by gradients to the optimum"
NEAR = 1e-6
BATCH = 64
SWEEPS = []  # one entry for each evaluation of a line search


def counted(optimizer):
    """The optimiser, with its line search's evaluations counted: for no run that is timed."""

    def update(updates, state, params, *, value_fn, **rest):
        def loss(vector):
            jax.debug.callback(lambda: SWEEPS.append(1))
            return value_fn(vector)

        return optimizer.update(updates, state, params, value_fn=loss, **rest)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def mixtures():
    """Name, rows, number of components."""
    shapes = [np.eye(2), [[1, 0.6], [0.6, 0.8]], [[0.5, -0.3], [-0.3, 1]]]
    centers = np.array([[0, 0], [1, 1], [1.5, -0.5]])
    yield "overlapping, 2000 x 2", apart(centers, shapes, 2), 3
    yield "separated, 2000 x 2", apart(6 * centers, shapes, 2), 3
    yield "iris, 150 x 4", load_iris().data, 3
    data = Path(__file__).parents[1] / "data"
    yield "Old Faithful, 272 x 2", np.loadtxt(data / "faithful.csv", delimiter=",", skiprows=1), 2
    yield "diabetes, 145 x 3", np.loadtxt(data / "diabetes.csv", delimiter=",", skiprows=1), 3
    centers = 0.6 * np.random.default_rng(0).normal(size=(3, 20))
    yield "overlapping, 2000 x 20", apart(centers, [np.eye(20)] * 3, 0), 3


def fewest(enough, most):
    """The fewest steps that are enough, by doubling and halving; None beyond ``most``."""
    high = 1
    while not enough(high):
        if high >= most:
            return None
        high = min(2 * high, most)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def methods(start, X):
    """Name -> a run of so many steps, the most steps tried, and how many sweeps so many steps are."""
    never = {"stop": jgmm.LogProbStop(0.0)}
    by_batch = {"batch_size": BATCH, "key": jax.random.key(0)}
    lbfgs, adam = optax.lbfgs(), optax.adam(0.05)
    stepwise = optax.adam(optax.exponential_decay(0.01, 20 * (len(X) // BATCH), 0.5))

    def em(steps, **options):
        return jgmm.em(start, X, max_steps=steps, **never, **options)

    def gradient(steps, optimizer, **options):
        return jgmm.fit_gradient(start, X, optimizer=optimizer, max_steps=steps, **never, **options)

    def with_searches(steps):
        SWEEPS.clear()
        jax.block_until_ready(gradient(steps, counted(lbfgs)))
        jax.effects_barrier()
        return steps + len(SWEEPS)

    return {
        "EM": (em, 20_000, lambda steps: steps),
        "Anderson": (partial(em, accelerate="anderson"), 20_000, lambda steps: steps),
        "L-BFGS": (partial(gradient, optimizer=lbfgs), 20_000, with_searches),
        "Adam": (partial(gradient, optimizer=adam), 20_000, lambda steps: steps),
        "mini-batches": (partial(gradient, optimizer=stepwise, **by_batch), 300, lambda steps: 2 * steps),
    }


def compare(name, X, k):
    X = jax.device_put(np.asarray(X))
    start = jgmm.init.kmeans(jax.random.key(0), X, k)
    optimum = float(jgmm.em(start, X, stop=jgmm.ParamStop(1e-9), max_steps=50_000).check().mean_log_prob)
    row, times = {"data": name, "optimum": f"{optimum:.6f}"}, {}
    for method, (run, most, sweeps) in methods(start, X).items():
        steps = fewest(lambda m, run=run: float(run(m).mean_log_prob) >= optimum - NEAR, most)
        row[f"{method} sweeps"], times[f"{method} ms"] = "", ""
        if steps is not None and float(run(steps).mean_log_prob) > optimum + NEAR:
            row[f"{method} sweeps"] = "another"
        elif steps is not None:
            row[f"{method} sweeps"] = sweeps(steps)
            times[f"{method} ms"] = 1e3 * median_time(lambda run=run, steps=steps: run(steps))
    return row | times


def rows(quick):
    jax.config.update("jax_enable_x64", True)
    for name, X, k in mixtures():
        if not (quick and X.shape[1] == 20):
            yield compare(name, X, k)
