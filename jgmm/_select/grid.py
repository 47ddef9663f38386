"""The fits of a grid, k by covariance family: one compiled program a family, called once for each k.

Every mixture has room for the largest k; what it does not need is absent, of weight exactly zero. So k is a number
and not a shape. Measured on iris (k = 1..9, four families, CPU seconds with compilation): calls one after the other
20, the same loop compiled (``lax.map``) about 45, side by side (``vmap``) 60.
"""

import operator
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgmm import resample
from jgmm._base.arrays import as_data, is_concrete, num_present, on_device
from jgmm._base.options import check_choice, check_count
from jgmm._base.status import Status
from jgmm._base.sweep import as_sweep
from jgmm._base.types import ArrayLike
from jgmm._covariance.families import as_family, name_of
from jgmm._covariance.family import Covariance
from jgmm._em.result import Result
from jgmm._expectation.stats import Stats
from jgmm._mixture.gmm import GMM
from jgmm._mixture.queries import _criteria
from jgmm._search.fit import fit
from jgmm._search.inits import HIERARCHICAL
from jgmm._select.progress import reporting
from jgmm._select.table import CRITERIA, Selection, has_support
from jgmm._starts.hierarchical import tree

FOUR = "full", "tied", "diag", "spherical"
OWN = "num_components", "max_components", "cov", "sample_weight", "axis_name", "history"  # not for a caller to set


def trimmed(result: Result, k: int) -> Result:
    """The result without the components after the first k, which are absent. NumPy cuts: JAX would compile each k."""
    most = result.params.num_components
    if k == most:
        return result

    def cut(leaf):
        return jnp.asarray(np.asarray(leaf)[:k])

    params, stats = result.params, result.stats
    cov = jax.tree.map(np.asarray, params.cov).reordered(np.arange(k), params.num_features)
    scatter = jax.tree.map(lambda leaf: cut(leaf) if len(leaf) == most else leaf, stats.scatter)
    return Result(
        GMM(cut(params.weights), cut(params.means), jax.tree.map(jnp.asarray, cov)),
        Stats(cut(stats.center), cut(stats.weight), cut(stats.shift), scatter, stats.total, stats.log_prob),
        result.num_steps,
        result.status,
        cut(result.component_status),
        result.history,
        result.restarts,
    )


class _Options:
    """The options of `fit` for rows of given weights: a tree of groups in place of its name, made once for all k."""

    def __init__(self, key, X, options):
        self.key, self.X, self.options, self.trees = key, X, options, {}

    def of(self, weight) -> dict[str, Any]:
        init = self.options.get("init")
        several = init if isinstance(init, tuple) else (init,)
        if not any(isinstance(one, str) and one == HIERARCHICAL for one in several):
            return self.options
        known = np.asarray(weight).tobytes()
        if known not in self.trees:
            self.trees[known] = tree(self.X, weight, key=self.key)
        made = tuple(self.trees[known] if isinstance(one, str) and one == HIERARCHICAL else one for one in several)
        return self.options | {"init": made}


class _Family:
    """The fits of one family to the same rows: each program is compiled with the first."""

    def __init__(self, key, family, most, rows, options):
        self.key, self.family, self.most, self.options = key, family, most, options
        self.X, self.weight = rows
        self.sweep = as_sweep(self.X, options.options.get("chunk_size"))

    def num_parameters(self, k):
        d = self.X.shape[1]
        return k - 1 + k * d + self.family.num_parameters(k, d)

    def fit(self, k, weight) -> Result | None:
        """k components to rows of these weights; ``None`` if there are fewer rows."""
        if k > num_present(weight):
            return None
        return fit(
            self.key,
            self.X,
            k,
            max_components=self.most,
            cov=self.family,
            sample_weight=weight,
            **self.options.of(weight),
        )

    def criteria(self, result, k, weight):
        """BIC, AIC and ICL of rows of these weights, for a number of parameters of k components (none for 0)."""
        count = on_device(self.num_parameters(k) if k else 0, self.X.dtype)
        values = _criteria(result.params, self.X, weight, count, self.sweep, entropy=True)
        return [float(value) for value in values]

    def held_out(self, k, folds):
        """The mean log-likelihood of the rows that each of the folds (r, n), training weights, holds out."""
        total = 0.0
        for train in folds:
            result, rest = self.fit(k, train), self.weight - train
            if result is None:
                return np.nan
            total -= self.criteria(result, 0, rest)[1] / 2
        return total / float(self.weight.sum())

    def row(self, k, folds):
        """The entries of the table for k components, and the fit."""
        row: dict[str, Any] = {"num_components": k, "num_parameters": self.num_parameters(k)}
        row |= dict.fromkeys(("log_prob", "bic", "aic", "icl"), np.nan)
        result = self.fit(k, self.weight)
        if result is None:
            return row | {"num_steps": 0, "status": int(Status.DEGENERATE), "supported": False}, None
        bic, aic, icl = self.criteria(result, k, self.weight)
        row |= {"log_prob": row["num_parameters"] - aic / 2, "bic": bic, "aic": aic, "icl": icl}
        result = trimmed(result, k)
        row |= {"num_steps": int(result.num_steps), "status": int(result.status), "supported": has_support(result)}
        return row, result


def _as_counts(num_components):
    """Numbers of components: each once, in their order."""
    try:
        counts = [operator.index(num_components)]
    except TypeError:
        try:
            counts = list(num_components)
        except TypeError:
            raise TypeError(
                f"num_components must be an integer or integers such as range(1, 10), got {num_components!r}."
            ) from None
    counts = [check_count("num_components", k, least=1) for k in dict.fromkeys(counts)]
    if not counts:
        raise ValueError("num_components must name at least one number of components, got none.")
    return counts


def _as_families(cov):
    """{name: family}, in the order given."""
    given = [cov] if isinstance(cov, str) or not isinstance(cov, Iterable) else list(cov)
    families = [as_family("cov", one) for one in given]
    if not families:
        raise ValueError("cov must name at least one covariance family, got none.")
    return {name_of(family): family for family in families}


def check_options(options):
    """Raise unless these keywords of `fit` are for a caller to choose."""
    for name in OWN:
        if name in options:
            raise TypeError(f"{name} is not an option that goes to jgmm.fit here: got {options[name]!r}.")


def sweep(
    key: jax.Array,
    X: ArrayLike,
    num_components: int | Iterable[int] = range(1, 10),
    *,
    cov: str | type[Covariance] | Iterable[str | type[Covariance]] = FOUR,
    criterion: str = "bic",
    folds: int = 5,
    sample_weight: ArrayLike | None = None,
    progress: bool = False,
    **options: Any,
) -> Selection:
    """Fit every number of components with every covariance family, and choose by a criterion.

    Each family is one compiled program for all numbers of components. A fit that fails is a status in the table. One
    that is degenerate is marked there, and is the best only where no other is better: see `Selection`.

    Args:
        key: a JAX random key. Each fit is ``jgmm.fit(key, X, k, max_components=K, ...)``, with K the largest k.
        X: (n, d) rows, data units.
        num_components: the numbers of components, or one.
        cov: the covariance families, names ("full", "VEV") or classes, or one.
        criterion: "bic", "aic", "icl" (the lower, the better), or "cv" (the higher): the mean log-likelihood of rows
            that were held out of the fit, each row once (Smyth 2000). They have weight zero, so that no program is
            compiled for them. Every fold makes its own starts, because a fit to all rows has seen what is held out.
        folds: into how many parts "cv" deals the rows; each takes as long as the grid itself.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.
        progress: whether to say on stderr what is done: a bar if tqdm is installed, else lines.
        options: keywords of `jgmm.fit`: ``init``, ``num_init``, ``race``, ``stop``, ``max_steps``, ``ridge``,
            ``accelerate``, ``chunk_size``. What is not given is as there.

    Returns:
        `Selection`: the table, its fits and the best one.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here, all numbers of components are
            larger than that of the rows, or the call is inside ``jit``.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.concatenate([jax.random.normal(jax.random.key(0), (50, 2)) + c for c in (-5.0, 5.0)])
        >>> found = jgmm.select.sweep(jax.random.key(1), X, range(1, 4), cov="spherical", num_init=4)
        >>> print(found.best.params.weights.round(2))
        [0.5 0.5]
    """
    check_options(options)
    check_choice("criterion", criterion, {name: name for name in CRITERIA})
    counts, families = _as_counts(num_components), _as_families(cov)
    if not is_concrete((key, X, sample_weight)):
        raise TypeError("sweep needs values: call it outside jit. Inside, use jgmm.fit with max_components.")
    rows = as_data(X, sample_weight, num_components=min(counts))
    present = num_present(rows[1])
    if min(counts) > present:
        raise ValueError(f"X must hold at least as many rows of positive weight as components, got {present}.")
    parts = []
    if criterion == "cv":
        parts = list(resample.cross_validation(key, rows[0].shape[0], folds, sample_weight=rows[1]))
    table, results = [], []
    choices = _Options(key, rows[0], options)
    with reporting(len(counts) * len(families), progress) as tell:
        for name, family in families.items():
            fits = _Family(key, family, max(counts), rows, choices)
            for k in counts:
                row, result = fits.row(k, parts)
                if parts:
                    row["cv"] = fits.held_out(k, parts)
                table.append({"cov": name} | row)
                results.append(result)
                tell(f"{name}, k = {k}: {criterion} {row[criterion]:.6g}, {Status(row['status']).name}")
    columns = {name: np.array([row[name] for row in table]) for name in table[0]}
    return Selection(criterion, columns, tuple(results))
