"""The families by their names."""

import inspect

from jgmm._covariance.diagonal import Diag, Spherical
from jgmm._covariance.family import Covariance
from jgmm._covariance.full import Full, Tied

FAMILIES = {"full": Full, "tied": Tied, "diag": Diag, "spherical": Spherical}


def as_family(name: str, family: str | type[Covariance]) -> type[Covariance]:
    """The family that a string names, or ``family`` itself if it is one of this or any other package."""
    if isinstance(family, str) and family in FAMILIES:
        return FAMILIES[family]
    if inspect.isclass(family) and issubclass(family, Covariance) and not inspect.isabstract(family):
        return family
    names = ", ".join(map(repr, FAMILIES))
    raise ValueError(f"{name} must be one of {names}, or a class derived from jgmm.Covariance, got {family!r}.")
