"""Gaussian mixture models in JAX: immutable parameters, pure EM steps, many starts under ``vmap``."""

from jgmm import init, resample
from jgmm._accelerate import Anderson, Squarem
from jgmm._adapt import adapt
from jgmm._coordinates import Unconstrained, from_unconstrained, to_unconstrained
from jgmm._cov import Covariance, Diag, Full, Spherical, Tied
from jgmm._divergence import kl_divergence, squared_l2, squared_wasserstein
from jgmm._em import em
from jgmm._fit import fit
from jgmm._gmm import GMM
from jgmm._gradient import fit_gradient
from jgmm._moments import relative_ridge
from jgmm._newton import newton
from jgmm._ops import affine, collapse, condition, convolve, marginal, moments, product, to_full
from jgmm._queries import aic, bic, log_prob, predict, responsibilities, sample
from jgmm._result import Restarts, Result
from jgmm._standard_errors import StandardErrors, standard_errors
from jgmm._stats import Stats
from jgmm._status import ComponentStatus, FitError, Status
from jgmm._steps import e_step, m_step, step
from jgmm._stop import GradientStop, LogProbStop, ParamStop

__version__ = "0.1.0"

__all__ = [
    "GMM",
    "Anderson",
    "ComponentStatus",
    "Covariance",
    "Diag",
    "FitError",
    "Full",
    "GradientStop",
    "LogProbStop",
    "ParamStop",
    "Restarts",
    "Result",
    "Spherical",
    "Squarem",
    "StandardErrors",
    "Stats",
    "Status",
    "Tied",
    "Unconstrained",
    "adapt",
    "affine",
    "aic",
    "bic",
    "collapse",
    "condition",
    "convolve",
    "e_step",
    "em",
    "fit",
    "fit_gradient",
    "from_unconstrained",
    "init",
    "kl_divergence",
    "log_prob",
    "m_step",
    "marginal",
    "moments",
    "newton",
    "predict",
    "product",
    "relative_ridge",
    "resample",
    "responsibilities",
    "sample",
    "squared_l2",
    "squared_wasserstein",
    "standard_errors",
    "step",
    "to_full",
    "to_unconstrained",
]
