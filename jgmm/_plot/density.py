"""The density of a mixture: over one feature as curves, over two as contours.

p(x) = sum_k pi_k N(x | mu_k, Sigma_k)                                   (Bishop 2006, eq. 9.7)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from jgmm._base.types import ArrayLike
from jgmm._mixture.gmm import GMM
from jgmm._mixture.validity import as_query
from jgmm._plot.components import MANY, draw_centers, size_of
from jgmm._plot.flat import Flat, as_shares, cells, thresholds
from jgmm._plot.rows import as_rows
from jgmm._plot.style import INK, axes_of, color_of, darker, label_axes

DASHES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (2, 1)), (0, (8, 2)), ":")
SHADES = LinearSegmentedColormap.from_list("density", ["#e3eef8", "#3d84bf"])


class Curves(NamedTuple):
    """What `jgmm.plot.curves` draws.

    Args:
        total: the density of the mixture (`Line2D`).
        parts: the part of each component (`Line2D`), its weight times its density.
        fills: what lies below each part (`PolyCollection`).
        centers: a disc on the top of each part (`Line2D`), labelled "number: weight" for a legend.
        numbers: the number of each component (`Text`), on its disc.
        histogram: of the rows (`StepPatch`), of area one; ``None`` without rows.
    """

    total: Line2D
    parts: list[Line2D]
    fills: list[PolyCollection]
    centers: list[Line2D]
    numbers: list[Text]
    histogram: StepPatch | None


class Contours(NamedTuple):
    """What `jgmm.plot.contours` draws.

    Args:
        lines: the contours (`QuadContourSet`), one for each level.
        fills: the regions between them (`QuadContourSet`).
        points: the rows (`PathCollection`); ``None`` without rows.
    """

    lines: QuadContourSet
    fills: QuadContourSet
    points: PathCollection | None


def curves(
    params: GMM, X: ArrayLike | None = None, *, feature: int | str = 0, bins: int | str = "auto", ax: Axes | None = None
) -> Curves:
    """Draw the density of one feature, and under it the part of each component.

    Args:
        params: a mixture; of more than one feature its marginal is drawn.
        X: (n, d) rows for a histogram behind the curves, data units, or ``None`` for none; the column's name of a data
            frame becomes the label of the axis.
        feature: which, by place or by a data frame's name.
        bins: of the histogram, a number or a rule of ``numpy.histogram_bin_edges``.
        ax: the axes to draw on; ``None`` for pyplot's current ones.

    Returns:
        `Curves`, the artists: ``total``, ``parts``, ``fills``, ``centers``, ``numbers`` and ``histogram``.

    Raises:
        ValueError, TypeError: an argument is not what is described here.

    Example:
        >>> import jax.numpy as jnp, numpy as np, jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> params = jgmm.GMM(jnp.array([0.3, 0.7]), jnp.array([[0.0], [4.0]]), jgmm.Diag(jnp.ones((2, 1))))
        >>> drawn = jgmm.plot.curves(params, ax=Figure().subplots())
        >>> print([round(float(np.trapezoid(*part.get_data()[::-1])), 3) for part in drawn.parts])
        [0.3, 0.7]
    """
    (flat, (places, [name])), rows = Flat.of(params, X, feature, 1), None
    if X is not None:
        rows = as_rows(as_query(params, X)[1])[:, places]
    drawn = draw_curves(axes := axes_of(ax), flat, rows, bins)
    label_axes(axes, name, "density")
    return drawn


def draw_curves(ax: Axes, flat: Flat, rows: np.ndarray | None, bins: int | str = "auto", size: float = 11) -> Curves:
    """The curves of a mixture of one feature, on a histogram of the rows (n, 1)."""
    x = flat.axis(0, 512, rows)
    parts = flat.parts(x[:, None])
    histogram, lines, fills = None, [], []
    if rows is not None:
        heights, edges = np.histogram(rows, bins=bins, density=True)
        histogram = ax.stairs(heights, edges, fill=True, facecolor="0.88", edgecolor="none", zorder=0.5)
    for component, part in zip(flat.numbers.tolist(), parts, strict=True):
        color = color_of(component)
        fills.append(ax.fill_between(x, part, facecolor=color, alpha=0.25, linewidth=0))
        style = {"color": darker(color, 0.85), "linestyle": DASHES[component % len(DASHES)], "linewidth": 1.2}
        lines += ax.plot(x, part, label=f"_part of {component}", **style)  # in a legend the disc stands for it
    [total] = ax.plot(x, parts.sum(0), color=INK, linewidth=1.6, label="mixture")
    centers, numbers = draw_centers(ax, flat, parts.max(1), size)
    ax.margins(y=0.12)  # room for the discs
    ax.set_ylim(bottom=0)
    return Curves(total, lines, fills, centers, numbers, histogram)


def contours(
    params: GMM,
    X: ArrayLike | None = None,
    *,
    features: Sequence[int | str] = (0, 1),
    levels: Sequence[float] | float = (0.2, 0.4, 0.6, 0.8, 0.95),
    ax: Axes | None = None,
) -> Contours:
    """Draw the density of two features: the smallest regions that hold the shares ``levels`` of it.

    Args:
        params: a mixture of two features or more; of more its marginal is drawn.
        X: (n, d) rows to draw on the contours, data units, or ``None`` for none; the columns' names of a data frame
            become the labels of the axes.
        features: two features, by place or by a data frame's names.
        levels: probabilities between 0 and 1.
        ax: the axes to draw on; ``None`` for pyplot's current ones.

    Returns:
        `Contours`, the artists: ``lines``, ``fills`` and ``points``. ``ax.clabel(drawn.lines)`` writes the levels
        on the lines.

    Raises:
        ValueError, TypeError: an argument is not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> drawn = jgmm.plot.contours(params, levels=0.5, ax=Figure().subplots())
        >>> [density] = drawn.lines.levels  # half of what it is at the mean, 1 / (2 pi)
        >>> print(f"{density:.2f}")
        0.08
    """
    (flat, (places, names)), shares, rows = Flat.of(params, X, features, 2), as_shares(levels), None
    if X is not None:
        rows = as_rows(as_query(params, X)[1])[:, places]
    x, y = (flat.axis(place, 96, rows) for place in (0, 1))
    grid = np.stack(np.meshgrid(x, y), -1)
    density = flat.parts(grid.reshape(-1, 2)).sum(0).reshape(grid.shape[:2])
    borders = thresholds(density, cells(y)[:, None] * cells(x), shares)[::-1]
    # What lies outside the outermost region and beyond the rows would be a white margin.
    inside = density >= borders[0]
    x, column = _cropped(x, inside.any(0), None if rows is None else rows[:, 0])
    y, row = _cropped(y, inside.any(1), None if rows is None else rows[:, 1])
    density = density[row, column]
    axes = axes_of(ax)
    fills = axes.contourf(x, y, density, [*borders, max(density.max(), np.nextafter(borders[-1], np.inf))], cmap=SHADES)
    lines = axes.contour(x, y, density, borders, colors=INK, linewidths=0.7)
    label_axes(axes, *names)
    dots = None
    if rows is not None:
        size = size_of(len(rows)) / 3
        dots = axes.scatter(*rows.T, s=size, color=INK, linewidths=0, rasterized=len(rows) > MANY, zorder=2.5)
    return Contours(lines, fills, dots)


def _cropped(axis, inside, rows):
    """The part of an axis with what is inside, the rows and a little more; and where it is."""
    ends = np.concatenate([axis[inside], [] if rows is None else rows])
    margin = 0.05 * (ends.max() - ends.min())
    kept = slice(*np.searchsorted(axis, [ends.min() - margin, ends.max() + margin]))
    return axis[kept], kept
