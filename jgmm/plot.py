"""Pictures of mixtures and fits, by matplotlib: ``pip install "jgmm[plot]"``, then ``import jgmm.plot``.

    clusters     rows by component, ellipses, numbers         points, ellipses   parts of it alone
    curves       the density of one feature                   contours           that of two
    pairs        every pair of features                       uncertainty        where an assignment is in doubt
    history      how a fit went                               restarts           how its starts ended
    sweep        a criterion by k and family                  colors             of the components

Each function takes the axes to draw on (``ax``; pyplot's current ones for ``None``), changes nothing else, and returns
what it drew. Colours and marker shapes go by the number of the component, so that it looks the same in every picture;
what has weight zero is absent, and not drawn. `import jgmm` does not import this module.
"""

try:
    from jgmm._plot.components import Clusters, clusters, ellipses, points
    from jgmm._plot.density import Contours, Curves, contours, curves
    from jgmm._plot.fits import Sweep, history, restarts, sweep
    from jgmm._plot.pairs import pairs
    from jgmm._plot.style import colors
    from jgmm._plot.uncertainty import uncertainty
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "matplotlib":
        raise
    raise ImportError('jgmm.plot draws with matplotlib, which is not installed: pip install "jgmm[plot]".') from error

__all__ = [
    "Clusters",
    "Contours",
    "Curves",
    "Sweep",
    "clusters",
    "colors",
    "contours",
    "curves",
    "ellipses",
    "history",
    "pairs",
    "points",
    "restarts",
    "sweep",
    "uncertainty",
]
