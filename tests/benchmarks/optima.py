"""The best optimum of every pair of data and mixture, by brute force: thousands of starts of every kind.

    python optima.py [SECONDS]     for each pair, at least (default 20)

What it finds goes to ``tests/data/optima.csv`` where that is better than what stands there. An optimum counts if every
component has the rows that its covariance needs and no direction in which the ridge makes up more than a hundredth of
its variance.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pairs

import jgmm
from jgmm._starts.makers import STARTS

NUM_STARTS, SURVIVORS, STEPS = 128, 16, 20
KINDS = [getattr(jgmm.init, name) for name in STARTS]


def any_start(key, X, k, *, cov, sample_weight):
    """A start of one of all kinds."""
    kind, key = jax.random.split(key)
    makers = [lambda key, make=make: make(key, X, k, cov=cov, sample_weight=sample_weight) for make in KINDS]
    return jax.lax.switch(jax.random.randint(kind, (), 0, len(KINDS)), makers, key)


def sound(result):
    """Whether a fit ended at an optimum that counts."""
    return int(result.status) < jgmm.Status.DEGENERATE and not np.asarray(result.component_status).any()


def search(name, k, cov, seconds):
    """The highest mean log-likelihood that fits from many keys reach, and the number of starts."""
    X = jnp.asarray(pairs.rows(name))
    race = ((STEPS, SURVIVORS),) if len(X) <= 1024 else ()  # of which a sample would be a judge too weak
    starts = NUM_STARTS if race else 32
    best, begin, key = -np.inf, time.perf_counter(), 0
    while key < 2 or time.perf_counter() - begin < seconds:
        result = jgmm.fit(
            jax.random.key(1000 + key), X, k, cov=cov, init=any_start, num_init=starts, race=race, ridge=pairs.RIDGE
        )
        if sound(result) and (result.params.cov.least_rows(X.shape[1]) <= result.stats.weight).all():
            best = max(best, float(result.mean_log_prob))
        key += 1
    return best, key * starts


def main(seconds):
    jax.config.update("jax_enable_x64", True)
    for name, k, cov in pairs.pairs():
        known = pairs.optima().get((name, k, cov), -np.inf)
        best, starts = search(name, k, cov, seconds)
        pairs.keep({(name, k, cov): best})
        print(f"{name}, k = {k}, {cov}: {best:.6f} from {starts} starts (known: {known:.6f})", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
