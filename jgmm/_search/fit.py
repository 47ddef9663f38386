"""From a key and data to the best mixture: initialise, restart, EM, choose; one compiled program."""

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp

from jgmm._base.arrays import as_data, as_ridge, is_concrete, on_device
from jgmm._base.lengths import length_of, padded
from jgmm._base.options import as_limit, check_count, check_key, check_optional_count
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
from jgmm._search.final import best_of, leader_of
from jgmm._search.inits import as_inits, has_function, starts_of
from jgmm._search.race import as_rounds, plan_of, race_rows, run_race
from jgmm._starts.hierarchical import Tree
from jgmm._starts.makers import present_of

Init = str | Callable[..., GMM] | Tree | ArrayLike
DEFAULT_INIT, DEFAULT_RACE, DEFAULT_MOVES = 64, ((5, 16), (20, 1)), 5


def _alone(function, batch):
    """``jax.vmap(function)(batch)`` for a batch of one, which compiles in two thirds of the time."""
    return jax.tree.map(lambda leaf: leaf[None], function(jax.tree.map(lambda leaf: leaf[0], batch)))


@program("k", "family", "inits", "rounds", "moves", "history", "sweep", loops=True)
def _fit(X, sample_weight, given, ridge, options, *, sweep, **choices):
    if ridge is None:
        ridge = ridge_of_rows(*jax.lax.stop_gradient((X, sample_weight)), sweep)
    run = sweep.on_shards(partial(_run, sweep=sweep, **choices))
    result = run(*jax.lax.stop_gradient(((X, sample_weight, given), (ridge, *options))))
    return attach(result, None, X, sample_weight, ridge, sweep, ())


def _run(rows, options, *, k, family, inits, rounds, moves, history, sweep):
    (X, sample_weight, given), (ridge, key, stop, max_steps, accelerate, num_present) = rows, options
    plan, left = plan_of(rounds, sum(count for _, count in inits))
    num_rows = X.shape[0] * sweep.num_shards
    num_parameters = k * (X.shape[1] + 1) - 1 + family.num_parameters(k, X.shape[1])
    size = race_rows(num_rows, num_parameters, sweep.num_shards)
    with_columns = X if given is None else jnp.concatenate([X, given], 1)  # a sample takes both
    if plan and length_of(num_rows) > size:
        row_key, key = jax.random.split(key)
        u = jax.random.uniform(row_key, (size,), X.dtype)
        few, few_weight = sample_rows(u, with_columns, sample_weight, size, sweep)
    else:
        few, few_weight = sweep.gather((with_columns, sample_weight))
    few, given = few[:, : X.shape[1]], few[:, X.shape[1] :]
    frame = frame_of(family, few, few_weight)
    starts = starts_of(key, inits, (few, few_weight), given, moments_of(frame), k, family, num_present)
    rows = few, few_weight, frame
    present = present_of(k, num_present)
    starts, number, outcome = run_race(starts, family, rows, ridge, rounds, moves, sweep, present)
    side_by_side = dataclasses.replace(sweep, lanes=left)
    checked = "" if has_function(inits) else "start"  # a user's own may be no mixture

    rest = {"history": history, "accelerate": accelerate, "sweep": side_by_side, "checked": checked}

    def finish(start):
        params, factor, code = start
        return run_em(params, X, sample_weight, stop, max_steps, ridge, factor=factor, code=code, **rest)

    if plan and left == 1:
        best = leader_of(finish, starts, number, outcome)
    else:
        best = best_of(jax.vmap(finish)(starts) if left > 1 else _alone(finish, starts), number, outcome)
    if num_present is None:
        return best
    possible = (num_present >= 1) & (num_present <= k)
    return dataclasses.replace(best, status=where(possible, best.status, Status.INVALID_START))


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
    init: Init | tuple[Init, ...] = "mixed",
    num_init: int = DEFAULT_INIT,
    race: Iterable[tuple[int, int]] = DEFAULT_RACE,
    moves: int = DEFAULT_MOVES,
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
        cov: "full", "tied", "diag", "spherical", a name of mclust's such as "VEV", or a class, such as `lowrank(8)`
            makes (static).
        init: where the starts come from. A name (static): "mixed", "kmeans", "kmeans_plusplus", "random_points",
            "random_resp" or "hierarchical", or a function of the same signature as these in `jgmm.init`. A partition of
            the rows: labels (n,), integers 0 to k - 1, responsibilities (n, k), or a `jgmm.init.Tree`; an M-step makes
            the start. Or a tuple of several, raced together. To start from a mixture of your own, use `em`.
        num_init: how many starts (static). A partition, "hierarchical" is one, is one start; the others are shared
            among what is drawn.
        race: pairs (steps, survivors) (static): after so many EM steps on a sample of the rows (a sixteenth, but at
            least 14 for each parameter and 2048) only so many starts go on; what stays in the end runs to
            convergence on all rows. ``()`` runs every start to convergence, without moves.
        moves: how many moves the leader makes at the end of the race (static): 14 copies of it, each with one component
            out of a start in place of its own, run ten steps beside it and the second best start, and the best goes on
            (random swap; Zhao, Hautamäki & Fränti 2012). 0 for none.
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
    num_init = check_count("num_init", num_init, least=1)
    history = check_optional_count("history", history)
    least = k if num_present is None else int(num_present) if is_concrete(num_present) else 1
    X, sample_weight = as_data(X, sample_weight, num_components=least, pad=False)
    rule, limit = as_rule(stop, X.dtype), as_limit(max_steps)
    family, ridge = as_family("cov", cov), None if ridge is None else as_ridge(ridge, X)
    inits, given = as_inits(init, num_init, key, X, sample_weight, k, num_present)
    if num_present is not None and has_function(inits):
        raise ValueError('max_components needs an init that has a name, such as "kmeans", got a function.')
    arrays: tuple[jax.Array, ...] = padded(X, sample_weight, *([] if given is None else [given]))
    X, sample_weight, given = arrays[0], arrays[1], None if given is None else arrays[2]
    # A start of the caller's own would be in the units of the data.
    units = None if has_function(inits) else units_of(X, sample_weight, shares_units(family))
    if units is not None:
        X, ridge = rows_in_units(X, ridge, units)
    result = _fit(
        X,
        unit_weights(sample_weight),
        given,
        ridge,
        (key, rule, limit, as_accelerator(accelerate, X.dtype), num_present),
        k=k,
        family=family,
        inits=inits,
        history=history,
        rounds=as_rounds(race),
        moves=check_count("moves", moves, least=0),
        sweep=as_sweep(X, chunk_size, axis_name),
    )
    return result if units is None else in_units(result, 1 / units)
