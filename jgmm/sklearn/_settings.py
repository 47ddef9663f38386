"""The parameters of the estimators, and what those left at "auto" are."""

import dataclasses
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from jgmm._base.lengths import length_of
from jgmm._covariance.families import FAMILIES, as_family
from jgmm._em.stop import LogProbStop
from jgmm._search.fit import DEFAULT_INIT
from jgmm.sklearn._stop import ChangeStop, Resumed, Told

AUTO = "auto"
MAX_ITER = 1000
MOST_RECORDED = 2**16  # lower bounds
FEW = 2**17  # numbers, up to which a program for one number of components more costs more than to carry some along

EM_CONSTRAINTS: dict[str, Any] = {
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "covariance_type": [StrOptions(set(FAMILIES)), type],
    "tol": [Interval(Real, 0.0, None, closed="left"), StrOptions({AUTO})],
    "reg_covar": [Interval(Real, 0.0, None, closed="left"), StrOptions({AUTO}), "array-like"],
    "max_iter": [Interval(Integral, 0, None, closed="left"), StrOptions({AUTO})],
    "n_init": [Interval(Integral, 1, None, closed="left"), StrOptions({AUTO})],
    "init_params": [StrOptions({AUTO, "kmeans", "k-means++", "random", "random_from_data"})],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "verbose_interval": [Interval(Integral, 1, None, closed="left")],
}
CONSTRAINTS: dict[str, Any] = EM_CONSTRAINTS | {
    "weights_init": ["array-like", None],
    "means_init": ["array-like", None],
    "precisions_init": ["array-like", None],
    "warm_start": ["boolean"],
}


def is_auto(value) -> bool:
    """Whether a parameter is left to jgmm."""
    return isinstance(value, str) and value == AUTO


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a fit goes.

    Args:
        family: the covariance family.
        races: whether many starts race, as `jgmm.fit` does it; or a few run to the end, as scikit-learn does it.
        num_init: how many starts.
        init: the kind of responsibilities to start from, if none race.
        stop: the stop rule.
        max_steps: the most steps.
        accelerate: the accelerator.
        history: how many entries of history to keep.
    """

    family: Any
    races: bool
    num_init: int
    init: str
    stop: Any
    max_steps: int
    accelerate: str | None
    history: int


def plan_of(estimator, before=None) -> Plan:
    """The `Plan` of an estimator, that goes on where a last fit ended: (change, ratio) ``before``."""
    given = [getattr(estimator, name, None) for name in ("weights_init", "means_init", "precisions_init")]
    chosen = not (is_auto(estimator.n_init) and is_auto(estimator.init_params))
    races = before is None and not chosen and all(part is None for part in given)
    fixed = all(part is not None for part in given)
    counted = not is_auto(estimator.max_iter)
    max_steps = int(estimator.max_iter) if counted else MAX_ITER
    own_rule = is_auto(estimator.tol)
    # Where iterations are counted, or the rule is scikit-learn's, one is a step of EM.
    plain = counted or not own_rule or fixed
    return Plan(
        as_family("covariance_type", estimator.covariance_type),
        races,
        num_init=(DEFAULT_INIT if races else 1) if is_auto(estimator.n_init) else int(estimator.n_init),
        init="kmeans" if is_auto(estimator.init_params) else estimator.init_params,
        stop=_rule(estimator, own_rule, before),
        max_steps=max_steps,
        accelerate=None if plain else "anderson",
        history=min(MOST_RECORDED, max(1024, 2 ** max_steps.bit_length())),  # few lengths, few programs
    )


def _rule(estimator, own, before):
    change, ratio = (np.inf, np.inf) if before is None else before
    if own:
        rule: Any = LogProbStop() if before is None else Resumed(LogProbStop(), change, ratio)
    else:
        rule = ChangeStop(float(estimator.tol), change)
    return Told(rule, min(int(estimator.verbose), 2), int(estimator.verbose_interval)) if estimator.verbose else rule


def room_for(k, X) -> int:
    """Components to make room for: for few numbers the next of 1, 2, 4, 8, ..., so that a new k seldom compiles."""
    more = 2 ** (k - 1).bit_length()
    return more if length_of(len(X)) * X.shape[1] * more <= FEW else k


def key_of(rng):
    """A JAX random key from a ``numpy.random.RandomState``."""
    return jax.random.key(jnp.asarray(rng.randint(2**31 - 1), jnp.uint32))
