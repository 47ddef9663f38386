"""How components look: twenty colours, nine marker shapes; and the axes that are drawn on.

The colours were searched for, not taken from a list: of any first k of them the least difference is large to normal
eyes, to those without one of the three kinds of cones (Machado, Oliveira & Fernandes 2009), and in grey, where it is
one of lightness. For many components that is little, so that shapes and numbers tell them apart as well.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from jgmm._base.options import check_count

COLORS = (
    "#0072b2", "#e69f00", "#801a4a", "#fa4c79", "#0fd9ff", "#7d822c", "#521b7f", "#c78cc4", "#8cc971", "#853e7b",
    "#195826", "#af314d", "#3aa884", "#a16bdf", "#b65285", "#f88297", "#4e3c03", "#3648b1", "#856100", "#c7c53d",
)  # fmt: skip
# As many as have no factor in common with the colours: a pair recurs after 180 components.
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", "p")
INK = "0.15"  # of what belongs to no component


def color_of(component: int) -> str:
    """The colour of a component."""
    return COLORS[component % len(COLORS)]


def marker_of(component: int) -> str:
    """The marker shape of a component."""
    return MARKERS[component % len(MARKERS)]


def darker(color: str, factor: float = 0.6) -> tuple[float, float, float]:
    """A darker shade, for an edge that shows on a face of the same colour."""
    red, green, blue = (factor * part for part in to_rgb(color))
    return red, green, blue


def text_on(color: str) -> str:
    """White or black, whichever is read more easily on the colour."""
    return "white" if np.dot((0.2126, 0.7152, 0.0722), np.power(to_rgb(color), 2.2)) < 0.3 else "black"


def colors(num_components: int) -> list[str]:
    """The colours of components 0, 1, 2, ..., to draw something else in them.

    Args:
        num_components: how many; after 20 they repeat, and the marker shapes of `points` tell components apart.

    Returns:
        (k,) colours such as "#0072b2".

    Raises:
        ValueError, TypeError: ``num_components`` is not a nonnegative integer.

    Example:
        >>> import jgmm.plot
        >>> len(jgmm.plot.colors(3)), jgmm.plot.colors(1)
        (3, ['#0072b2'])
    """
    return [color_of(component) for component in range(check_count("num_components", num_components, least=0))]


def axes_of(ax: Axes | None) -> Axes:
    """The axes given, or pyplot's current ones."""
    if ax is None:
        from matplotlib import pyplot  # only here: it chooses a backend

        return pyplot.gca()
    if not isinstance(ax, Axes):
        hint = " Pass one of them." if np.ndim(ax) else ""
        raise TypeError(f"ax must be matplotlib Axes, got {type(ax).__name__}.{hint}")
    return ax


def label_axes(ax: Axes, x: str, y: str) -> None:
    """Say what the axes show, unless they say something already."""
    if not ax.get_xlabel():
        ax.set_xlabel(x)
    if not ax.get_ylabel():
        ax.set_ylabel(y)
