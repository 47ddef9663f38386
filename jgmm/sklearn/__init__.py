"""Estimators for scikit-learn: its `GaussianMixture` with weights and every family, a classifier and a regressor.

    from jgmm.sklearn import GaussianMixture        # in place of sklearn.mixture

Thin: the fits are those of `jgmm.fit` and `jgmm.em`, the answers those of `jgmm.log_prob` and the like. Rows of float64
are computed in float64 in any process, and nothing is changed in JAX's settings for others. Needs scikit-learn, which
``pip install "jgmm[sklearn]"`` brings.

What scikit-learn 1.9 does that is not copied (each measured in ``tests/test_sklearn_faults.py``):

================================================= ====================================================================
scikit-learn                                      here
================================================= ====================================================================
tied, diag and spherical covariances are          about the means, from differences: no digit is lost to an offset
differences of large numbers: at an offset of
1e7 two digits of a variance are left, at 1e8
the fit raises
the ridge is 1e-6 in squared units of the data,   a millionth of each feature's own scale, unless ``reg_covar`` is given
and replaces the variance of small ones
one start that collapses raises, and sinks the    it is left out, and the others go on
other starts of ``n_init``
of the starts the highest likelihood wins, also   it wins only where no start is sound, and a warning names it
that of a component collapsed on one row
``lower_bound_`` is that of the mixture before    it is that of the mixture returned, ``score`` of the rows
the last M-step
a "tied" start at single rows ("k-means++",       the covariance of those rows, as for the other families
"random_from_data") divides the squares of all
rows by k
``max_iter=0`` with ``precisions_init`` leaves no every attribute is there
``covariances_``
================================================= ====================================================================
"""

try:
    from jgmm.sklearn._classifier import GaussianMixtureClassifier
    from jgmm.sklearn._convert import from_sklearn, to_sklearn
    from jgmm.sklearn._mixture import GaussianMixture
    from jgmm.sklearn._regressor import GaussianMixtureRegressor
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ImportError("jgmm.sklearn needs scikit-learn. Install it: pip install 'jgmm[sklearn]'.") from error

__all__ = [
    "GaussianMixture",
    "GaussianMixtureClassifier",
    "GaussianMixtureRegressor",
    "from_sklearn",
    "to_sklearn",
]

for _name in __all__:
    globals()[_name].__module__ = __name__  # what is pickled outlives a move of the file
