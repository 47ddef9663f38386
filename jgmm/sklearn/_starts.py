"""scikit-learn's starts, from the same random numbers: the M-step of a partition, or what the caller has given."""

from typing import Any

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus

from jgmm._covariance.families import as_family
from jgmm._em.steps import m_step
from jgmm._expectation.stats import Stats
from jgmm._mixture.gmm import GMM
from jgmm.sklearn._values import attribute_of, values_of


def responsibilities(name, X, k, rng, sample_weight):
    """Responsibilities (n, k) to start from: of k-means, of single rows, or random ones."""
    n, resp = len(X), np.zeros((len(X), k), X.dtype)
    if name == "random":
        resp = rng.uniform(size=(n, k)).astype(X.dtype)
        return resp / resp.sum(1, keepdims=True)
    if name == "kmeans":
        once: Any = 1
        labels = KMeans(k, n_init=once, random_state=rng).fit(X, sample_weight=sample_weight).labels_
        resp[np.arange(n), labels] = 1
    elif name == "k-means++":
        _, rows = kmeans_plusplus(X, k, sample_weight=sample_weight, random_state=rng)
        resp[rows, np.arange(k)] = 1
    else:  # random_from_data
        share = None if sample_weight is None else sample_weight.astype(np.float64) / sample_weight.sum(dtype=float)
        resp[rng.choice(n, size=k, replace=False, p=share), np.arange(k)] = 1
    return resp


def stats_of(resp, X, sample_weight) -> Stats:
    """The statistics of rows with these responsibilities, about the means, with a matrix of each component."""
    resp = resp if sample_weight is None else resp * sample_weight[:, None]
    weight, k = resp.sum(0), resp.shape[1]
    occupied = np.where(weight > 0, weight, 1)
    means = resp.T @ X / occupied[:, None]
    scatter = np.empty((k, X.shape[1], X.shape[1]), X.dtype)
    for j in range(k):
        diff = X - means[j]
        scatter[j] = (resp[:, j, None] * diff).T @ diff
    parts: Any = means, weight, np.zeros_like(means), scatter, weight.sum(), np.zeros((), X.dtype)
    return Stats(*parts)


def start_of(given, X, k, family, ridge, name, rng, sample_weight) -> GMM:
    """The start of a fit: of the responsibilities ``name``, but for the parameters that are ``given``.

    Args:
        given: weights, means and precisions, checked, or ``None`` for each that is not given.
        X: (n, d) rows.
        k: components.
        family: the covariance family.
        ridge: added to variances, a number or (d,).
        name: of the kind of responsibilities.
        rng: a ``numpy.random.RandomState``.
        sample_weight: (n,) or ``None``.
    """
    weights, means, precisions = given
    made: Any = None
    if any(part is None for part in given):
        resp = responsibilities(name, X, k, rng, sample_weight)
        made = m_step(stats_of(resp, X, sample_weight), family, ridge=ridge)
    weights = made.weights if weights is None else weights
    means = made.means if means is None else means
    if precisions is None:
        return GMM(weights, means, made.cov).astype(X.dtype)
    values = _inverse(values_of(precisions, family.form))
    return GMM(weights, means, family.from_values(values, weights, X.shape[1])).astype(X.dtype)


def _inverse(values):
    if values.ndim < 3:
        return 1 / values
    inverse = np.linalg.inv(values.astype(np.float64))
    return ((inverse + np.swapaxes(inverse, -1, -2)) / 2).astype(values.dtype)


def checked(estimator, d, dtype):
    """The weights, means and precisions that an estimator is given to start from, or ``None`` for each it is not.

    Raises:
        ValueError: of another shape, or no proportions, or not positive definite.
    """
    k, name = estimator.n_components, estimator.covariance_type
    family = as_family("covariance_type", name)
    name = name if isinstance(name, str) else family.__name__
    weights = _shaped("weights", estimator.weights_init, (k,), dtype)
    means = _shaped("means", estimator.means_init, (k, d), dtype)
    shape = attribute_of(np.empty(family.form.shape(k, d)), family.form).shape
    precisions = _shaped(f"{name} precision", estimator.precisions_init, shape, dtype)
    if weights is not None:
        _check_weights(weights)
    if precisions is not None:
        _check_precisions(values_of(precisions, family.form), name)
    return weights, means, precisions


def _shaped(name, value, shape, dtype):
    if value is None:
        return None
    value = np.asarray(value, dtype)
    if value.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"The parameter '{name}' should be finite, but got NaN or infinite values")
    return value


def _check_weights(weights):
    if (weights < 0).any() or (weights > 1).any():
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got "
            f"max value {weights.max():.5f}, min value {weights.min():.5f}"
        )
    if not abs(weights.sum() - 1) <= (1e-6 if weights.dtype == np.float32 else 1e-8):
        raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {weights.sum():.5f}")


def _check_precisions(values, name):
    if values.ndim < 3:
        if not (values > 0).all():
            raise ValueError(f"'{name} precision' should be positive")
        return
    symmetric = np.allclose(values, np.swapaxes(values, -1, -2), rtol=1e-5 if values.dtype == np.float32 else 1e-7)
    if not symmetric or not (np.linalg.eigvalsh(values) > 0).all():
        raise ValueError(f"'{name} precision' should be symmetric, positive-definite")
