"""How a fit went, how its starts ended, and which model a criterion prefers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator

from jgmm._base.status import Status
from jgmm._em.result import Result
from jgmm._plot.density import DASHES
from jgmm._plot.style import INK, axes_of, color_of, label_axes, marker_of

SOUND = (Status.CONVERGED, Status.STALLED, Status.MAX_STEPS)  # a mixture that the data support, if not an optimum
# How starts end, in this order: label, colour, marker.
ENDS = {
    "converged": (color_of(0), "o"),
    "left behind in the race": ("0.65", "."),
    "not converged": (color_of(1), "^"),
    "failed": (color_of(2), "X"),
}


class Sweep(NamedTuple):
    """What `jgmm.plot.sweep` draws.

    Args:
        lines: the criterion of each family (`Line2D`).
        degenerate: the marks on fits that no data support (`PathCollection`); ``None`` if there is none.
        best: the mark on the best model (`PathCollection`).
        label: what the best model is (`Annotation`).
    """

    lines: list[Line2D]
    degenerate: PathCollection | None
    best: PathCollection
    label: Annotation


def history(result: Result, *, remaining: bool = False, ax: Axes | None = None) -> list[Line2D]:
    """Draw the mean log-likelihood after each step of a fit, or of every fit of a batch.

    Args:
        result: of `em`, `fit` or `fit_gradient` with ``history=``, or a batch of them from ``vmap``.
        remaining: whether to draw, on a logarithmic scale, how much there was left to gain: near its end EM is a
            straight line, whose slope is the logarithm of its rate of convergence.
        ax: the axes to draw on; ``None`` for pyplot's current ones.

    Returns:
        A line for each fit (`Line2D`), in their order.

    Raises:
        ValueError: the result holds no history.
        TypeError: no result, or not of values.

    Example:
        >>> import jax, jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> X = jax.random.normal(jax.random.key(0), (50, 2))
        >>> start = jgmm.init.random_points(jax.random.key(1), X, 2)
        >>> [line] = jgmm.plot.history(jgmm.em(start, X, max_steps=5, history=6), ax=Figure().subplots())
        >>> print(line.get_xdata())
        [0 1 2 3 4 5]
    """
    if not isinstance(result, Result):
        raise TypeError(f"history draws a jgmm.Result, got {type(result).__name__}.")
    if result.history is None:
        raise ValueError("The result holds no history. Fit with history=N to keep the first N entries.")
    values = np.asarray(result.history, np.float64)
    values = values.reshape(-1, values.shape[-1])
    axes, drawn = axes_of(ax), []
    many = len(values) > 1
    for fit, value in enumerate(values):
        step = np.arange(len(value))
        there = np.isfinite(value)
        if remaining:
            value = np.nanmax(np.where(there, value, np.nan), initial=-np.inf) - value
            there &= value > 0
        style = {"color": color_of(fit) if many else INK, "linestyle": DASHES[fit % len(DASHES)], "linewidth": 1.4}
        mark = {"marker": "o", "markersize": 4, "markevery": [-1] if there.any() else []}
        drawn += axes.plot(step[there], value[there], label=f"fit {fit}", **(style | mark))
    if remaining:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    label_axes(axes, "EM step", "left to gain (nats per row)" if remaining else "mean log-likelihood (nats per row)")
    return drawn


def restarts(result: Result, *, ax: Axes | None = None) -> list[PathCollection]:
    """Draw what every start of a fit reached, from the best to the worst: first those that ran to their end.

    Many starts on the level of the best say that it is found with ease. What was left behind in the race was judged
    by the rows of the race, often fewer: those numbers are comparable with each other, and not with the others.

    Args:
        result: of `fit`.
        ax: the axes to draw on; ``None`` for pyplot's current ones.

    Returns:
        The starts (`PathCollection`), a collection for each kind of end that there is; its label says which.

    Raises:
        ValueError: the result is not of `fit`.
        TypeError: no result, or a batch.

    Example:
        >>> import jax, jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> X = jax.random.normal(jax.random.key(0), (50, 2))
        >>> result = jgmm.fit(jax.random.key(1), X, 2, num_init=8, race=((5, 2),))
        >>> drawn = jgmm.plot.restarts(result, ax=Figure().subplots())
        >>> print(sum(len(artist.get_offsets()) for artist in drawn))
        8
    """
    if not isinstance(result, Result) or np.ndim(result.status):
        what = "a batch of them" if isinstance(result, Result) else type(result).__name__
        raise TypeError(f"restarts draws one jgmm.Result, got {what}.")
    if result.restarts is None:
        raise ValueError("The result holds no restarts: it must be of jgmm.fit, which makes several starts.")
    value = np.asarray(result.restarts.mean_log_prob, np.float64)
    status = np.asarray(result.restarts.status)
    ends = np.select(
        [status == Status.CONVERGED, status == Status.DROPPED, np.isin(status, (Status.STALLED, Status.MAX_STEPS))],
        [0, 1, 2],
        3,
    )
    value = np.where(np.isfinite(value), value, np.nan)
    order = np.lexsort((np.where(np.isnan(value), np.inf, -value), ends == 1))
    rank = np.empty(len(order), int)
    rank[order] = np.arange(1, len(order) + 1)
    axes, drawn = axes_of(ax), []
    for end, (label, (color, marker)) in enumerate(ENDS.items()):
        own = (ends == end) & ~np.isnan(value)
        lost = (ends == end) & np.isnan(value)
        if own.any():
            drawn.append(axes.scatter(rank[own], value[own], color=color, marker=marker, s=28, label=label))
        if lost.any():  # without a number: on the lower edge
            style = {"color": color, "marker": "x", "label": f"{label}, no number", "clip_on": False}
            drawn.append(axes.scatter(rank[lost], 0 * rank[lost], transform=axes.get_xaxis_transform(), **style))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    label_axes(axes, "start, from the best", "mean log-likelihood (nats per row)")
    return drawn


def sweep(
    columns: Mapping[str, Any],
    *,
    criterion: str = "bic",
    lower_is_better: bool = True,
    ax: Axes | None = None,
) -> Sweep:
    """Draw a criterion by the number of components, a line for each family; the best marked, and what is degenerate.

    Fits that are degenerate (none of `Status` CONVERGED, STALLED, MAX_STEPS) are crossed out, and one of them is the
    best only where there is no other.

    Args:
        columns: columns of one length r by name: "num_components", "cov" (names), "status" (`Status` codes or
            their names; where it is missing all fits count as sound) and the criterion. A dict or a data frame.
        criterion: the column to draw.
        lower_is_better: so it is for BIC, AIC and ICL, and is not for log-likelihoods.
        ax: the axes to draw on; ``None`` for pyplot's current ones.

    Returns:
        `Sweep`, the artists: ``lines``, ``degenerate``, ``best`` and ``label``.

    Raises:
        ValueError, TypeError: a column is missing, of another length, or not what is described here.

    Example:
        >>> import jgmm.plot
        >>> from matplotlib.figure import Figure
        >>> columns = {"num_components": [1, 2, 3], "cov": ["full"] * 3, "bic": [9.0, 5.0, 4.0], "status": [0, 0, 3]}
        >>> print(jgmm.plot.sweep(columns, ax=Figure().subplots()).label.get_text())
        full, 2 components
    """
    k, cov, value, sound = _table(columns, criterion)
    axes, lines = axes_of(ax), []
    for family, name in enumerate(dict.fromkeys(cov.tolist())):
        own = np.flatnonzero(cov == name)
        own = own[np.argsort(k[own], kind="stable")]
        color = color_of(family)
        style = {"color": color, "linestyle": DASHES[family % len(DASHES)], "marker": marker_of(family)}
        lines += axes.plot(k[own], value[own], label=name, markersize=6, linewidth=1.4, **style)
    finite = np.isfinite(value)
    wrong = None
    if (finite & ~sound).any():
        style = {"marker": "x", "color": INK, "s": 90, "linewidths": 1.6, "zorder": 3, "label": "degenerate"}
        wrong = axes.scatter(k[finite & ~sound], value[finite & ~sound], **style)
    among = np.flatnonzero(finite & sound) if (finite & sound).any() else np.flatnonzero(finite)
    best = among[np.argmin(value[among] if lower_is_better else -value[among])]
    ring = {"marker": "o", "facecolors": "none", "edgecolors": INK, "s": 170, "linewidths": 1.6, "zorder": 3}
    mark = axes.scatter(k[best], value[best], label="best", **ring)
    side = {k.min(): "left", k.max(): "right"}.get(k[best], "center") if k.min() < k.max() else "center"
    text = f"{cov[best]}, {k[best]} component{'s' if k[best] > 1 else ''}"
    label = axes.annotate(text, (k[best], value[best]), (0, -12 if lower_is_better else 12), **LABEL)
    label.set(ha=side, va="top" if lower_is_better else "bottom")
    axes.margins(y=0.18)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    label_axes(axes, "number of components", criterion.upper() if len(criterion) <= 4 else criterion.replace("_", " "))
    return Sweep(lines, wrong, mark, label)


LABEL: dict[str, Any] = {"textcoords": "offset points", "color": INK, "annotation_clip": False}


def _table(columns, criterion):
    """The numbers of components, families, criterion and soundness (r,) of a sweep."""

    def column(name):
        try:
            return np.asarray(columns[name])
        except (KeyError, IndexError, TypeError):
            raise ValueError(
                f"The sweep has no column {name!r}. It needs num_components, cov and the criterion."
            ) from None

    k, cov, value = column("num_components"), column("cov"), column(criterion)
    status = [_as_status(code) for code in columns["status"]] if "status" in columns else [Status.CONVERGED] * len(k)
    shapes = {x.shape for x in (k, cov, value)} | {(len(status),)}
    if len(shapes) > 1 or k.ndim != 1 or not k.size:
        raise ValueError(f"The columns of a sweep must have one length, got shapes {sorted(shapes)}.")
    value = value.astype(np.float64)
    if not np.isfinite(value).any():
        raise ValueError(f"The column {criterion!r} holds no finite number.")
    sound = np.array([code in SOUND for code in status])
    return k, cov.astype(str), value, sound


def _as_status(code):
    try:
        return Status[code] if isinstance(code, str) else Status(int(code))
    except (KeyError, ValueError):
        raise ValueError(f"A status must be a code or the name of one of jgmm.Status, got {code!r}.") from None
