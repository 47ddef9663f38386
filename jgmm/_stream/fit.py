"""From a key and a stream to a mixture: `fit` of a sample gives the start, exact sweeps over all rows the rest."""

import dataclasses
import os
from collections.abc import Callable, Iterable

import jax
import numpy as np

from jgmm._base.options import as_limit, check_count, check_key, check_optional_count
from jgmm._base.types import ArrayLike
from jgmm._covariance.families import as_family
from jgmm._covariance.family import Covariance
from jgmm._em.accelerate import Anderson, Squarem
from jgmm._em.loop import DEFAULT_MAX_STEPS, DEFAULT_STOP
from jgmm._em.result import Result
from jgmm._em.stop import GradientStop, LogProbStop, ParamStop
from jgmm._expectation.ridge import relative_ridge
from jgmm._mixture.gmm import GMM
from jgmm._mixture.units import shares_units
from jgmm._search.fit import DEFAULT_INIT, DEFAULT_MOVES, DEFAULT_RACE, fit
from jgmm._search.race import as_rounds
from jgmm._stream.checkpoint import Checkpoint, as_wait
from jgmm._stream.em import in_data_units, problem_of, rules_of, run_stream
from jgmm._stream.progress import Progress, Reporter
from jgmm._stream.sample import sample_stream
from jgmm._stream.source import Source, Stream, check_eager

DEFAULT_SAMPLE = 2**16
Init = str | Callable[..., GMM]


def _names(init) -> list[str]:
    """The names of what makes starts."""
    several = init if isinstance(init, tuple) else (init,)
    if not all(isinstance(one, str) or callable(one) for one in several):
        raise TypeError(
            f"init must be a name, a function or a tuple of these, got {init!r}: a partition would be one of rows that "
            "are drawn only later. To start from a mixture, use jgmm.em_stream."
        )
    return [one if isinstance(one, str) else getattr(one, "__qualname__", type(one).__qualname__) for one in several]


def _start(key, X, sample_weight, k, family, rules, options) -> dict:
    """From a sample: the mixture that the sweeps start from, their ridge, and the outcome of all starts."""
    ridge = relative_ridge(X, sample_weight=sample_weight) if rules.ridge is None else rules.ridge
    options = options | {"stop": rules.stop, "max_steps": rules.max_steps, "accelerate": rules.accelerate}
    result = fit(key, X, k, cov=family, sample_weight=sample_weight, ridge=ridge, **options)
    return {"params": result.params, "restarts": result.restarts, "ridge": ridge}


def fit_stream(
    key: jax.Array,
    batches: Source,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    init: Init | tuple[Init, ...] = "mixed",
    num_init: int = DEFAULT_INIT,
    race: Iterable[tuple[int, int]] = DEFAULT_RACE,
    moves: int = DEFAULT_MOVES,
    sample_rows: int = DEFAULT_SAMPLE,
    stop: LogProbStop | ParamStop | GradientStop = DEFAULT_STOP,
    max_steps: ArrayLike = DEFAULT_MAX_STEPS,
    ridge: ArrayLike | None = None,
    accelerate: str | Squarem | Anderson | None = "anderson",
    history: int | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float | None = None,
) -> Result:
    """Fit a Gaussian mixture to rows that come in batches: `fit` of a sample, then exact sweeps over all (`em_stream`).

    One pass draws the sample. Sums over it are those over all rows, without bias (priority sampling: Duffield, Lund &
    Thorup 2007); of rows of equal weight it is uniform, without replacement; the same key draws the same rows whatever
    the batches. If there are no more rows than ``sample_rows`` it is all of them, and the start is what `fit` returns.

    What is guaranteed: no sweep lowers the likelihood of all rows, but for a ridge's share, and the end is a fixed
    point of EM on all of them. Which one is found depends on the sample: `fit` searches there, and no one searches
    again. With m rows drawn, the optimum of the sample lies about p / 2 m nats per row below the one nearby of all
    rows, for p parameters. A cluster of so few rows that only a handful are drawn is not found.

    Args:
        key: a JAX random key; the same key gives the same fit.
        batches: the rows, data units, as for `em_stream`. They are passed over once for the sample, and once for each
            sweep.
        num_components: k.
        cov: the family, as for `fit`.
        init: where the starts on the sample come from, as for `fit`: a name, a function, or several in a tuple.
        num_init: how many starts.
        race: pairs (steps, survivors), as for `fit`, on a sample of the sample.
        moves: how many moves the leader makes at the end of the race, as for `fit`.
        sample_rows: the most rows that are drawn, and kept in memory.
        stop: `LogProbStop`, `ParamStop` or `GradientStop`, on the sample and in the sweeps.
        max_steps: the most steps, on the sample and of the sweeps.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance; ``None`` takes
            `relative_ridge` of the sample.
        accelerate: "anderson", "squarem", an instance of `Anderson` or `Squarem`, or ``None`` for plain EM.
        history: how many entries of history to keep, of the sweeps; ``None`` for none.
        chunk_size: rows worked on at a time; ``None`` fits the cache of the backend.
        progress: as for `em_stream`.
        checkpoint: as for `em_stream`; the start of the sweeps is kept as well.
        checkpoint_seconds: as for `em_stream`.

    Returns:
        `Result` of all rows; ``result.restarts`` holds the outcome of all starts on the sample.

    Raises:
        ValueError, TypeError, OSError: as `fit` and `em_stream`.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.concatenate([jax.random.normal(jax.random.key(0), (50, 2)) + c for c in (-4.0, 4.0)])
        >>> result = jgmm.fit_stream(jax.random.key(1), jgmm.batches(X, 30), 2).check()
        >>> result.params.weights.round(2).tolist(), result.restarts.status.shape
        ([0.5, 0.5], (64,))
    """
    check_eager("fit_stream", key)
    check_key(key)
    family = as_family("cov", cov)
    history, chunk_size = check_optional_count("history", history), check_optional_count("chunk_size", chunk_size)
    num_components, rounds = check_count("num_components", num_components, least=1), as_rounds(race)
    choices = {
        "init": _names(init),
        "num_components": num_components,
        "num_init": check_count("num_init", num_init, least=1),
        "race": list(map(list, rounds)),
        "moves": check_count("moves", moves, least=0),
        "sample_rows": check_count("sample_rows", sample_rows, least=num_components),
    }
    wait, reporter = as_wait(checkpoint, checkpoint_seconds), Reporter(progress, as_limit(max_steps))
    stream = Stream(batches, shares_units(family))
    rules = rules_of(stream, stop, max_steps, ridge, accelerate)
    seed = np.asarray(jax.random.key_data(key)).ravel()
    problem = {"function": "fit_stream", "key": seed, "cov": family.__name__, **choices, **problem_of(rules)}
    file = Checkpoint(checkpoint, wait, problem | {"history": history}, types=(family,))
    if "start" not in file.reached:
        X, weight, least = sample_stream(stream, sample_rows, seed, reporter)
        weight = weight / (least or 1)  # a row that was drawn is no more support than it is
        options = {"init": init, "num_init": num_init, "race": rounds, "moves": moves, "chunk_size": chunk_size}
        start = _start(key, X, weight, num_components, family, rules, options)
        file.keep("start", start | {"num_rows": stream.num_rows}, now=True)
    start = file.reached["start"]
    stream.num_rows, rules = start["num_rows"], dataclasses.replace(rules, ridge=start["ridge"])
    result = run_stream(start["params"], stream, rules, history, chunk_size, file, reporter)
    return in_data_units(dataclasses.replace(result, restarts=start["restarts"]), stream)
