"""From rows and an estimator's parameters to a fitted mixture, by the functional core."""

import dataclasses
import time
import warnings
from typing import Any

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from jgmm._base.status import ComponentStatus, Status
from jgmm._em.loop import em
from jgmm._em.result import Result
from jgmm._expectation.ridge import relative_ridge
from jgmm._mixture.gmm import GMM
from jgmm._search.fit import fit
from jgmm.sklearn._rows import merged, present
from jgmm.sklearn._settings import Plan, is_auto, key_of, plan_of, room_for
from jgmm.sklearn._starts import checked, start_of
from jgmm.sklearn._stop import CLOCK
from jgmm.sklearn._values import with_room

NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or "
    "check for degenerate data."
)
ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or "
    "scale the input data."
)
FAILED = {Status.INVALID_START, Status.INVALID_DATA}


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fit, on the host.

    Args:
        params: the mixture, with components of weight zero behind the first k perhaps.
        num_steps: steps of the run that won.
        lower_bounds: the mean log-likelihood after 0, 1, ... steps.
        status: how it ended.
        converged: whether the stop rule was met.
        remarks: what there is to say of the components, or "".
    """

    params: GMM
    num_steps: int
    lower_bounds: np.ndarray
    lower_bound: float
    status: Status
    converged: bool
    remarks: str

    def trend(self, before):
        """The last change of the lower bound, and its ratio to the one before it; inf where it is not known.

        Args:
            before: that of the fit that was resumed, or ``None``.
        """
        changes = [float(change) for change in np.abs(np.diff(self.lower_bounds[-3:]))]
        changes = [np.inf if before is None else before[0], *changes]
        last, change = changes[-2:] if len(changes) > 1 else (np.inf, changes[0])
        if change == 0:
            return 0.0, 0.0
        return change, change / last if 0 < last < np.inf else np.inf


def learn(estimator, X, sample_weight, rng, start=None, before=None, ridge: Any = None) -> Fit:
    """Fit a mixture to rows.

    Args:
        estimator: its parameters.
        X: (n, d) float32 or float64 rows.
        sample_weight: (n,), or ``None``.
        rng: a ``numpy.random.RandomState``.
        start: the mixture to go on from, or ``None``.
        before: the `Fit.trend` of the fit that made it, or ``None``.
        ridge: in place of the estimator's "auto".

    Raises:
        ValueError: the data, or a start, are not what they should be; or no component has a covariance.
    """
    k, plan = estimator.n_components, plan_of(estimator, before)
    X, sample_weight = present(X, sample_weight)
    if len(X) < k:
        raise ValueError(f"Expected n_samples >= n_components but got n_components = {k}, n_samples = {len(X)}")
    given = checked(estimator, X.shape[1], X.dtype)
    ridge = ridge if is_auto(estimator.reg_covar) else np.asarray(estimator.reg_covar, X.dtype)
    begun = time.perf_counter()
    if plan.races:
        plan = dataclasses.replace(plan, num_init=1) if k == 1 else plan  # all starts are the same
        result = _race(plan, X, sample_weight, k, ridge, rng, estimator.verbose)
    else:
        ridge = ridge_of(X, sample_weight) if ridge is None else ridge
        rows = X, sample_weight
        if start is not None or all(part is not None for part in given):  # nothing is drawn by the number of a row
            rows, plan = merged(X, sample_weight, least=k), dataclasses.replace(plan, num_init=1)
        draw = lambda: start_of(given, X, k, plan.family, ridge, plan.init, rng, sample_weight)  # noqa: E731
        result = _best(
            _run(plan, draw() if start is None else start, *rows, ridge, number, estimator.verbose)
            for number in range(plan.num_init)
        )
    done = _judged(plan, k, result, own_rule=is_auto(estimator.tol))
    _tell_end(estimator.verbose, done, begun)
    return done


def ridge_of(X, sample_weight):
    """`jgmm.relative_ridge` of rows in any order."""
    rows, weight = merged(X, sample_weight)
    return relative_ridge(rows, sample_weight=weight)


def _race(plan: Plan, X, sample_weight, k, ridge, rng, verbose):
    rows, weight = merged(X, sample_weight, least=k)
    if verbose:
        _tell_begin(f"Race of {plan.num_init} initializations")
    return _finished(
        verbose,
        fit(
            key_of(rng),
            rows,
            k,
            max_components=room_for(k, rows),
            cov=plan.family,
            num_init=plan.num_init,
            sample_weight=weight,
            stop=plan.stop,
            max_steps=plan.max_steps,
            ridge=ridge,
            accelerate=plan.accelerate,
            history=plan.history,
        ),
    )


def _run(plan: Plan, start, X, sample_weight, ridge, number, verbose):
    if verbose:
        _tell_begin(f"Initialization {number}")
    start = with_room(start, room_for(start.num_components, X)).astype(X.dtype)
    options = {"stop": plan.stop, "max_steps": plan.max_steps, "accelerate": plan.accelerate, "history": plan.history}
    try:
        return _finished(verbose, em(start, X, sample_weight, ridge=ridge, **options))
    except ValueError as error:  # a start whose covariance is singular
        if "positive definite" not in str(error):
            raise
        return None


def _finished(verbose, result):
    if verbose:
        jax.block_until_ready(result)
        jax.effects_barrier()  # so that what was printed meanwhile stands before what follows
    return result


def _best(results) -> Result:
    """The sound result of the highest likelihood; only where there is none, a degenerate one, then a failed one."""
    best, rank = None, None
    for result in results:
        if result is None:
            continue
        status, value = int(result.status), float(result.mean_log_prob)
        tier = 2 if status < Status.DEGENERATE else 1 if status == Status.DEGENERATE else 0
        place = tier, value if np.isfinite(value) else -np.inf
        if rank is None or place > rank:
            best, rank = result, place
    if best is None:
        raise ValueError(ILL_DEFINED)
    return best


def _judged(plan: Plan, k, result: Result, own_rule):
    status, codes = Status(int(result.status)), np.asarray(result.component_status)[:k]
    if status in FAILED:
        raise ValueError(f"{ILL_DEFINED} {status.name}: {status.message}")
    kept = codes == ComponentStatus.KEPT
    if kept.any() and not np.isin(codes, (ComponentStatus.OK, ComponentStatus.RIDGED)).any():
        raise ValueError(ILL_DEFINED)
    num_steps = int(result.num_steps)
    history: Any = result.history
    bounds = np.asarray(history, np.float64)[: num_steps + 1]
    converged = status == Status.CONVERGED
    converged |= status == Status.STALLED and own_rule  # as near as the dtype permits
    converged |= status == Status.DEGENERATE and num_steps < plan.max_steps
    return Fit(
        result.params, num_steps, bounds, float(result.mean_log_prob), status, bool(converged), result._remarks()
    )


def warn(done: Fit, max_iter, stacklevel, exact=False):
    """Warn of a fit that did not converge, or of components without support, unless ``exact`` relations are welcome."""
    if done.status >= Status.DEGENERATE and not (exact and done.status == Status.DEGENERATE):
        text = f"{done.status.name}: {done.status.message.rstrip('.')}{done.remarks}."
        warnings.warn(text, ConvergenceWarning, stacklevel=stacklevel)
    if not done.converged and max_iter != 0:
        warnings.warn(NOT_CONVERGED, ConvergenceWarning, stacklevel=stacklevel)


def _tell_begin(text):
    CLOCK[0] = time.perf_counter()
    print(text)


def _tell_end(verbose, done: Fit, begun):
    if not verbose:
        return
    end = "converged" if done.converged else "did not converge"
    rest = f" time lapse {time.perf_counter() - begun:.5f}s\t lower bound {done.lower_bound:.5f}."
    print(f"Initialization {end}.{rest if verbose > 1 else ''}")
