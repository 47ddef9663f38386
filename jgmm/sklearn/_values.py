"""Between a `GMM` and the attributes of an estimator, NumPy arrays in the shapes of scikit-learn.

`covariances_` has the shape of the family's form (`jgmm._covariance.forms`): (k, d, d), (d, d), (k, d) or (k,).
"""

from typing import Any

import jax
import numpy as np
from scipy.linalg import solve_triangular

from jgmm._covariance import forms
from jgmm._covariance.families import as_family
from jgmm._mixture.gmm import GMM
from jgmm.sklearn._precision import precision


def attribute_of(values, form):
    """Values of a form as scikit-learn has them: without the axes of length one."""
    return values[0] if form is forms.tied else values[:, 0] if form is forms.spherical else values


def values_of(attribute, form):
    """The inverse of `attribute_of`."""
    return attribute[None] if form is forms.tied else attribute[:, None] if form is forms.spherical else attribute


def has_matrices(covariance_type) -> bool:
    """Whether the covariances are matrices, and not variances alone."""
    return len(as_family("covariance_type", covariance_type).form.shape(2, 2)) == 3


def mixture_of(weights: Any, means: Any, covariances, covariance_type, room=0) -> GMM:
    """The `GMM` of these attributes, with components of weight zero up to ``room``."""
    family = as_family("covariance_type", covariance_type)
    return _with_room(weights, means, values_of(np.asarray(covariances, means.dtype), family.form), family, room)


def with_room(params: GMM, room: int) -> GMM:
    """The mixture with components of weight zero up to ``room``."""
    if room <= params.num_components:
        return params
    values = np.asarray(params.cov.values(*params.means.shape))
    return _with_room(np.asarray(params.weights), np.asarray(params.means), values, type(params.cov), room)


def _with_room(weights: Any, means: Any, values: Any, family, room):
    k, d = means.shape
    more = [(0, max(0, room - k))]
    if more[0][1]:
        weights, means = np.pad(weights, more), np.pad(means, [*more, (0, 0)], mode="edge")
        if family.form.shape(2, d)[0] > 1:  # each component has its own
            values = np.pad(values, more + [(0, 0)] * (values.ndim - 1), mode="edge")
    ones: Any = np.ones_like(weights)  # values of the family are their own nearest, whatever the weights
    return GMM(weights, means, covariances_of(family, values, ones, d))


def covariances_of(family, values, weight, num_features):
    """The covariances of these values, NumPy arrays like them, in their precision: some families compute."""
    with precision(values.dtype):
        return jax.tree.map(np.asarray, family.from_values(values, weight, num_features))


def attributes_of(params, k=None):
    """(weights, means, covariances, precisions_cholesky, precisions) of the first k components."""
    size, d = params.means.shape
    k = size if k is None else k
    values = np.asarray(params.cov.values(size, d))
    values = values[:k] if len(values) == size else values
    weights, means = np.asarray(params.weights)[:k], np.asarray(params.means)[:k]
    form = params.cov.form
    root = precision_root(values)
    precision = root @ np.swapaxes(root, -1, -2) if root.ndim == 3 else root**2
    covariances, root, precision = (
        attribute_of(np.array(part, means.dtype), form) for part in (values, root, precision)
    )
    return np.array(weights), np.array(means), covariances, root, precision


def precision_root(values):
    """P with P P^T the precision: upper triangular for matrices (..., d, d), 1 / std for variances. Float64."""
    values = values.astype(np.float64)
    if values.ndim < 3:
        return 1 / np.sqrt(values)
    eye = np.eye(values.shape[-1])
    return np.stack([solve_triangular(np.linalg.cholesky(cov), eye, lower=True).T for cov in values])
