"""Gaussian mixture models in JAX: immutable parameters, pure EM steps, many starts under ``vmap``."""

from jgmm import init, resample, select
from jgmm._base.spread import spread
from jgmm._base.status import ComponentStatus, FitError, Status
from jgmm._covariance.diagonal import Diag, Spherical
from jgmm._covariance.eigen import EEV, EVE, EVV, VEE, VEV, VVE
from jgmm._covariance.eigen_diagonal import EEI, EII, EVI, VEI
from jgmm._covariance.family import Covariance
from jgmm._covariance.full import Full, Tied
from jgmm._covariance.lowrank import LowRank, lowrank
from jgmm._covariance.projection import Projection
from jgmm._em.accelerate import Anderson, Squarem
from jgmm._em.adapt import adapt
from jgmm._em.loop import em
from jgmm._em.result import Restarts, Result
from jgmm._em.steps import e_step, m_step, step
from jgmm._em.stop import GradientStop, LogProbStop, ParamStop
from jgmm._expectation.ridge import relative_ridge
from jgmm._expectation.stats import Stats
from jgmm._files.archive import FileError
from jgmm._files.store import load, save
from jgmm._gradient.ascent import fit_gradient
from jgmm._gradient.newton import newton
from jgmm._gradient.standard_errors import StandardErrors, standard_errors
from jgmm._mixture.algebra import affine, collapse, condition, convolve, marginal, moments, product, to_full
from jgmm._mixture.align import align
from jgmm._mixture.coordinates import Unconstrained, from_unconstrained, to_unconstrained
from jgmm._mixture.divergence import kl_divergence, squared_l2, squared_wasserstein
from jgmm._mixture.gmm import GMM
from jgmm._mixture.queries import aic, bic, icl, log_prob, predict, responsibilities, sample, uncertainty
from jgmm._search.fit import fit
from jgmm._stream.em import em_stream
from jgmm._stream.fit import fit_stream
from jgmm._stream.online import online_step
from jgmm._stream.source import batches

__version__ = "0.1.0"

__all__ = [
    "EEI",
    "EEV",
    "EII",
    "EVE",
    "EVI",
    "EVV",
    "GMM",
    "VEE",
    "VEI",
    "VEV",
    "VVE",
    "Anderson",
    "ComponentStatus",
    "Covariance",
    "Diag",
    "FileError",
    "FitError",
    "Full",
    "GradientStop",
    "LogProbStop",
    "LowRank",
    "ParamStop",
    "Projection",
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
    "align",
    "batches",
    "bic",
    "collapse",
    "condition",
    "convolve",
    "e_step",
    "em",
    "em_stream",
    "fit",
    "fit_gradient",
    "fit_stream",
    "from_unconstrained",
    "icl",
    "init",
    "kl_divergence",
    "load",
    "log_prob",
    "lowrank",
    "m_step",
    "marginal",
    "moments",
    "newton",
    "online_step",
    "predict",
    "product",
    "relative_ridge",
    "resample",
    "responsibilities",
    "sample",
    "save",
    "select",
    "spread",
    "squared_l2",
    "squared_wasserstein",
    "standard_errors",
    "step",
    "to_full",
    "to_unconstrained",
    "uncertainty",
]
