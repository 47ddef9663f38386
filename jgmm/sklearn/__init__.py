"""Estimators for scikit-learn."""

from jgmm.sklearn._mixture import GaussianMixture

__all__ = ["GaussianMixture"]
