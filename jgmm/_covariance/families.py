"""The families by their names."""

import inspect

from jgmm._covariance.diagonal import Diag, Spherical
from jgmm._covariance.eigen import EEV, EVE, EVV, VEE, VEV, VVE
from jgmm._covariance.eigen_diagonal import EEI, EII, EVI, VEI
from jgmm._covariance.family import Covariance
from jgmm._covariance.full import Full, Tied
from jgmm._covariance.lowrank import LowRank

# The first name of a family is that by which tables call it. Three letters: volume, shape and orientation of Sigma_k =
# lambda_k D_k A_k D_k^T are equal (E), variable (V) or the identity's (I). Of one feature there is only the volume.
FAMILIES: dict[str, type[Covariance]] = {
    **{"full": Full, "tied": Tied, "diag": Diag, "spherical": Spherical},
    **{"EII": EII, "VII": Spherical, "EEI": EEI, "VEI": VEI, "EVI": EVI, "VVI": Diag, "EEE": Tied},
    **{"VEE": VEE, "EVE": EVE, "VVE": VVE, "EEV": EEV, "VEV": VEV, "EVV": EVV, "VVV": Full},
    **{"E": EII, "V": Spherical},
}


def as_family(name: str, family: str | type[Covariance]) -> type[Covariance]:
    """The family that a string names, or ``family`` itself if it is one of this or any other package."""
    if isinstance(family, str) and family in FAMILIES:
        return FAMILIES[family]
    if inspect.isclass(family) and issubclass(family, Covariance) and _is_whole(family):
        return family
    names = ", ".join(map(repr, FAMILIES))
    raise ValueError(
        f"{name} must be one of {names}, jgmm.lowrank(q) for q factors, or a class derived from jgmm.Covariance, "
        f"got {family!r}."
    )


def _is_whole(family):
    return family is not LowRank and not inspect.isabstract(family)


def name_of(family: type[Covariance]) -> str:
    """The name of a family in tables: its first in `FAMILIES`, or that of its class in small letters."""
    return next((name for name, known in FAMILIES.items() if known is family), family.__name__.lower())
