"""Exact EM over batches: statistics add, so each sweep sums those of its batches, and all else is `em`'s."""

import os
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import as_ridge, on_device
from jgmm._base.options import as_limit, check_optional_count
from jgmm._base.programs import program
from jgmm._base.pytree import pytree
from jgmm._base.sweep import as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._em.accelerate import Anderson, Squarem, as_accelerator
from jgmm._em.iteration import RUNNING, Loop, Rules, begin, finished, iterate, reached, running
from jgmm._em.loop import DEFAULT_MAX_STEPS, DEFAULT_STOP
from jgmm._em.result import Result, in_units
from jgmm._em.stop import GradientStop, LogProbStop, ParamStop, as_rule
from jgmm._expectation.kernels import expectation
from jgmm._expectation.moments import frame_of
from jgmm._expectation.stats import Stats, added, no_scatter
from jgmm._files.archive import FileError
from jgmm._mixture import units as mixture_units
from jgmm._mixture.frozen import as_frozen
from jgmm._mixture.gmm import GMM
from jgmm._mixture.units import shares_units
from jgmm._mixture.validity import check_features, check_mixture
from jgmm._stream.checkpoint import Checkpoint, as_wait, described
from jgmm._stream.progress import Progress, Reporter
from jgmm._stream.source import Source, Stream, check_eager


@pytree
class _State:
    """Where a fit stands after a sweep: the loop's state, and the sums over the rows."""

    loop: Loop
    stats: Stats  # of the rows under the mixture that was tried
    frame: Stats  # of the rows as one component, about their mean: from the first sweep


def _nothing(params, factor):
    """The sums over no rows."""
    zero = jnp.zeros((), params.means.dtype)

    def empty(center, scatter):
        return Stats(center, center[:, 0], center, scatter, zero, zero)

    means, mean = jnp.zeros_like(params.means), jnp.zeros_like(params.means[:1])
    frame = params.cov.form.frame.shape(*mean.shape)
    return empty(means, no_scatter(params, factor)), empty(mean, jnp.zeros(frame, zero.dtype))


@program("history")
def _begin(rules, params, history):
    status = jnp.full((), RUNNING, jnp.int32)
    factor = params.cov.factor()
    return _State(begin(rules, params, factor, None, status, history), *_nothing(params, factor))


@program()
def _clear(state):
    return _nothing(*state.loop.tried[:2])


@program("sweep")
def _add(sums, state, X, sample_weight, sweep):
    """The sums with those of another batch."""

    def run(rows, state):
        (params, factor, _), known = state.loop.tried, state.frame

        def own():
            return frame_of(type(params.cov), *rows, sweep=sweep)

        # An E-step wants a centre near its rows, for which that of all serves once it is known. A matrix of scatter it
        # adds to its sums (tied covariances): there it has to be that of these rows.
        frame = own() if known.scatter.ndim == 3 else jax.lax.cond(known.total > 0, lambda: known, own)
        return expectation(params, factor, frame, *rows, sweep=sweep), frame

    stats, frame = sweep.on_shards(run)((X, sample_weight), state)
    return added(sums[0], stats), frame + sums[1]


@program()
def _advance(rules, state, sums):
    stats, frame = sums
    known = state.frame.total > 0
    frame = jax.tree.map(lambda old, new: where(known, old, new), state.frame, frame.recenter(frame.mean))
    return _State(iterate(rules, state.loop, stats), stats, frame)


_running, _reached = program()(running), program()(reached)


@program()
def _finished(rules, state):
    return finished(rules, state.loop, state.stats.total, state.frame)


def rules_of(stream: Stream, stop, max_steps, ridge, accelerate, frozen=()) -> Rules:
    """The checked options of a fit of a stream, in its units."""
    like, frozen = stream.like, as_frozen(frozen)
    ridge = None if ridge is None or "cov" in frozen else as_ridge(ridge, like)
    if ridge is not None and stream.units is not None:
        ridge = ridge * stream.units * stream.units
    return Rules(as_rule(stop, like.dtype), as_limit(max_steps), ridge, as_accelerator(accelerate, like.dtype), frozen)


def problem_of(rules) -> dict:
    """What a checkpoint is told of the rules: all but the step limit, with which one may go on."""
    names = ("stop", "ridge", "accelerate")
    return {name: described(getattr(rules, name)) for name in names} | {"frozen": list(rules.frozen)}


def run_stream(params, stream: Stream, rules: Rules, history, chunk_size, checkpoint, reporter) -> Result:
    """`em_stream` on checked input, all of it in the units of the stream."""
    state = _begin(rules, params, history)
    if "sweeps" in checkpoint.reached:
        state, stream.num_rows = _restored(checkpoint.reached["sweeps"], state)
    checkpoint.keep("sweeps", _saved(state, stream), now=True)  # as large as it will be, to see that there is room
    while _running(rules, state.loop):
        state = _advance(rules, state, _sums(stream, state, chunk_size, reporter))
        checkpoint.keep("sweeps", _saved(state, stream), now=not _running(rules, state.loop))
        reporter.end(int(state.loop.num_steps), _reached(rules, state.loop) / state.stats.total)
    return _finished(rules, state)


def in_data_units(result, stream) -> Result:
    """A result in the units of the stream, in those of the data."""
    return result if stream.units is None else in_units(result, 1 / stream.units)


def _sums(stream, state, chunk_size, reporter):
    """One sweep: the statistics of all rows under the mixture to try, and of the rows as one component."""
    number, sums = int(state.loop.num_steps) + 1, _clear(state)
    reporter.begin(f"sweep {number}", stream.num_rows)
    for num_rows, X, sample_weight in stream.sweep(f"sweep {number}"):
        before, sums = sums, _add(sums, state, X, sample_weight, as_sweep(X, chunk_size))
        # The device works on this batch while the next one is read, and on no other: memory is bounded.
        jax.block_until_ready(before)
        reporter.batch(num_rows)
    if not sums[0].total > 0:
        raise ValueError("The rows must have a positive weight in sum, got only zeros.")
    return sums


def _saved(state, stream):
    """What a checkpoint holds of a state."""
    return {"num_rows": stream.num_rows, "leaves": [np.asarray(leaf) for leaf in jax.tree.leaves(state)]}


def _restored(saved, like):
    """The state that a checkpoint holds, of the kind of another, and the number of rows."""
    leaves, structure = jax.tree.flatten(like)
    found = [on_device(leaf, leaf.dtype) for leaf in saved["leaves"]]
    if [(x.shape, x.dtype) for x in found] != [(x.shape, x.dtype) for x in leaves]:
        raise FileError("The checkpoint holds other arrays than this jgmm keeps. Delete it to start anew.")
    return jax.tree.unflatten(structure, found), saved["num_rows"]


def em_stream(
    params: GMM,
    batches: Source,
    *,
    stop: LogProbStop | ParamStop | GradientStop = DEFAULT_STOP,
    max_steps: ArrayLike = DEFAULT_MAX_STEPS,
    ridge: ArrayLike | None = None,
    history: int | None = None,
    chunk_size: int | None = None,
    accelerate: str | Squarem | Anderson | None = None,
    frozen: Collection[str] = (),
    progress: Progress = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float | None = None,
) -> Result:
    """`em` over rows that come in batches: the same steps, for data larger than memory.

    Each sweep sums the statistics of its batches about one mixture and then takes one M-step: no mini-batch
    approximation. Any split of the rows gives the same parameters as `em` of one array, to rounding. A batch is read
    and copied to the device while the one before it is computed, so some three batches are in memory at a time. Batches
    of another length compile next to nothing, for they are padded as rows are elsewhere.

    With several processes each gives batches of its own, as many as the others, in the form `jgmm.spread(rows)`, and
    all have one ``checkpoint`` on a disk that they share.

    It is a loop in Python: call it outside ``jit``; it has no derivative. What differs from `em` for an array: features
    far from ordinary numbers (beyond 2^48 in float32) are rescaled as the first batch needs it, sample weights never.

    Args:
        params: the start; its family is the result's.
        batches: the rows, data units: an iterable that can be iterated again and again, such as `batches` makes or a
            list, or a function that returns an iterator. Its items are arrays (n, d), or pairs of such an array and
            sample weights (n,). The first batch's dtype is the result's. It is opened once more than there are sweeps,
            to look at the first batch.
        stop: `LogProbStop`, `ParamStop` or `GradientStop`.
        max_steps: the most steps taken; there is one sweep more than steps.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance; ``None`` for none.
        history: how many entries of history to keep, the start's first; ``None`` for none.
        chunk_size: rows worked on at a time; ``None`` fits the cache of the backend.
        accelerate: ``None`` for plain EM, "squarem" or "anderson", or an instance, as in `em`: fewer sweeps.
        frozen: which of "weights", "means" and "cov" stay as the start has them.
        progress: ``True`` for a line on stderr for each sweep (a bar if tqdm is installed), or a function that is
            called after each with a dict: sweep, num_rows, seconds, rows_per_second, mean_log_prob (nats) and
            most_seconds_left, the time to ``max_steps``.
        checkpoint: the path of a file that holds the state after each sweep. A run that was killed, and is called again
            with the same arguments, goes on from there and ends with the same parameters bit for bit; so does one with
            a larger ``max_steps``. A fit that has ended gives its result at once. The file is replaced as a whole.
        checkpoint_seconds: how many seconds lie between two writings at least; ``None`` for each sweep. The end is
            written always.

    Returns:
        `Result`, as from `em`.

    Raises:
        ValueError, TypeError: the start, an option or a batch is not what is described here: NaN or infinite rows,
            another number of features or another dtype than the first batch's, none at all; or a sweep has another
            number of rows than the one before. The message names the batch and the sweep, both counted from 0. What a
            reader raises goes through, with a note that does the same. The checkpoint stays good.
        ValueError: the checkpoint is of another fit (`FileError`: it is damaged, or none).
        OSError: the checkpoint cannot be written; before the first sweep.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.concatenate([jax.random.normal(jax.random.key(0), (50, 1)) + c for c in (-4.0, 4.0)])
        >>> start = jgmm.init.kmeans(jax.random.key(1), X, 2)
        >>> result = jgmm.em_stream(start, jgmm.batches(X, 30))
        >>> bool(result.converged), result.params.weights.round(2).tolist()
        (True, [0.5, 0.5])
    """
    check_eager("em_stream", params)
    check_mixture(params)
    history, chunk_size = check_optional_count("history", history), check_optional_count("chunk_size", chunk_size)
    wait, reporter = as_wait(checkpoint, checkpoint_seconds), Reporter(progress, as_limit(max_steps))
    stream = Stream(batches, shares_units(type(params.cov)))
    check_features(params, stream.like)
    rules = rules_of(stream, stop, max_steps, ridge, accelerate, frozen)
    problem = {"function": "em_stream", "start": described(params), **problem_of(rules), "history": history}
    file = Checkpoint(checkpoint, wait, problem)
    params = params.astype(stream.like.dtype)
    if stream.units is not None:
        params = mixture_units.in_units(params, stream.units)
    return in_data_units(run_stream(params, stream, rules, history, chunk_size, file, reporter), stream)
