"""`GaussianMixtureRegressor`: a mixture of rows and targets together, and its conditional mean.

E[y | x] = sum_k pi_k(x) (mu_k,y + B_k (x - mu_k,x))                                    (Sung 2004, eq. 2.5)
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.utils.validation import check_is_fitted

from jgmm._base.lengths import first_rows, padded
from jgmm._base.programs import program
from jgmm._base.rows import chunk_rows, map_rows
from jgmm._covariance.families import as_family
from jgmm._mixture.algebra import condition, moments
from jgmm.sklearn._mixture import GaussianMixture
from jgmm.sklearn._precision import precision
from jgmm.sklearn._rows import as_weights, checked_rows
from jgmm.sklearn._settings import AUTO, EM_CONSTRAINTS
from jgmm.sklearn._values import has_matrices


@program()
def _conditional_moments(params, X):
    """Mean and variance (n, q) of the last features of a mixture where the first are X (n, d)."""
    dims = tuple(range(X.shape[1]))

    def one(x):
        mean, cov = moments(condition(params, dims, x))
        return mean, jnp.diagonal(cov)

    return map_rows(jax.vmap(one), X, chunk_rows(params.num_components, params.num_features))


class GaussianMixtureRegressor(RegressorMixin, BaseEstimator):
    """Gaussian mixture regression: a mixture of (x, y), and what it says of y where x is known.

    Several targets at once, and a standard deviation for each prediction. With one component and "full" covariances
    it is linear regression. "diag" and "spherical" components have no slope: their predictions are weighted means.

    Args:
        n_components: k.
        covariance_type: of (x, y), as in `GaussianMixture`.
        tol: as in `GaussianMixture`, and so are the rest.
        reg_covar: squared data units, or "auto".
        max_iter: the most steps.
        n_init: how many starts.
        init_params: the kind of start.
        random_state: an int, a ``numpy.random.RandomState`` or ``None``.
        verbose: 0, 1 or 2.
        verbose_interval: steps between two lines.

    Attributes:
        mixture_: the fitted `GaussianMixture` of (x, y).
        n_iter_: its steps.
        n_features_in_: d.
        feature_names_in_: (d,) the names of the columns, if the rows came with names.

    Example:
        >>> import numpy as np
        >>> from jgmm.sklearn import GaussianMixtureRegressor
        >>> X = np.linspace(0, 1, 20)[:, None]
        >>> model = GaussianMixtureRegressor(random_state=0).fit(X, 2 * X[:, 0])
        >>> model.predict([[0.5]]).round(3).tolist()
        [1.0]
    """

    _parameter_constraints: dict = EM_CONSTRAINTS

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        tol=AUTO,
        reg_covar=AUTO,
        max_iter=AUTO,
        n_init=AUTO,
        init_params=AUTO,
        random_state=None,
        verbose=0,
        verbose_interval=10,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.random_state = random_state
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the mixture to rows X (n, d), targets ``y`` (n,) or (n, q), and weights ``sample_weight`` (n,).

        Raises:
            ValueError: the data or a parameter is not what it should be.
        """
        X, y = checked_rows(self, X, y=y, multi_output=True, y_numeric=True, ensure_min_samples=2)
        weight = as_weights(sample_weight, X)
        self._one_target = y.ndim == 1
        rows = np.hstack([X, y.reshape(len(X), -1).astype(X.dtype)])
        shared: Any = self.get_params()
        self.mixture_ = GaussianMixture(**shared)._fit_rows(rows, weight, stacklevel=5, exact=True)
        self.n_iter_ = self.mixture_.n_iter_
        return self

    def predict(self, X, return_std=False):
        """The mean of the targets, (n,) or (n, q), at rows X (n, d).

        Args:
            X: (n, d) rows.
            return_std: whether to return the targets' standard deviations as well, in the shape of the means.
        """
        check_is_fitted(self)
        X = checked_rows(self, X, reset=False)
        X = X.astype(np.result_type(X, self.mixture_.means_), copy=False)
        with precision(X.dtype):
            [rows] = padded(jnp.asarray(X))
            answers = _conditional_moments(self.mixture_._mixture(X.dtype), rows)
            mean, variance = (np.array(first_rows(answer, len(X))) for answer in answers)
        if self._one_target:
            mean, variance = mean[:, 0], variance[:, 0]
        return (mean, np.sqrt(variance)) if return_std else mean

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        try:
            has_slopes = has_matrices(as_family("covariance_type", self.covariance_type))
        except ValueError:
            has_slopes = True
        tags.regressor_tags.poor_score = not has_slopes
        return tags
