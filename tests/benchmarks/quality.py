"""How often the default fit ends at the best optimum known, and in what time, beside scikit-learn.

    python quality.py [PAIRS]      the cheapest so many (default all)

For every pair of data and mixture in ``tests/data/optima.csv``: five fits of jgmm with its defaults from five keys,
five of scikit-learn with one start and one with ten, all in float64 with a ridge of 1e-6. A fit reaches the optimum if
its mean log-likelihood is within 1e-3 nats a row of it, with no component without support. Times are medians, compiled;
each library has processes of its own.
"""

import statistics
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pairs
from alone import alone
from common import X64, timed
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm

KEYS = 5
WITHIN = 1e-3


def ours(name, k, cov):
    """Mean log-likelihoods of `KEYS` default fits, -inf where a component has no support, and the median seconds."""
    X = jnp.asarray(pairs.rows(name))
    call = lambda seed: jgmm.fit(jax.random.key(seed), X, k, cov=cov, ridge=pairs.RIDGE)  # noqa: E731
    timed(lambda: call(KEYS))  # compiles
    fits = [timed(lambda seed=seed: call(seed)) for seed in range(KEYS)]
    values = [float(fit.mean_log_prob) if int(fit.status) < jgmm.Status.DEGENERATE else -np.inf for fit, _ in fits]
    return values, statistics.median(seconds for _, seconds in fits)


def theirs(name, k, cov, num_init, seeds):
    """The same of scikit-learn, from so many seeds."""
    X = pairs.rows(name)
    warnings.simplefilter("ignore", ConvergenceWarning)
    make = lambda seed: GaussianMixture(k, covariance_type=cov, n_init=num_init, random_state=seed, reg_covar=1e-6)  # noqa: E731
    fits = [timed(lambda seed=seed: make(seed).fit(X)) for seed in range(seeds)]
    return [fit.score(X) for fit, _ in fits], statistics.median(seconds for _, seconds in fits)


def main(most):
    optima, rows = pairs.optima(), []
    for name, k, cov in pairs.pairs()[:most]:
        fits = {
            "jgmm": alone(ours, name, k, cov, **X64),
            "sklearn 1": alone(theirs, name, k, cov, 1, KEYS),
            "sklearn 10": alone(theirs, name, k, cov, 10, 1),
        }
        best = optima[name, k, cov]
        reached = {peer: np.mean([value >= best - WITHIN for value in values]) for peer, (values, _) in fits.items()}
        rows.append((reached, {peer: seconds for peer, (_, seconds) in fits.items()}))
        gap = min(fits["jgmm"][0]) - fits["sklearn 10"][0][0]
        cells = " ".join(f"{peer}: {reached[peer]:.0%} {1e3 * rows[-1][1][peer]:.1f} ms;" for peer in fits)
        print(f"{name}, k = {k}, {cov}: {cells} worst less sklearn 10: {gap:+.4f}", flush=True)
    print(f"\n| {len(rows)} pairs | at the best optimum | ms, geometric mean |\n|---|---|---|")
    for peer in rows[0][0]:
        share = np.mean([reached[peer] for reached, _ in rows])
        mean = np.exp(np.mean([np.log(seconds[peer]) for _, seconds in rows]))
        print(f"| {peer} | {share:.0%} | {1e3 * mean:.1f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
