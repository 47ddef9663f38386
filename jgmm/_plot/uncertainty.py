"""Where an assignment is in doubt: one minus the largest responsibility of a row (Fraley & Raftery 2002, sec. 3)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap

from jgmm._base.types import ArrayLike
from jgmm._mixture.gmm import GMM
from jgmm._mixture.queries import uncertainty as doubt_of
from jgmm._mixture.validity import check_mixture
from jgmm._plot.components import MANY, size_of
from jgmm._plot.rows import as_rows, choose
from jgmm._plot.style import axes_of, label_axes

SURE = 0.01  # of less doubt than this a row is drawn as small as any
SHADES = LinearSegmentedColormap.from_list("doubt", ["#b3c0cc", "#d9822b", "#5a0f00"])  # darker all along


def uncertainty(
    params: GMM,
    X: ArrayLike,
    *,
    features: int | str | Sequence[int | str] = (0, 1),
    ax: Axes | None = None,
) -> PathCollection:
    """Draw how much each row's assignment is in doubt: the more, the larger and the darker, and on top.

        u(x) = 1 - max_k p(k | x),   between 0 and 1 - 1 / k

    Args:
        params: the mixture.
        X: (n, d) rows, data units; the columns' names of a data frame become the labels of the axes.
        features: two features, by place or by a data frame's names; or one, against which the uncertainty is drawn.
        ax: the axes to draw on; ``None`` for pyplot's current ones.

    Returns:
        The rows (`PathCollection`), whose array is their uncertainty, the least first: for ``figure.colorbar``.

    Raises:
        ValueError, TypeError: an argument is not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[-1.0], [1.0]]), jgmm.Spherical(jnp.ones(2)))
        >>> X = jnp.array([[0.0], [9.0]])
        >>> print(jgmm.plot.uncertainty(params, X, features=0, ax=Figure().subplots()).get_array().round(3))
        [0.  0.5]
    """
    check_mixture(params)
    places, names = choose(features, X, params.num_features)
    if len(places) > 2:
        raise ValueError(f"features must be one or two, got {features!r}.")
    doubt = np.asarray(doubt_of(params, X), np.float64)
    rows = as_rows(X)[:, places]
    order = np.argsort(doubt, kind="stable")
    doubt, rows = doubt[order], rows[order]
    y, label = (rows[:, 1], names[1]) if len(places) == 2 else (doubt, "uncertainty")
    axes = axes_of(ax)
    most = max(0.5, float(doubt.max()))
    size = size_of(len(doubt)) * (0.4 + 5 * np.maximum(0, doubt - SURE))
    style = {"cmap": SHADES, "vmin": 0, "vmax": most, "linewidths": 0}
    drawn = axes.scatter(rows[:, 0], y, c=doubt, s=size, rasterized=len(doubt) > MANY, **style)
    label_axes(axes, names[0], label)
    return drawn
