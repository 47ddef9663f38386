"""Are k components enough? The likelihood-ratio test of k against k + 1, by parametric bootstrap.

    LR = 2 (log L_{k+1} - log L_k),    p = (1 + #{LR* >= LR}) / (B + 1)

k components are a boundary, and a saddle, of the models with k + 1, so that LR has no chi-squared distribution. Its
own is simulated: B data sets drawn from the fit of k components, and to each the same two fits (McLachlan 1987).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import as_data, as_ridge, is_concrete
from jgmm._base.options import check_count, check_key
from jgmm._base.programs import program
from jgmm._base.status import Status
from jgmm._base.types import ArrayLike, where
from jgmm._base.units import rows_in_units, units_of
from jgmm._covariance.families import as_family
from jgmm._covariance.family import Covariance
from jgmm._mixture.gmm import GMM
from jgmm._mixture.queries import sample
from jgmm._mixture.units import shares_units
from jgmm._search.fit import fit
from jgmm._search.race import as_rounds
from jgmm._select.grid import check_options


@dataclasses.dataclass(frozen=True, eq=False)
class BootstrapTest:
    """A likelihood-ratio test of k components against k + 1.

    Args:
        num_components: `int`, k: the null hypothesis.
        statistic: `float`, LR of the data, nats, twice; not negative.
        null_statistics: (r,) those of the resamples.
        p_value: `float`, how often a resample is as extreme, the data counted among them; NaN where a fit to the data
            has no likelihood.
        status: `Status` codes, (r + 1, 2), of the fits of k and of k + 1 components: of the data, then of the
            resamples.

    Example:
        >>> import numpy as np, jgmm
        >>> print(jgmm.select.BootstrapTest(2, 3.5, np.array([1.0, 4.0, 9.0]), 0.75, np.zeros((4, 2), int)))
        2 components against 3: LR = 3.5, p = 0.75 (3 resamples)
    """

    num_components: int
    statistic: float
    null_statistics: np.ndarray
    p_value: float
    status: np.ndarray

    def __str__(self):
        k, poor = self.num_components, int((self.status[0] >= Status.DEGENERATE).sum())
        note = "" if not poor else f"; {' and '.join(Status(int(code)).name for code in self.status[0])} on the data"
        return (
            f"{k} component{'s' if k > 1 else ''} against {k + 1}: LR = {self.statistic:.4g}, "
            f"p = {self.p_value:.3g} ({len(self.null_statistics)} resamples{note})"
        )


@program("k", "family", "num_resamples", "choices", loops=True)
def _run(key, X, weight, traced, k, family, num_resamples, choices):
    """The log-likelihoods and statuses (num_resamples + 1, 2): of the data, then of each resample."""
    n, d = X.shape
    fit_key, row_key = jax.random.split(key)

    def one(null, number):
        data, more = number // 2, number % 2
        drawn, _ = sample(jax.random.fold_in(row_key, data), null, n)
        result = fit(
            jax.random.fold_in(fit_key, data),
            where(data == 0, X, drawn),
            k + more,
            max_components=k + 1,
            cov=family,
            sample_weight=weight,
            **dict(choices),
            **traced,
        )
        # One body does it all: the first fit, of k components to the data, is the null that the resamples are of.
        null = jax.tree.map(lambda new, old: where(number == 0, new, old), result.params, null)
        return null, (result.stats.log_prob, result.status)

    scatter = jnp.zeros(family.form.shape(k + 1, d), X.dtype)
    cov = family.learn(scatter, jnp.ones(k + 1, X.dtype), jnp.ones(d, X.dtype))
    start = GMM(jnp.full(k + 1, 1 / (k + 1), X.dtype), jnp.zeros((k + 1, d), X.dtype), cov)
    _, (log_prob, status) = jax.lax.scan(one, start, jnp.arange(2 * (num_resamples + 1), dtype=jnp.int32))
    return log_prob.reshape(-1, 2), status.reshape(-1, 2)


def _split(options):
    """Options of `fit` that are choices, hashable, and those that are numbers."""
    traced = {
        name: value
        for name, value in options.items()
        if name in ("stop", "max_steps", "ridge", "accelerate") and not (value is None or isinstance(value, str))
    }
    choices = {name: value for name, value in options.items() if name not in traced}
    if "race" in choices:
        choices["race"] = as_rounds(choices["race"])
    return tuple(sorted(choices.items())), traced


def bootstrap_test(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    num_resamples: int = 99,
    **options: Any,
) -> BootstrapTest:
    """Test k components against k + 1: a small p-value says that k are too few.

        LR = 2 (log L_{k+1} - log L_k),    p = (1 + #{LR* >= LR}) / (r + 1)

    LR* are those of r data sets drawn from the fit of k components, by the same two fits with as many starts
    (McLachlan 1987). If the data have k components, p is uniform on 1 / (r + 1), 2 / (r + 1), ..., 1, up to what the
    fitted null differs from the true one. One compiled program, for all fits.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k, the null hypothesis.
        cov: the covariance family, a name or a class.
        num_resamples: r, how many data sets are drawn (static). A test at 5 per cent needs 19 at least; 99 are usual.
        options: keywords of `jgmm.fit`: ``init``, ``num_init``, ``race``, ``stop``, ``max_steps``, ``ridge``,
            ``accelerate``, ``chunk_size``. What is not given is as there.

    Returns:
        `BootstrapTest`: the statistics and the p-value. A resample whose fit failed counts as extreme.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here, or the call is inside ``jit``.

    Example:
        >>> import jax, jgmm
        >>> X = jax.random.normal(jax.random.key(0), (50, 1))
        >>> test = jgmm.select.bootstrap_test(jax.random.key(1), X, 1, cov="spherical", num_resamples=19, num_init=2)
        >>> test.null_statistics.shape, 0.05 <= test.p_value <= 1
        ((19,), True)
    """
    check_key(key)
    check_options(options)
    k = check_count("num_components", num_components, least=1)
    num_resamples = check_count("num_resamples", num_resamples, least=1)
    if not is_concrete((key, X)):
        raise TypeError("bootstrap_test needs values: call it outside jit.")
    X, weight = as_data(X, num_components=k + 1)
    family = as_family("cov", cov)
    choices, traced = _split(options)
    if "ridge" in traced:
        traced["ridge"] = as_ridge(traced["ridge"], X)
    units = units_of(X, weight, shares_units(family))
    if units is not None:
        X, ridge = rows_in_units(X, traced.get("ridge"), units)  # LR is the same in all units
        traced |= {} if ridge is None else {"ridge": ridge}
    log_prob, status = map(np.asarray, _run(key, X, weight, traced, k, family, num_resamples, choices))
    ratio = np.maximum(2 * (log_prob[:, 1] - log_prob[:, 0]).astype(np.float64), 0)
    extreme = (~(ratio[1:] < ratio[0])).sum()
    p_value = (1 + extreme) / (num_resamples + 1) if np.isfinite(ratio[0]) else np.nan
    return BootstrapTest(k, float(ratio[0]), ratio[1:], float(p_value), status)
