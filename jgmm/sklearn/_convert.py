"""Between scikit-learn's fitted mixtures and `GMM`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import sklearn.mixture
from sklearn.utils.validation import check_is_fitted

from jgmm._covariance.families import FAMILIES
from jgmm._mixture.gmm import GMM
from jgmm._mixture.validity import check_mixture
from jgmm.sklearn._values import attributes_of, covariances_of, mixture_of


def from_sklearn(estimator: Any) -> GMM:
    """The mixture that a fitted estimator holds.

    Args:
        estimator: a fitted ``GaussianMixture`` of scikit-learn or of this module, or a
            ``BayesianGaussianMixture``, whose mean parameters are taken.

    Returns:
        `GMM` of JAX arrays, in the estimator's dtype: float32 where JAX is not told otherwise (``jax_enable_x64``).

    Raises:
        sklearn.exceptions.NotFittedError: the estimator is not fitted.
        TypeError: it holds no Gaussian mixture.

    Example:
        >>> import jgmm, numpy as np, sklearn.mixture
        >>> from jgmm.sklearn import from_sklearn
        >>> X = np.array([[0.0], [1.0], [8.0], [9.0]])
        >>> params = from_sklearn(sklearn.mixture.GaussianMixture(2, random_state=0).fit(X))
        >>> sorted(params.means[:, 0].round(2).tolist())
        [0.5, 8.5]
    """
    if not hasattr(estimator, "covariance_type"):
        raise TypeError(f"estimator must be a fitted Gaussian mixture, got {type(estimator).__name__}.")
    check_is_fitted(estimator)
    means = np.asarray(estimator.means_)
    weights = np.asarray(estimator.weights_, means.dtype)
    params = mixture_of(weights / weights.sum(), means, estimator.covariances_, estimator.covariance_type)
    dtype = jnp.result_type(float) if means.dtype == np.float64 else means.dtype
    return params.astype(dtype)


def to_sklearn(params: GMM) -> sklearn.mixture.GaussianMixture:
    """A fitted estimator of scikit-learn that holds this mixture: it predicts, scores and samples.

    Args:
        params: a mixture of any family; one that scikit-learn lacks becomes the form that holds its covariances.
            Components of weight zero are left out.

    Returns:
        ``sklearn.mixture.GaussianMixture`` with ``means_`` (k, d) and the rest, in the dtype of the means;
        ``n_iter_`` is 0.

    Raises:
        ValueError, TypeError: no mixture.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> from jgmm.sklearn import to_sklearn
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> to_sklearn(params).score_samples([[0.0, 0.0]]).round(4).tolist()
        [-1.8379]
    """
    check_mixture(params)
    k, d = params.means.shape
    values, there = np.asarray(params.cov.values(k, d)), np.asarray(params.weights) > 0
    form = params.cov.form
    [name, family] = next((name, family) for name, family in FAMILIES.items() if family.form is form)
    values = values[there] if len(values) == k and name != "tied" else values
    weights: Any = np.asarray(params.weights)[there]
    means: Any = np.asarray(params.means)[there]
    kept = GMM(weights, means, covariances_of(family, values, weights, d))
    estimator: Any = sklearn.mixture.GaussianMixture(len(means), covariance_type=name)
    parts = attributes_of(kept)
    estimator.weights_, estimator.means_, estimator.covariances_ = parts[:3]
    estimator.precisions_cholesky_, estimator.precisions_ = parts[3:]
    estimator.n_features_in_, estimator.converged_, estimator.n_iter_ = d, True, 0
    estimator.lower_bound_, estimator.lower_bounds_ = np.nan, []
    return estimator
