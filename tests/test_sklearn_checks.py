"""scikit-learn's own checks of an estimator, for three estimators, every family and k = 1, 2, 3.

Each checks some twenty shapes of data, which are as many programs: the quick ones are of plain EM from one start, and
so that each family and k, and each estimator, is among them; all with jgmm's own defaults are slow.
"""

import numpy as np
import pytest
from helpers import FAMILIES
from sklearn.utils.estimator_checks import check_estimator

from jgmm.sklearn import GaussianMixture, GaussianMixtureClassifier, GaussianMixtureRegressor

ESTIMATORS = [GaussianMixture, GaussianMixtureClassifier, GaussianMixtureRegressor]
ALL = [(estimator, k, cov) for estimator in ESTIMATORS for cov in FAMILIES for k in (1, 2, 3)]
QUICK = [
    (GaussianMixture, 2, "diag"),
    (GaussianMixtureClassifier, 1, "spherical"),
    (GaussianMixtureRegressor, 1, "tied"),
]
# Three full components on 15 rows of 2 features, 17 parameters of 30 numbers, fit so closely that even a prior of ten
# million to one does not decide each row: it does for 80 %, where this check asks for 87.
FAILS = {(GaussianMixtureClassifier, 3, "full"): {"check_class_weight_classifiers"}}
# Data of as many features as they have rows collapse components, and say so.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def assert_passes(estimator, but=frozenset()):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] not in ("passed", "skipped")}
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert set(failed) == but, failed
    assert skipped <= {"check_array_api_input"}  # which is not what they claim
    assert len(results) > 40


@pytest.mark.parametrize(("estimator", "k", "cov"), QUICK)
def test_checks_of_scikit_learn(estimator, k, cov):
    # From the rows themselves: weights and order must not matter, which scikit-learn's named starts do not promise.
    assert_passes(estimator(k, covariance_type=cov, tol=1e-3, max_iter=100, random_state=np.int64(0)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("estimator", "k", "cov"), ALL)
def test_checks_of_scikit_learn_with_own_defaults(estimator, k, cov):
    assert_passes(estimator(k, covariance_type=cov), FAILS.get((estimator, k, cov), frozenset()))
