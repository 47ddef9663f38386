"""`GaussianMixture`: scikit-learn's estimator of that name, on jgmm."""

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from jgmm._mixture import queries
from jgmm._mixture.gmm import GMM
from jgmm.sklearn._engine import learn, warn
from jgmm.sklearn._precision import precision
from jgmm.sklearn._rows import as_weights, checked_rows
from jgmm.sklearn._settings import AUTO, CONSTRAINTS, room_for
from jgmm.sklearn._values import attributes_of, has_matrices, mixture_of


class GaussianMixture(DensityMixin, BaseEstimator):
    """scikit-learn's ``GaussianMixture``, fitted by jgmm: change the import and nothing else.

    The parameters, attributes and methods are those of ``sklearn.mixture.GaussianMixture`` 1.9; ``fit`` and ``score``
    also take ``sample_weight``, ``covariance_type`` every family of jgmm. Rows of float64 are computed in float64,
    those of float32 in float32, whatever ``jax_enable_x64`` is; what comes out are NumPy arrays.

    A parameter that is given means what it means in scikit-learn. One that is left at "auto" is jgmm's own:

    ============= =================================================== =======================================
    parameter     "auto"                                              a value
    ============= =================================================== =======================================
    tol           stop when less than 1e-8 nats a row are left to     scikit-learn's rule: the lower bound
                  gain, however slow EM is                            changed by less than this in a step
    reg_covar     in proportion to each feature's own scale           added to the variances as it is; also
                  (`jgmm.relative_ridge`)                             (d,) numbers, one for each feature
    max_iter      1000, of accelerated EM                             steps of plain EM
    n_init        a race of 64 starts on part of the rows             so many starts, each run to the end
    init_params   greedy k-means++ seeds                              scikit-learn's start of that name, from
                                                                      the same random numbers
    ============= =================================================== =======================================

    If one of ``n_init`` and ``init_params`` is given the other is what it is in scikit-learn: 1, or "kmeans". EM is
    plain, iteration by iteration scikit-learn's, if ``tol``, ``max_iter`` or all three of ``weights_init``,
    ``means_init`` and ``precisions_init`` are given.

    A row of integer weight is the same as the row so many times, and the order of the rows changes nothing, where the
    starts are jgmm's own or explicit; scikit-learn's named starts draw row numbers.

    Args:
        n_components: k.
        covariance_type: "full", "tied", "diag", "spherical", a name of mclust's such as "VEV", or a class derived from
            `jgmm.Covariance`.
        tol: nats per row, or "auto".
        reg_covar: squared data units, or "auto".
        max_iter: the most steps, or "auto".
        n_init: how many starts, or "auto".
        init_params: "kmeans", "k-means++", "random", "random_from_data", or "auto".
        weights_init: (k,) the weights to start from, or ``None``.
        means_init: (k, d) the means to start from, or ``None``.
        precisions_init: the inverse covariances to start from, in the shape of ``precisions_``, or ``None``.
        random_state: an int, a ``numpy.random.RandomState`` or ``None``.
        warm_start: go on from the last fit, where there is one.
        verbose: 0, 1 to print the steps while they run, 2 for times and changes too.
        verbose_interval: steps between two lines.

    Attributes:
        weights_: (k,).
        means_: (k, d), data units.
        covariances_: (k, d, d) for "full", (d, d) for "tied", (k, d) for "diag", (k,) for "spherical"; of
            another family as of the one of these that holds it.
        precisions_: their inverses.
        precisions_cholesky_: P with P P^T the precision: upper triangular, or 1 / std.
        converged_: whether the stop rule was met.
        status_: how the fit ended, a `jgmm.Status`.
        n_iter_: steps of the run that won.
        lower_bound_: mean log-likelihood of the rows under the fitted mixture, nats.
        lower_bounds_: the same after each step; the last is ``lower_bound_``.
        n_features_in_: d.
        feature_names_in_: (d,) the names of the columns, if the rows came with names.

    Example:
        >>> import numpy as np
        >>> from jgmm.sklearn import GaussianMixture
        >>> X = np.array([[1, 2], [1, 4], [2, 0], [0, 3], [10, 2], [10, 4], [11, 0], [9, 3]])
        >>> gm = GaussianMixture(n_components=2, random_state=0).fit(X)
        >>> sorted(gm.means_.round(2).tolist())
        [[1.0, 2.25], [10.0, 2.25]]
        >>> gm.predict([[0, 0], [12, 3]]).tolist() == gm.predict([[1, 2], [10, 2]]).tolist()
        True
    """

    _parameter_constraints: dict = CONSTRAINTS

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
        weights_init=None,
        means_init=None,
        precisions_init=None,
        random_state=None,
        warm_start=False,
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
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the mixture to rows X (n, d) of weights ``sample_weight`` (n,); ``y`` is not used.

        Raises:
            ValueError: the data or a parameter is not what it should be, or no component has a covariance.
        """
        X = checked_rows(self, X, ensure_min_samples=2)
        return self._fit_rows(X, as_weights(sample_weight, X))

    def _fit_rows(self, X, sample_weight, ridge: Any = None, stacklevel=4, exact=False):
        """Fit checked rows; ``exact``: a component may well collapse in a direction."""
        rng = check_random_state(self.random_state)
        warm = self.warm_start and hasattr(self, "converged_")
        wanted = self.n_components, X.shape[1]
        if warm and self.means_.shape != wanted:
            raise ValueError(
                f"warm_start goes on from the last fit, whose means_ have shape {self.means_.shape}, and not the "
                f"{wanted} asked for now. Fit a clone, or set warm_start=False."
            )
        with precision(X.dtype):
            start = self._mixture(X.dtype) if warm else None
            before = self._trend if warm else None
            done = learn(self, X, sample_weight, rng, start, before, ridge)
            self._set(done.params)
        self.converged_, self.status_, self.n_iter_ = done.converged, done.status, done.num_steps
        self.lower_bound_, self.lower_bounds_ = done.lower_bound, done.lower_bounds[1:].tolist()
        self._trend = done.trend(before)
        warn(done, self.max_iter, stacklevel, exact)
        return self

    def _set(self, params):
        """The attributes that are parameters."""
        parts = attributes_of(params, self.n_components)
        self.weights_, self.means_, self.covariances_, self.precisions_cholesky_, self.precisions_ = parts

    def _mixture(self, dtype, room=0) -> GMM:
        """The fitted mixture, on the device, with components of weight zero up to ``room``."""
        return mixture_of(self.weights_, self.means_, self.covariances_, self.covariance_type, room).astype(dtype)

    def _rows(self, X):
        """Rows to ask about, in the richer dtype of theirs and the mixture's."""
        check_is_fitted(self)
        X = checked_rows(self, X, reset=False)
        return X.astype(np.result_type(X, self.means_), copy=False)

    def _ask(self, question, X):
        X = self._rows(X)
        with precision(X.dtype):
            return np.array(question(self._mixture(X.dtype, room_for(len(self.means_), X)), X))

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit the mixture to rows X (n, d), and the component (n,) of each, as `predict` says it."""
        return self.fit(X, y, sample_weight).predict(X)

    def predict(self, X):
        """The most probable component (n,) of each row X (n, d)."""
        return self._ask(queries.predict, X).astype(np.int64)

    def predict_proba(self, X):
        """The probability (n, k) of each component, for each row X (n, d)."""
        return self._ask(queries.responsibilities, X)[:, : len(self.means_)]

    def score_samples(self, X):
        """The log density (n,) of each row X (n, d), nats."""
        return self._ask(queries.log_prob, X)

    def score(self, X, y=None, sample_weight=None) -> Any:
        """The mean log density of the rows X (n, d) of weights ``sample_weight`` (n,), nats; ``y`` is not used."""
        return self._score(X, sample_weight)[0]

    def _score(self, X, sample_weight):
        """The mean log density, and the sum of the weights."""
        log_prob = self.score_samples(X)
        weight = as_weights(sample_weight, log_prob[:, None])
        if weight is None:
            return float(log_prob.mean()), len(log_prob)
        return float(np.average(log_prob, weights=weight)), float(weight.sum())

    def _n_parameters(self):
        """How many numbers are free."""
        return mixture_of(self.weights_, self.means_, self.covariances_, self.covariance_type).num_parameters

    def bic(self, X, sample_weight=None):
        """The Bayesian information criterion of the rows X (n, d): the lower the better."""
        score, total = self._score(X, sample_weight)
        return -2 * score * total + self._n_parameters() * math.log(total)

    def aic(self, X, sample_weight=None):
        """Akaike's information criterion of the rows X (n, d): the lower the better."""
        score, total = self._score(X, sample_weight)
        return -2 * score * total + 2 * self._n_parameters()

    def sample(self, n_samples=1):
        """Draw rows (n_samples, d), component by component, and the components (n_samples,) that they come from.

        From the same ``random_state`` and parameters these are scikit-learn's.

        Raises:
            ValueError: ``n_samples`` is less than one.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples}. The sampling requires at least one sample.")
        rng, (k, d) = check_random_state(self.random_state), self.means_.shape
        weights = self.weights_.astype(np.float64)
        counts = rng.multinomial(n_samples, weights / weights.sum())
        means = self.means_.astype(np.float64)
        covariances = self.covariances_
        if has_matrices(self.covariance_type):
            covariances = np.broadcast_to(covariances, (k, d, d))
            parts = [rng.multivariate_normal(*part) for part in zip(means, covariances, map(int, counts), strict=True)]
        else:
            parts = [
                mean + rng.standard_normal((count, d)) * np.sqrt(var)
                for mean, var, count in zip(means, covariances, counts, strict=True)
            ]
        return np.vstack(parts), np.repeat(np.arange(k), counts)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "means_")
