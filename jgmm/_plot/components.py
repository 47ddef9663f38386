"""Rows by component, and where the components lie.

In two features the smallest region that holds a share p of a Gaussian is an ellipse, that of Mahalanobis radius

    r = sqrt(-2 log(1 - p)),      (x - mu)^T Sigma^-1 (x - mu) <= r^2
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.text import Text

from jgmm._base.types import ArrayLike
from jgmm._mixture.gmm import GMM
from jgmm._mixture.queries import responsibilities
from jgmm._plot.flat import Flat, as_shares
from jgmm._plot.rows import as_rows, choose
from jgmm._plot.style import axes_of, color_of, darker, label_axes, marker_of, text_on

MANY = 10_000  # rows, from which a vector file would hold pixels in their place


class Clusters(NamedTuple):
    """What `jgmm.plot.clusters` draws.

    Args:
        points: the rows of each component (`PathCollection`), of those that have any.
        ellipses: one for each component and level, as from `jgmm.plot.ellipses`.
        centers: the mean of each component (`Line2D`), labelled "number: weight" for a legend.
        numbers: the number of each component (`Text`), on its mean.
    """

    points: list[PathCollection]
    ellipses: list[Ellipse]
    centers: list[Line2D]
    numbers: list[Text]


def size_of(num_rows: int) -> float:
    """The area of a marker, in square points: smaller for many rows."""
    return float(np.clip(9000 / max(1, num_rows), 4, 18))


def points(
    X: ArrayLike,
    labels: ArrayLike,
    *,
    confidence: ArrayLike | None = None,
    features: Sequence[int | str] = (0, 1),
    ax: Axes | None = None,
    **options,
) -> list[PathCollection]:
    """Draw rows in the plane of two features, in the colour and the marker shape of their component.

    Args:
        X: (n, d) rows, data units; the columns' names of a data frame become the labels of the axes.
        labels: (n,) the component of each row, integers from 0, such as `jgmm.predict` returns.
        confidence: (n,) between 0 and 1, such as the largest responsibility; the lower, the fainter. ``None`` for
            rows that are all alike.
        features: two features, by place or by a data frame's names.
        ax: the axes to draw on; ``None`` for pyplot's current ones.
        options: for ``Axes.scatter``, such as ``s`` for the size.

    Returns:
        The rows of each component (`PathCollection`), in the order of the components, of those that have any; the
        label of each is the component's number.

    Raises:
        ValueError, TypeError: an argument is not what is described here.

    Example:
        >>> import jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> drawn = jgmm.plot.points([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [0, 2, 2], ax=Figure().subplots())
        >>> [(artist.get_label(), len(artist.get_offsets())) for artist in drawn]
        [('0', 1), ('2', 2)]
    """
    rows, labels = as_rows(X), np.asarray(labels)
    places, names = choose(features, X, rows.shape[1], 2)
    rows = rows[:, places]
    if labels.shape != rows.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ValueError(
            f"labels must be {len(rows)} integers from 0, one for each row, got {labels.dtype} {labels.shape}. "
            "Use jgmm.predict(params, X)."
        )
    alpha = np.full(len(rows), 0.65)
    if confidence is not None:
        confidence = np.asarray(confidence, np.float64)
        if confidence.shape != labels.shape or not ((confidence >= 0) & (confidence <= 1)).all():
            raise ValueError(f"confidence must be {len(rows)} numbers between 0 and 1, got shape {confidence.shape}.")
        alpha *= 0.15 + 0.85 * confidence**2
    ax = axes_of(ax)
    options = {"s": size_of(len(rows)), "linewidths": 0, "rasterized": len(rows) > MANY} | options
    drawn = []
    for label in np.unique(labels).tolist():
        own = labels == label
        style = {"color": color_of(label), "marker": marker_of(label), "alpha": alpha[own], "label": str(label)}
        drawn.append(ax.scatter(*rows[own].T, **(style | options)))
    label_axes(ax, *names)
    return drawn


def ellipses(
    params: GMM,
    *,
    features: Sequence[int] = (0, 1),
    levels: Sequence[float] | float = (0.5, 0.9),
    ax: Axes | None = None,
    **options,
) -> list[Ellipse]:
    """Draw where the components lie: for each the ellipses that hold the shares ``levels`` of it.

    Of a mixture of more than two features, these are the ellipses of its marginal.

    Args:
        params: a mixture of two features or more.
        features: two features, by place.
        levels: probabilities between 0 and 1. One and two standard deviations hold 0.393 and 0.865.
        ax: the axes to draw on; ``None`` for pyplot's current ones.
        options: for each ``matplotlib.patches.Ellipse``, such as ``facecolor="none"``.

    Returns:
        The ellipses (`Ellipse`), component by component and from the smallest level up. Components of weight
        zero have none.

    Raises:
        ValueError, TypeError: an argument is not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> [ellipse] = jgmm.plot.ellipses(params, levels=0.95, ax=Figure().subplots())
        >>> print(round(ellipse.width / 2, 3))
        2.448
    """
    flat, (_, names) = Flat.of(params, None, features, 2)
    drawn = draw_ellipses(axes := axes_of(ax), flat, as_shares(levels), options)
    label_axes(axes, *names)
    return drawn


def draw_ellipses(ax: Axes, flat: Flat, shares: np.ndarray, options: dict) -> list[Ellipse]:
    """The ellipses of a mixture of two features."""
    drawn = []
    for component, mean, cov in zip(flat.numbers.tolist(), flat.means, flat.cov, strict=True):
        color = color_of(component)
        (minor, major), directions = np.linalg.eigh(cov)
        angle = np.degrees(np.arctan2(*directions[::-1, 1]))  # of the longer axis: eigh sorts upwards
        for radius in np.sqrt(-2 * np.log1p(-shares)):
            width, height = 2 * radius * np.sqrt(np.maximum(0, (major, minor)))
            style = {"facecolor": to_rgba(color, 0.1), "edgecolor": darker(color), "linewidth": 1}
            patch = Ellipse((mean[0], mean[1]), width, height, angle=angle, **(style | options))
            drawn.append(ax.add_patch(patch))
    ax.autoscale_view()
    return drawn


def draw_centers(ax: Axes, flat: Flat, y: np.ndarray, size: float = 11) -> tuple[list[Line2D], list[Text]]:
    """A disc with the number of the component at the mean of the first feature and the heights y (k,)."""
    centers, numbers = [], []
    for component, weight, mean, height in zip(flat.numbers.tolist(), flat.weights, flat.means, y, strict=True):
        color, layer = color_of(component), 3 + component / 1e4  # a number lies on its own disc and below the next
        style = {"color": color, "markersize": size, "markeredgecolor": "white", "markeredgewidth": 1}
        label = f"{component}: {weight:.2f}"
        centers += ax.plot(mean[0], height, "o", linestyle="none", zorder=layer, label=label, **style)
        place = {"ha": "center", "va": "center_baseline", "clip_on": True, "zorder": layer + 5e-5}
        numbers.append(ax.text(mean[0], height, str(component), color=text_on(color), fontsize=0.62 * size, **place))
    return centers, numbers


def clusters(
    params: GMM,
    X: ArrayLike | None = None,
    *,
    features: Sequence[int | str] = (0, 1),
    levels: Sequence[float] | float = (0.5, 0.9),
    fade: bool = True,
    ax: Axes | None = None,
) -> Clusters:
    """Draw a mixture of two features or more: its rows by component, its ellipses, and the numbers on its means.

    Each row has the colour of its most probable component (by all features); the more in doubt, the fainter. A legend
    of the weights is ``ax.legend(handles=drawn.centers, title="weights")``.

    Args:
        params: a mixture of two features or more.
        X: (n, d) rows, data units, or ``None`` for none; the columns' names of a data frame become the labels of the
            axes.
        features: two features, by place or by a data frame's names.
        levels: of the ellipses, probabilities between 0 and 1.
        fade: whether rows in doubt are fainter.
        ax: the axes to draw on; ``None`` for pyplot's current ones.

    Returns:
        `Clusters`, the artists: ``points``, ``ellipses``, ``centers`` and ``numbers``.

    Raises:
        ValueError, TypeError: an argument is not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> means = jnp.array([[0.0, 0.0], [5.0, 5.0]])
        >>> params = jgmm.GMM(jnp.array([0.25, 0.75]), means, jgmm.Spherical(jnp.ones(2)))
        >>> drawn = jgmm.plot.clusters(params, means, ax=Figure().subplots())
        >>> [center.get_label() for center in drawn.centers], len(drawn.ellipses)
        (['0: 0.25', '1: 0.75'], 4)
    """
    (flat, (places, names)), shares = Flat.of(params, X, features, 2), as_shares(levels)
    drawn, axes = [], axes_of(ax)
    if X is not None:
        resp = np.asarray(responsibilities(params, X))
        confidence = np.minimum(1, resp.max(1)) if fade else None
        drawn = points(X, resp.argmax(1), confidence=confidence, features=places, ax=axes)
    found = Clusters(drawn, draw_ellipses(axes, flat, shares, {}), *draw_centers(axes, flat, flat.means[:, 1]))
    label_axes(axes, *names)
    return found
