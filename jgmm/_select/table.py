"""A grid of fits as a table: which is the best by a criterion, as text, as columns, as a picture.

A model is ranked by how sound its fit is, and among equals by the criterion:

    supported   it ended well, and every component has the rows and the variance that it needs
    sound       it ended well (CONVERGED, STALLED, MAX_STEPS)
    degenerate  a component has no support in the data, but there is a likelihood
    failed      there is none
"""

import dataclasses
from typing import Any

import numpy as np

from jgmm._base.status import ComponentStatus, FitError, Status
from jgmm._em.result import Result

# Each with whether a lower value is better, and what it is.
CRITERIA = {
    "bic": (True, "BIC"),
    "aic": (True, "AIC"),
    "icl": (True, "ICL"),
    "cv": (False, "cross-validated mean log-likelihood, nats per row"),
}
FAILED, DEGENERATE, SOUND, SUPPORTED = range(4)


def has_support(result: Result) -> bool:
    """Whether every component has rows enough, and a variance that is the data's and not the ridge's: of values."""
    params, weight = result.params, np.asarray(result.stats.weight)
    enough = (weight >= params.cov.least_rows(params.num_features)) | (np.asarray(params.weights) == 0)
    return bool(enough.all() and (np.asarray(result.component_status) == ComponentStatus.OK).all())


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """The fits of a grid of models, and the best by a criterion. ``print(selection)`` shows the table.

    Args:
        criterion: `str`, by which the models are ranked: "bic", "aic", "icl", or "cv" if that was asked for.
            ``dataclasses.replace(selection, criterion="icl")`` ranks them by another one.
        columns: `dict` of arrays (r,), an entry for each model: "cov", the name of the family; "num_components";
            "num_parameters"; "log_prob", the log-likelihood of all rows; "bic"; "aic"; "icl"; "cv", the mean
            log-likelihood of held-out rows, if that was asked for; "num_steps"; "status", a `jgmm.Status` code;
            "supported", whether every component has the rows and the variance that it needs. Failed fits have NaN.
        results: `tuple` of the r `jgmm.Result`, without the components that are absent; ``None`` for a model of more
            components than rows, which was not fitted.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.concatenate([jax.random.normal(jax.random.key(0), (50, 2)) + c for c in (-5.0, 5.0)])
        >>> found = jgmm.select.sweep(jax.random.key(1), X, range(1, 4), cov="spherical", num_init=4)
        >>> found.best.params.num_components, list(found.to_dict())[:3]
        (2, ['cov', 'num_components', 'num_parameters'])
    """

    criterion: str
    columns: dict[str, np.ndarray]
    results: tuple[Result | None, ...]

    @property
    def tier(self) -> np.ndarray:
        """(r,) how sound each fit is: 3 supported, 2 sound, 1 degenerate, 0 failed."""
        ended_well = self.columns["status"] < Status.DEGENERATE
        tier = np.where(ended_well, np.where(self.columns["supported"], SUPPORTED, SOUND), DEGENERATE)
        return np.where(np.isfinite(self._value()), tier, FAILED)

    @property
    def best_index(self) -> int:
        """The place of the best model: of the soundest fits the one of the best criterion."""
        value = self._value()
        value = value if CRITERIA[self.criterion][0] else -value
        value = np.where(np.isfinite(value), value, np.inf)
        missing = np.array([result is None for result in self.results])
        return int(np.lexsort([missing, value, -self.tier])[0])

    @property
    def best(self) -> Result:
        """The `jgmm.Result` of the best model: its mixture is ``best.params``. ``best.check()`` raises if it is poor.

        Raises:
            jgmm.FitError: no model could be fitted, because each has more components than there are rows.
        """
        result = self.results[self.best_index]
        if result is None:
            raise FitError("No model could be fitted: each has more components than there are rows.")
        return result

    def to_dict(self) -> dict[str, list]:
        """The columns as lists by name, with the names of the statuses: ``pandas.DataFrame(selection.to_dict())``."""
        lists = {name: column.tolist() for name, column in self.columns.items()}
        return lists | {"status": [Status(code).name for code in lists["status"]]}

    def plot(self, *, criterion: str | None = None, ax: Any = None):
        """Draw a criterion by the number of components with `jgmm.plot.sweep`, which says what comes back.

        Args:
            criterion: the column to draw; ``None`` for the one by which the models are ranked.
            ax: the axes to draw on; ``None`` for pyplot's current ones.
        """
        from jgmm import plot  # which needs matplotlib

        selection = self if criterion is None else dataclasses.replace(self, criterion=criterion)
        # The picture knows sound and degenerate: what ranks below the best counts as degenerate.
        status = np.where(selection.tier < selection.tier.max(), int(Status.DEGENERATE), int(Status.CONVERGED))
        lower, _ = CRITERIA[selection.criterion]
        return plot.sweep(
            self.columns | {"status": status}, criterion=selection.criterion, lower_is_better=lower, ax=ax
        )

    def _value(self):
        if self.criterion not in CRITERIA or self.criterion not in self.columns:
            names = ", ".join(repr(name) for name in CRITERIA if name in self.columns)
            raise ValueError(f"criterion must be one of {names}, got {self.criterion!r}.")
        return self.columns[self.criterion].astype(np.float64)

    def __repr__(self):
        value, tier, best = self._value(), self.tier, self.best_index
        families = list(dict.fromkeys(self.columns["cov"].tolist()))
        counts = list(dict.fromkeys(self.columns["num_components"].tolist()))
        cells = {
            (cov, k): f"{number:.{_digits(value)}f}{'*' if place == best else MARKS[level]}"
            for place, (cov, k, number, level) in enumerate(
                zip(self.columns["cov"].tolist(), self.columns["num_components"].tolist(), value, tier, strict=True)
            )
        }
        width = max(map(len, [*cells.values(), *(f"{cov} " for cov in families)])) + 1
        lower, title = CRITERIA[self.criterion]
        lines = [f"{title}: the {'lower' if lower else 'higher'}, the better"]
        lines.append("    k " + "".join(f"{cov + ' ':>{width}}" for cov in families))
        lines += [f"{k:5} " + "".join(f"{cells[cov, k]:>{width}}" for cov in families) for k in counts]
        there = [meaning for level, meaning in MEANINGS.items() if (tier == level).any()]
        lines.append("; ".join(["*: the best", *there]))
        cov, k = self.columns["cov"][best], self.columns["num_components"][best]
        lines.append(f"{cov}, {k} component{'s' if k > 1 else ''}: {self.results[best]}")
        return "\n".join(lines)


MARKS = {SUPPORTED: " ", SOUND: "?", DEGENERATE: "x", FAILED: "x"}
MEANINGS = {
    SOUND: "?: a component rests on few rows or on the ridge",
    DEGENERATE: "x: degenerate",
    FAILED: "nan x: failed",
}


def _digits(value):
    """How many decimals tell the values apart: two, or more where all are small."""
    size = np.abs(value[np.isfinite(value)]).max(initial=0)
    return 2 if size >= 100 or size == 0 else 4
