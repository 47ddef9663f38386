"""Whether a mixture is one, and whether rows belong to it: an error says which part does not, and what to do."""

import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import RESHAPE, as_array, check_finite, is_concrete, to_rows
from jgmm._covariance.family import check_array, check_covariance


def check_shapes(params):
    """Raise unless this is a mixture whose shapes belong together."""
    if not all(hasattr(params, name) for name in ("weights", "means", "cov")):
        hint = " Pass its .params." if hasattr(params, "params") else ""
        raise TypeError(f"The parameters must be a jgmm.GMM(weights, means, cov), got {type(params).__name__}.{hint}")
    check_array("weights", params.weights)
    check_array("means", params.means)
    weights, means = jnp.shape(params.weights), jnp.shape(params.means)
    if len(means) != 2 or weights != means[:1] or 0 in means:
        raise ValueError(
            f"A mixture needs weights (k,) and means (k, d), got shapes {weights} and {means}. "
            "For a batch of mixtures use jax.vmap."
        )
    check_covariance(params.cov, *means)


def check_values(params, finite, symmetric, definite):
    """Raise unless weights are proportions, means finite, covariances symmetric and positive definite."""
    weights = np.asarray(params.weights, np.float64)
    if not (weights >= 0).all() or not abs(weights.sum() - 1) <= 1e-4:
        raise ValueError(
            f"weights must be nonnegative and sum to one, got {weights} with sum {weights.sum():.6g}. "
            "Divide them by their sum."
        )
    for what, good, remedy in (
        ("means must be finite", finite, "Replace the NaN or infinite entries."),
        ("covariances must be symmetric", symmetric, "Symmetrise them with (cov + cov.mT) / 2."),
        (
            "covariances must be finite and positive definite",
            definite,
            "Add a ridge to the diagonal, and replace NaN or infinite entries.",
        ),
    ):
        if not np.asarray(good).all():
            raise ValueError(
                f"{what}, got others for component(s) {np.flatnonzero(~np.asarray(good)).tolist()}. {remedy}"
            )


def check_mixture(params):
    """Raise unless this is a mixture, its values (where they are known) included."""
    check_shapes(params)
    params.check()


def check_features(params, X):
    """Raise unless the rows have the features of the parameters."""
    if X.shape[-1] != params.num_features:
        hint = f" {RESHAPE}" if X.ndim == 1 else ""
        raise ValueError(
            f"X must have the {params.num_features} features of the parameters, got "
            f"{X.shape[-1]} (shape {X.shape}).{hint}"
        )


def as_query(params, X):
    """Parameters and rows (n, d), or one point (d,), of one dtype, that belong together."""
    check_mixture(params)
    X = as_array("X", X)
    if X.ndim not in (1, 2):
        raise ValueError(f"X must have shape (rows, features) or (features,), got shape {X.shape}. {to_rows(X.ndim)}")
    if X.ndim == 2 and X.shape[0] == 0:
        raise ValueError(f"X must hold at least one row, got shape {X.shape}.")
    check_features(params, X)
    if is_concrete(X):
        check_finite(X)
    return params.astype(X.dtype), X
