"""From a key and data to the best mixture: initialise, restart, EM, choose; one compiled program."""

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp

from jgmm import init as initialisers
from jgmm._base.arrays import as_data, as_ridge, is_concrete, on_device
from jgmm._base.lengths import length_of
from jgmm._base.options import as_limit, check_choice, check_count, check_key, check_optional_count
from jgmm._base.programs import program
from jgmm._base.sample import sample_rows
from jgmm._base.status import Status
from jgmm._base.sweep import as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._base.units import rows_in_units, unit_weights, units_of
from jgmm._covariance.families import as_family
from jgmm._covariance.family import Covariance
from jgmm._em.accelerate import Anderson, Squarem, as_accelerator
from jgmm._em.implicit import attach
from jgmm._em.loop import DEFAULT_MAX_STEPS, DEFAULT_STOP, run_em
from jgmm._em.result import Result, in_units
from jgmm._em.stop import GradientStop, LogProbStop, ParamStop, as_rule
from jgmm._expectation.moments import frame_of, moments_of
from jgmm._expectation.ridge import ridge_of_rows
from jgmm._mixture.gmm import GMM
from jgmm._mixture.units import shares_units
from jgmm._search.race import as_rounds, best_of, race_rows, run_race
from jgmm._starts.makers import STARTS, draws, present_of

INITS = {name: getattr(initialisers, name) for name in initialisers.__all__}


DEFAULT_INIT, DEFAULT_RACE = 64, ((5, 16), (30, 1))


def _alone(function, batch):
    """``jax.vmap(function)(batch)`` for a batch of one, which compiles in two thirds of the time."""
    return jax.tree.map(lambda leaf: leaf[None], function(jax.tree.map(lambda leaf: leaf[0], batch)))


def _starts(key, initialise, num_init, X, sample_weight, moments, k, family, num_present):
    """A batch of starts, and a key for more: the random numbers of those that have a name are drawn at once."""
    if callable(initialise):
        start = lambda key: initialise(key, X, k, cov=family, sample_weight=sample_weight)  # noqa: E731
        return jax.vmap(start)(jax.random.split(key, num_init))
    u = jax.random.uniform(key, (*draws(initialise, X.shape[0], k), num_init), X.dtype)
    start = lambda u: STARTS[initialise](u, X, sample_weight, moments, k, family, num_present)  # noqa: E731
    return jax.vmap(start, in_axes=-1)(u)


@program("k", "family", "initialise", "num_init", "rounds", "history", "sweep", loops=True)
def _fit(X, sample_weight, ridge, options, *, sweep, **choices):
    if ridge is None:
        ridge = ridge_of_rows(*jax.lax.stop_gradient((X, sample_weight)), sweep)
    run = sweep.on_shards(partial(_run, sweep=sweep, **choices))
    result = run(*jax.lax.stop_gradient(((X, sample_weight), (ridge, *options))))
    return attach(result, None, X, sample_weight, ridge, sweep, ())


def _run(rows, options, *, k, family, initialise, num_init, rounds, history, sweep):
    (X, sample_weight), (ridge, key, stop, max_steps, accelerate, num_present) = rows, options
    races = any(survivors < num_init for _, survivors in rounds)
    num_rows = X.shape[0] * sweep.num_shards
    size = race_rows(num_rows, k * (X.shape[1] + 1) - 1 + family.num_parameters(k, X.shape[1]))
    if races and length_of(num_rows) > size:
        row_key, key = jax.random.split(key)
        u = jax.random.uniform(row_key, (size,), X.dtype)
        few, few_weight = sample_rows(u, X, sample_weight, size, sweep)
    else:
        few, few_weight = sweep.gather((X, sample_weight))
    frame = frame_of(family, few, few_weight)
    starts = _starts(key, initialise, num_init, few, few_weight, moments_of(frame), k, family, num_present)
    rows = few, few_weight, frame
    present = present_of(k, num_present)
    starts, number, outcome = run_race(starts, family, rows, ridge, rounds, sweep.chunk_size, present)
    lanes = number.shape[0]
    side_by_side = dataclasses.replace(sweep, lanes=lanes)
    checked = "" if callable(initialise) else "start"  # a user's own may be no mixture

    rest = {"history": history, "accelerate": accelerate, "sweep": side_by_side, "checked": checked}

    def finish(start):
        params, factor, code = start
        return run_em(params, X, sample_weight, stop, max_steps, ridge, factor=factor, code=code, **rest)

    results = jax.vmap(finish)(starts) if lanes > 1 else _alone(finish, starts)
    best = best_of(results, number, outcome)
    if num_present is None:
        return best
    possible = (num_present >= 1) & (num_present <= k)
    return dataclasses.replace(best, status=where(possible, best.status, Status.INVALID_START))


def _as_initialiser(init):
    """The name of a start, or a function that makes one."""
    names = {function: name for name, function in INITS.items()}
    return names.get(init, init) if callable(init) else names[check_choice("init", init, INITS)]


def _as_counts(num_components, max_components):
    """How many components are present, () traced or ``None`` for all, and how many there are."""
    if max_components is None:
        return None, check_count("num_components", num_components, least=1)
    most = check_count("max_components", max_components, least=1)
    if is_concrete(num_components) and check_count("num_components", num_components, least=1) > most:
        raise ValueError(f"num_components must be at most max_components, got {num_components} and {most}.")
    return on_device(num_components, jnp.int32), most


def fit(
    key: jax.Array,
    X: ArrayLike,
    num_components: int | jax.Array,
    *,
    max_components: int | None = None,
    cov: str | type[Covariance] = "full",
    init: str | Callable[..., GMM] = "kmeans_plusplus",
    num_init: int = DEFAULT_INIT,
    race: Iterable[tuple[int, int]] = DEFAULT_RACE,
    sample_weight: ArrayLike | None = None,
    stop: LogProbStop | ParamStop | GradientStop = DEFAULT_STOP,
    max_steps: ArrayLike = DEFAULT_MAX_STEPS,
    ridge: ArrayLike | None = None,
    accelerate: str | Squarem | Anderson | None = "anderson",
    history: int | None = None,
    chunk_size: int | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> Result:
    """Fit a Gaussian mixture by EM from several starts and return the best.

    One traceable function from key to result: ``jax.jit(fit, static_argnames=("num_components", "cov",
    "init", "num_init"))`` works, and so does ``jax.vmap`` over keys, data sets and weights. On the CPU four fits of a
    larger batch run at a time, and a batch of up to four, and every batch on accelerators, waits for its slowest.

    The first call compiles, for three seconds (150 x 4) to ten (8192 x 8). Another k, number of features or family
    compiles again, and so does ``X`` of another length; but outside ``jit`` rows are padded to one of three lengths an
    octave, and with ``max_components`` another k compiles nothing.
    ``jax.config.update("jax_compilation_cache_dir", "FOLDER")`` keeps what was compiled for the next process.

    On data of which every component is degenerate (many constant features) the race finds no sound start, and more
    starts with ``race=()`` may end higher.

    Args:
        key: a JAX random key; the same key gives the same fit.
        X: (n, d) rows, data units; its dtype is the result's, integers become the default float.
        num_components: k (static, unless ``max_components`` is given).
        max_components: how many components the mixture has room for (static): the others than the first k are absent,
            of weight zero, and count in no criterion. Then k is traced: fits of every k up to here are one program,
            one after the other, or side by side under ``jax.vmap`` over k. ``None`` for no more than k.
        cov: "full", "tied", "diag", "spherical", a name of mclust's such as "VEV", or the family's class (static).
        init: "kmeans", "kmeans_plusplus", "random_points", "random_resp", or a function of the same
            signature as these (static). To start from a mixture of your own, use `em`.
        num_init: how many starts (static).
        race: pairs (steps, survivors) (static): after so many EM steps on a sample of the rows (a sixteenth, but at
            least 14 for each parameter and 2048) only so many starts go on; what stays in the end runs to
            convergence on all rows. ``()`` runs every start to convergence.
        sample_weight: (n,) nonnegative weights of the rows: zero means absent, two means twice.
        stop: `LogProbStop` or `ParamStop`; its numbers are traced.
        max_steps: the most EM steps of a start; traced.
        ridge: added to the diagonal of every covariance, a number or (d,), squared data units; traced.
            ``None`` takes `relative_ridge`: 1e-6 of the square of each feature's scale, which far rows do not move, or
            what rounding needs; a constant to derivatives. Above a hundredth of the data's variance it keeps
            components wide on purpose, and none counts as collapsed.
        accelerate: "anderson", "squarem", an instance of `Anderson` or `Squarem`, or ``None`` for plain EM, for
            the run to convergence; see `em`.
        history: how many entries of history to keep (static), of the run to convergence; ``None`` for none.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.
        axis_name: inside ``shard_map``, the mesh axis (or axes) over which the rows are spread, as in `em`; the key
            is the same on all devices.

    Returns:
        `Result` of the best start: the highest log-likelihood among those whose every component the
        data support. ``result.restarts`` holds the outcome of all. Its derivative is that of `em`, at the start
        that won.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here. Inside ``jit``,
            where values are not known, the same ends in a `Status`.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.concatenate([jax.random.normal(jax.random.key(0), (50, 2)) + c for c in (-4.0, 4.0)])
        >>> result = jgmm.fit(jax.random.key(1), X, 2).check()
        >>> result.params.weights.round(2).tolist(), result.restarts.status.shape
        ([0.5, 0.5], (64,))
    """
    check_key(key)
    num_present, k = _as_counts(num_components, max_components)
    if num_present is not None and callable(_as_initialiser(init)):
        raise ValueError('max_components needs an init that has a name, such as "kmeans", got a function.')
    num_init = check_count("num_init", num_init, least=1)
    history = check_optional_count("history", history)
    least = k if num_present is None else int(num_present) if is_concrete(num_present) else 1
    X, sample_weight = as_data(X, sample_weight, num_components=least)
    rule, limit = as_rule(stop, X.dtype), as_limit(max_steps)
    family, initialise = as_family("cov", cov), _as_initialiser(init)
    ridge = None if ridge is None else as_ridge(ridge, X)
    # A start of the caller's own would be in the units of the data.
    units = None if callable(initialise) else units_of(X, sample_weight, shares_units(family))
    if units is not None:
        X, ridge = rows_in_units(X, ridge, units)
    result = _fit(
        X,
        unit_weights(sample_weight),
        ridge,
        (key, rule, limit, as_accelerator(accelerate, X.dtype), num_present),
        k=k,
        family=family,
        initialise=initialise,
        num_init=num_init,
        history=history,
        rounds=as_rounds(race),
        sweep=as_sweep(X, chunk_size, axis_name),
    )
    return result if units is None else in_units(result, 1 / units)
