"""Every pair of features: a mixture of more than two of them at a glance."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from jgmm._base.types import ArrayLike
from jgmm._mixture.gmm import GMM
from jgmm._mixture.queries import responsibilities
from jgmm._mixture.validity import check_mixture
from jgmm._plot.components import draw_centers, draw_ellipses, points
from jgmm._plot.density import draw_curves
from jgmm._plot.flat import Flat, as_shares
from jgmm._plot.rows import as_rows

MOST = 12  # features: more panels than 144 show nothing


def pairs(
    params: GMM,
    X: ArrayLike | None = None,
    *,
    features: Sequence[int | str] | None = None,
    levels: Sequence[float] | float = (0.5, 0.9),
    fade: bool = True,
    figure: FigureBase | None = None,
) -> np.ndarray:
    """Draw every pair of features as `clusters` does, and each feature alone as `curves` does, on the diagonal.

    Args:
        params: a mixture of two features or more.
        X: (n, d) rows, data units, or ``None`` for none; the columns' names of a data frame become the labels.
        features: those to draw, q of them, by place or by a data frame's names; ``None`` for all, if they are at
            most twelve.
        levels: of the ellipses, probabilities between 0 and 1.
        fade: whether rows in doubt are fainter.
        figure: an empty figure (or subfigure) to draw in; ``None`` for a new one of pyplot. One with
            ``layout="constrained"`` leaves room for the labels.

    Returns:
        (q, q) axes, of which those above the diagonal are not drawn; the legend of the weights stands there.

    Raises:
        ValueError, TypeError: an argument is not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 3)), jgmm.Spherical(jnp.ones(1)))
        >>> axes = jgmm.plot.pairs(params, figure=Figure())
        >>> print(axes.shape, axes[2, 0].get_xlabel(), axes[2, 0].get_ylabel())
        (3, 3) feature 0 feature 2
    """
    check_mixture(params)
    d = params.num_features
    if features is None and d > MOST:
        raise ValueError(f"A picture of all pairs of {d} features shows nothing: choose at most {MOST} by features.")
    flat, (places, names) = Flat.of(params, X, range(d) if features is None else features)
    if not 2 <= len(places) <= MOST:
        raise ValueError(f"features must be 2 to {MOST}, got {len(places)}.")
    shares = as_shares(levels)
    rows = resp = None
    if X is not None:
        resp = np.asarray(responsibilities(params, X))
        rows = as_rows(X)[:, places]
    axes = _axes(figure, len(places))
    for i, row in enumerate(axes):
        for j, ax in enumerate(row):
            if i == j:
                draw_curves(ax, flat.only(i), None if rows is None else rows[:, [i]], size=9)
            elif i > j:
                _draw_pair(ax, flat.only(j, i), shares, None if rows is None else rows[:, [j, i]], resp, fade)
            else:
                ax.set_axis_off()
    _finish(axes, names)
    handles = _legend_handles(axes)
    axes[0, -1].legend(
        handles=handles, title="weights", loc="upper right", frameon=False, ncols=1 + len(handles) // 8, borderaxespad=0
    )
    return axes


def _axes(figure, size):
    """(size, size) axes in the figure given, or in a new one of pyplot."""
    if figure is None:
        from matplotlib import pyplot  # only here: it chooses a backend

        figure = pyplot.figure(figsize=(1.2 + 1.9 * size, 0.9 + 1.8 * size), layout="constrained")
    if not isinstance(figure, FigureBase):
        raise TypeError(f"figure must be a matplotlib figure, got {type(figure).__name__}.")
    return figure.subplots(size, size, squeeze=False)


def _draw_pair(ax: Axes, flat: Flat, shares, rows, resp, fade):
    """One panel of two features."""
    if rows is not None:
        confidence = np.minimum(1, resp.max(1)) if fade else None
        points(rows, resp.argmax(1), confidence=confidence, ax=ax)
    draw_ellipses(ax, flat, shares, {"linewidth": 0.8})
    draw_centers(ax, flat, flat.means[:, 1], 9)


def _legend_handles(axes):
    """The centres of one panel, which say the numbers and weights of the components."""
    return [line for line in axes[1, 0].get_lines() if ":" in str(line.get_label())]


def _finish(axes, names):
    """The same limits along a column and along a row, and labels on the outside alone."""
    size = len(axes)
    for j, name in enumerate(names):
        across = [axes[i, j].dataLim.intervalx for i in range(j, size)]
        up = [axes[j, i].dataLim.intervaly for i in range(j)]
        low, high = np.min([*across, *up]), np.max([*across, *up])
        margin = 0.04 * (high - low)
        for i in range(j, size):
            axes[i, j].set_xlim(low - margin, high + margin)
            axes[i, j].set_xlabel(name if i == size - 1 else "")
            axes[i, j].tick_params(labelbottom=i == size - 1)
        for i in range(j):
            axes[j, i].set_ylim(low - margin, high + margin)
            axes[j, i].set_ylabel(name if i == 0 else "")
            axes[j, i].tick_params(labelleft=i == 0)
        axes[j, j].set_yticks([])
        axes[j, j].spines[["top", "left", "right"]].set_visible(False)
