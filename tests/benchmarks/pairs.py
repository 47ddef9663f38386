"""Data sets, families and numbers of components whose best optimum is known: ``tests/data/optima.csv``.

Every feature has mean zero and variance one, so that one ridge means the same to all libraries.
"""

import csv
import functools
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA

DATA = Path(__file__).parents[1] / "data"
OPTIMA = DATA / "optima.csv"
FAMILIES = ("full", "tied", "diag", "spherical")
RIDGE = 1e-6
COUNTS = {  # of components
    "iris": (3, 5),
    "wine": (3, 6),
    "faithful": (3, 5),
    "diabetes": (3, 5),
    "digits, 20 components": (5, 10),
    "breast cancer, 10 components": (2, 5),
    "overlapping": (4, 6),
    "unequal": (4, 6),
    "many": (10, 25),
    "stretched": (5, 8),
    "moons": (6, 10),
    "8192 x 8": (4, 8),
}


def blobs(rng, sizes, centers, scales):
    """Spherical blobs of these sizes."""
    parts = zip(sizes, centers, scales, strict=True)
    return np.concatenate([rng.normal(size=(n, np.shape(centers)[1])) * s + c for n, c, s in parts])


def mixed(rng, n, d, k):
    """Rows of k blobs, each with its own correlations."""
    labels, centers = rng.integers(k, size=n), rng.normal(size=(k, d)) * 1.5
    roots = rng.normal(size=(k, d, d)) / np.sqrt(d) + np.eye(d)
    return centers[labels] + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(n, d)))


def _principal(X, d):
    return PCA(d, svd_solver="full").fit_transform(standardised(X))


def standardised(X):
    """Each feature at mean zero and variance one, but constant ones at zero."""
    std = X.std(0)
    return (X - X.mean(0)) / np.where(std > 0, std, 1)


@functools.cache
def rows(name):
    """The rows (n, d) of a data set."""
    rng = np.random.default_rng(0)
    read = lambda file: np.loadtxt(DATA / file, delimiter=",", skiprows=1)  # noqa: E731
    turn = np.array([[0.6, -0.64], [-0.41, 0.85]])
    make = {
        "iris": lambda: datasets.load_iris().data,
        "wine": lambda: datasets.load_wine().data,
        "faithful": lambda: read("faithful.csv"),
        "diabetes": lambda: read("diabetes.csv"),
        "digits, 20 components": lambda: _principal(datasets.load_digits().data, 20),
        "breast cancer, 10 components": lambda: _principal(datasets.load_breast_cancer().data, 10),
        "overlapping": lambda: blobs(rng, [1000] * 4, 2 * np.eye(4), [1] * 4),
        "unequal": lambda: blobs(
            rng, (1500, 300, 100, 50), [[0] * 3, [3] * 3, [-3, 2, 0], [2, -3, 1]], (1, 0.5, 0.3, 0.2)
        ),
        "many": lambda: datasets.make_blobs(5000, centers=25, n_features=2, cluster_std=0.6, random_state=1)[0],
        "stretched": lambda: datasets.make_blobs(2000, centers=5, random_state=0)[0] @ turn,
        "moons": lambda: datasets.make_moons(2000, noise=0.08, random_state=0)[0],
        "8192 x 8": lambda: mixed(np.random.default_rng(1), 8192, 8, 8),
    }
    return standardised(make[name]())


def pairs():
    """(data set, number of components, family), the cheap ones first."""
    cost = lambda pair: rows(pair[0]).size * pair[1] * (rows(pair[0]).shape[1] if pair[2] == "full" else 1)  # noqa: E731
    return sorted(((name, k, cov) for name, ks in COUNTS.items() for k in ks for cov in FAMILIES), key=cost)


def optima():
    """{pair: the mean log-likelihood (nats per row) of the best sound optimum known}."""
    if not OPTIMA.exists():
        return {}
    with OPTIMA.open(newline="") as file:
        return {(row["data"], int(row["k"]), row["cov"]): float(row["log_prob"]) for row in csv.DictReader(file)}


def keep(best):
    """Write the optima, each the better of what is known and what is new; a table for eyes and version control."""
    known = optima()
    table = {pair: max(known.get(pair, -np.inf), best.get(pair, -np.inf)) for pair in {*known, *best}}
    with OPTIMA.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["data", "k", "cov", "log_prob"])
        writer.writerows([*pair, f"{value:.7f}"] for pair, value in sorted(table.items()))
