"""A mixture seen in one or two of its features: what a picture can show of it.

The components that are present, as NumPy arrays in float64, through the marginal (Bishop 2006, eq. 2.98). The
smallest region that holds a share p of a density f is where f is at least t (Hyndman 1996):

    {x: f(x) >= t},   with   the integral of f over it = p
"""

import dataclasses

import numpy as np

from jgmm._mixture.algebra import marginal
from jgmm._mixture.gmm import GMM
from jgmm._mixture.validity import check_mixture
from jgmm._plot.rows import Features, choose

# Up to where a picture shows each component, in standard deviations: 6e-5 of one feature lie beyond; and up to where a
# grid follows it, so that between its last place there and the next even one nothing is left of a narrow component.
REACH, FOLLOW = 4.0, 6.0


@dataclasses.dataclass(frozen=True)
class Flat:
    """The components that are present, in some features.

    Args:
        numbers: (k,) which components of the mixture they are.
        weights: (k,) their weights.
        means: (k, q) data units.
        cov: (k, q, q) squared data units.
    """

    numbers: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    cov: np.ndarray

    @classmethod
    def of(cls, params: GMM, X, features, wanted: int | None = None) -> tuple["Flat", Features]:
        """The marginal of a mixture in the features that `choose` chooses, and these."""
        check_mixture(params)
        chosen = choose(features, X, params.num_features, wanted)
        params = marginal(params, chosen.places)
        weights, means, cov = (np.asarray(x, np.float64) for x in (params.weights, params.means, params.covariances))
        present = np.flatnonzero(weights > 0)
        return cls(present, weights[present], means[present], cov[present]), chosen

    def only(self, *places: int) -> "Flat":
        """The marginal in some of these features."""
        chosen = list(places)
        return dataclasses.replace(self, means=self.means[:, chosen], cov=self.cov[:, chosen][:, :, chosen])

    def parts(self, points: np.ndarray) -> np.ndarray:
        """pi_k N(x | mu_k, Sigma_k) (k, m) at points (m, q); their sum is the density."""
        root = np.linalg.cholesky(self.cov)
        diff = points.T - self.means[:, :, None]
        distance = (np.linalg.solve(root, diff) ** 2).sum(1)
        scale = (2 * np.pi) ** (points.shape[1] / 2) * np.diagonal(root, axis1=1, axis2=2).prod(1)
        return (self.weights / scale)[:, None] * np.exp(-distance / 2)

    def axis(self, place: int, least: int, X: np.ndarray | None = None) -> np.ndarray:
        """Places along one feature for a grid: even ones across all, closer ones where a component is narrow.

        Args:
            place: of the feature.
            least: how many even ones; the components add up to four times as many.
            X: (n, q) rows that the axis reaches too.
        """
        mean, std = self.means[:, place], np.sqrt(self.cov[:, place, place])
        # How narrow a component is where the other features are known: a tilted one is thinner than its shadow.
        narrow = 1 / np.sqrt(np.linalg.inv(self.cov)[:, place, place])
        count = least / 4 * np.minimum(16, std / narrow)
        count = count * min(1, 4 * least / count.sum())
        own = [m + s * np.linspace(-FOLLOW, FOLLOW, int(n) | 1) for m, s, n in zip(mean, std, count, strict=True)]
        ends = np.concatenate([mean - REACH * std, mean + REACH * std, X[:, place] if X is not None else []])
        low, high = ends.min(), ends.max()
        axis = np.unique(np.concatenate([np.linspace(low, high, least), *own]))
        return axis[(axis >= low) & (axis <= high)]


def cells(axis: np.ndarray) -> np.ndarray:
    """The widths (m,) that the trapezoid rule gives to the places of an axis."""
    gaps = np.diff(axis)
    return (np.append(gaps, 0) + np.insert(gaps, 0, 0)) / 2


def thresholds(density: np.ndarray, volume: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The densities at the borders of the smallest regions that hold these shares of the mass on a grid."""
    order = np.argsort(-density, axis=None)
    falling = density.ravel()[order]
    mass = np.cumsum(falling * volume.ravel()[order])
    return np.interp(shares * mass[-1], mass, falling)


def as_shares(levels) -> np.ndarray:
    """Probability levels, ascending: numbers between zero and one."""
    shares = np.unique(np.atleast_1d(np.asarray(levels, np.float64)))
    if shares.ndim != 1 or not shares.size or not ((shares > 0) & (shares < 1)).all():
        raise ValueError(f"levels must be probabilities between 0 and 1, such as (0.5, 0.9), got {levels!r}.")
    return shares
