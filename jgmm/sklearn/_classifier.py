"""`GaussianMixtureClassifier`: a mixture for each class, and Bayes' rule.

p(c | x) = pi_c p_c(x) / sum_b pi_b p_b(x)                                  (Hastie & Tibshirani 1996, eq. 2)
"""

from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from jgmm._covariance.families import as_family
from jgmm._em.steps import m_step
from jgmm._mixture.gmm import GMM
from jgmm.sklearn._engine import ridge_of
from jgmm.sklearn._mixture import GaussianMixture
from jgmm.sklearn._precision import precision
from jgmm.sklearn._rows import as_weights, checked_rows, merged, present
from jgmm.sklearn._settings import AUTO, EM_CONSTRAINTS, is_auto
from jgmm.sklearn._starts import stats_of

FEW = 1000  # rows of a class, up to which they are counted


class GaussianMixtureClassifier(ClassifierMixin, BaseEstimator):
    """A Gaussian mixture for each class: mclust's MclustDA, or with ``model="edda"`` its EDDA.

    The prior of a class is its share of the rows, or of their weights, times its ``class_weight``. A class of fewer
    different rows than components gets a component for each.

    Args:
        n_components: components of each class.
        model: "mclustda", a mixture of its own for each class. Or "edda": one component for each class, of one
            covariance family: "tied" is then linear discriminant analysis, "full" the quadratic one.
        covariance_type: as in `GaussianMixture`. "tied" is one covariance for the components of a class, and in
            "edda" one for all classes.
        class_weight: ``None``, "balanced" for equal priors, or {class: factor}.
        tol: as in `GaussianMixture`, and so are the rest.
        reg_covar: "auto" goes by the scale of all rows.
        max_iter: the most steps.
        n_init: how many starts.
        init_params: the kind of start.
        random_state: an int, a ``numpy.random.RandomState`` or ``None``.
        verbose: 0, 1 or 2.
        verbose_interval: steps between two lines.

    Attributes:
        classes_: (c,) the classes.
        priors_: (c,) their probabilities.
        mixtures_: a fitted `GaussianMixture` for each class.
        n_iter_: the most steps that a class took.
        n_features_in_: d.
        feature_names_in_: (d,) the names of the columns, if the rows came with names.

    Example:
        >>> import numpy as np
        >>> from jgmm.sklearn import GaussianMixtureClassifier
        >>> X, y = np.array([[0.0], [1.0], [4.0], [5.0]]), ["left", "left", "right", "right"]
        >>> GaussianMixtureClassifier(random_state=0).fit(X, y).predict([[0.4], [9.0]]).tolist()
        ['left', 'right']
    """

    _parameter_constraints: dict = EM_CONSTRAINTS | {
        "model": [StrOptions({"mclustda", "edda"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        n_components=1,
        *,
        model="mclustda",
        covariance_type="full",
        class_weight=None,
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
        self.model = model
        self.covariance_type = covariance_type
        self.class_weight = class_weight
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
        """Fit the mixtures to rows X (n, d) of classes ``y`` (n,) and weights ``sample_weight`` (n,).

        Raises:
            ValueError: the data or a parameter is not what it should be.
        """
        X, y = checked_rows(self, X, y=y)
        check_classification_targets(y)
        weight = as_weights(sample_weight, X)
        y = y if weight is None else y[weight > 0]  # a class without weight is not there
        X, weight = present(X, weight)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.priors_ = self._priors(y, codes, weight)
        if self.model == "edda" and self.n_components != 1:
            raise ValueError(f'n_components must be 1 for model="edda", got {self.n_components}.')
        with precision(X.dtype):
            ridge = ridge_of(X, weight) if is_auto(self.reg_covar) else np.asarray(self.reg_covar, X.dtype)
        fit = self._discriminant if self.model == "edda" else self._mixtures
        self.mixtures_ = fit(X, codes, weight, ridge)
        self.n_iter_ = max(mixture.n_iter_ for mixture in self.mixtures_)
        return self

    def _priors(self, y, codes, weight):
        total = np.bincount(codes, weight)
        if self.class_weight == "balanced":
            total = np.ones(len(total))
        elif self.class_weight is not None:
            total = total * compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        return total / total.sum()

    def _empty(self, k, seed):
        names = GaussianMixture().get_params().keys() & self.get_params().keys() - {"n_components", "random_state"}
        shared: Any = {name: getattr(self, name) for name in names}
        return GaussianMixture(k, random_state=seed, **shared)

    def _mixtures(self, X, codes, weight, ridge):
        rng, mixtures = check_random_state(self.random_state), []
        for code in range(len(self.classes_)):
            mine = codes == code
            rows, own = X[mine], None if weight is None else weight[mine]
            different = len(merged(rows, own)[0]) if len(rows) <= FEW else FEW
            mixture = self._empty(min(self.n_components, different), rng.randint(2**31 - 1))
            mixtures.append(mixture._fit_rows(rows, own, ridge, stacklevel=6))
        return mixtures

    def _discriminant(self, X, codes, weight, ridge):
        """One component for each class: a single M-step."""
        family = as_family("covariance_type", self.covariance_type)
        resp = np.eye(len(self.classes_), dtype=X.dtype)[codes]
        with precision(X.dtype):
            params = m_step(stats_of(resp, X, weight), family, ridge=ridge)
            values: Any = np.asarray(params.cov.values(*params.means.shape))
            mixtures = []
            for code in range(len(self.classes_)):
                own = values[code : code + 1] if len(values) > 1 else values
                one: Any = np.ones(1, X.dtype)
                mixture = self._empty(1, 0)
                mixture._set(GMM(one, params.means[code : code + 1], family.from_values(own, one, X.shape[1])))
                mixture.n_iter_, mixture.converged_ = 1, True
                mixtures.append(mixture)
        return mixtures

    def _log_joint(self, X):
        check_is_fitted(self)
        X = checked_rows(self, X, reset=False)
        with np.errstate(divide="ignore"):  # a class of weight zero
            prior = np.log(self.priors_).astype(X.dtype)
        return np.stack([mixture.score_samples(X) for mixture in self.mixtures_], 1) + prior

    def predict(self, X):
        """The most probable class (n,) of each row X (n, d)."""
        best = self._log_joint(X).argmax(1)
        return self.classes_[best]

    def predict_log_proba(self, X):
        """The logarithm of the probability (n, c) of each class, for each row X (n, d)."""
        joint = self._log_joint(X)
        return joint - logsumexp(joint, axis=1, keepdims=True)

    def predict_proba(self, X):
        """The probability (n, c) of each class, for each row X (n, d)."""
        return np.exp(self.predict_log_proba(X))
