"""A ``while_loop`` whose ``vmap`` does not wait for the slowest.

Under ``vmap`` a ``lax.while_loop`` runs until the last of the batch is done, and every other pays for that. On the CPU
work is what costs, not its width: here a batch larger than `LANES` becomes a queue. So many run side by side; when one
is done its result is put away and the next of the queue takes its place.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jgmm._base.pytree import is_varying, varying_as
from jgmm._base.types import where

# Measured from 100 fits of 250 x 2 to 32 of 8192 x 8, the rows shared or not: four are within a tenth of the best
# width, from one to 32, nearly everywhere, and up to twice as fast as 32.
LANES = 4


def side_by_side(size):
    """How many of a batch of ``size`` run at a time on this backend: accelerators want the width."""
    return min(size, LANES) if jax.default_backend() == "cpu" else size


def _where(mask, new, old):
    return jax.tree.map(lambda a, b: where(mask.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, old)


def _joined(tree):
    """(vectors, restore): the leaves that are single numbers, side by side in one vector for each dtype.

    Each leaf of the state of a loop is a kernel to compile; numbers side by side are one.
    """
    leaves, structure = jax.tree.flatten(tree)
    dtypes = list(dict.fromkeys(leaf.dtype for leaf in leaves if not leaf.ndim))
    numbers = [[i for i, leaf in enumerate(leaves) if not leaf.ndim and leaf.dtype == dtype] for dtype in dtypes]
    arrays = [i for i, leaf in enumerate(leaves) if leaf.ndim]

    def restore(parts):
        vectors, rest = parts
        found = dict(zip(arrays, rest, strict=True))
        for vector, places in zip(vectors, numbers, strict=True):
            found |= {place: vector[i] for i, place in enumerate(places)}
        return structure.unflatten([found[i] for i in range(len(leaves))])

    return ([jnp.stack([leaves[i] for i in places]) for places in numbers], [leaves[i] for i in arrays]), restore


def while_loop(cond, body, data, start):
    """``lax.while_loop`` of ``cond(data, state)`` and ``body(data, state)`` from ``start``."""

    def plain(data, start):
        start, restore = _joined(start)
        end = jax.lax.while_loop(
            lambda state: cond(data, restore(state)), lambda state: _joined(body(data, restore(state)))[0], start
        )
        return restore(end)

    @custom_vmap
    def run(data, start):
        return plain(data, start)

    @run.def_vmap
    def _(size, batched, data, start):
        data_batched, start_batched = batched
        start = jax.tree.map(lambda x, b: x if b else jnp.broadcast_to(x, (size, *x.shape)), start, start_batched)
        axes = jax.tree.map(lambda b: 0 if b else None, data_batched)

        def wide(function):
            return jax.vmap(function, in_axes=(axes, 0))

        def take(jobs):
            return jax.tree.map(lambda x, b: x.at[jobs].get(mode="clip") if b else x, data, data_batched)

        if side_by_side(size) == size:
            end = wide(plain)(data, start)
        else:
            end = _queue(wide(cond), wide(body), take, start, size)
        return end, jax.tree.map(lambda _: True, end)

    # The derivative of a custom_vmap goes wrong where only some arguments are batched: that of the plain loop does not.
    differentiable = jax.custom_jvp(run)
    differentiable.defjvp(lambda primals, tangents: jax.jvp(plain, primals, tangents))
    return differentiable(data, start)


def _queue(cond, body, take, start, size):
    """The end of each of ``size`` loops, run some at a time.

    Args:
        cond, body: of a batch of data and of states.
        take: the data of some jobs, given by their numbers.
        start: the states, a batch of ``size``.
        size: how many jobs.
    """

    def refill(queue: tuple[jax.Array, Any, Any, jax.Array]):
        jobs, state, ends, following = queue
        data = take(jobs)
        enough = where(following < size, LANES - 1, 0)  # running lanes that are no reason to go on

        def work(inner):
            state, running = inner
            state = _where(running, body(data, state), state)
            return state, running & cond(data, state)

        running = (jobs < size) & cond(data, state)
        state, running = jax.lax.while_loop(lambda inner: inner[1].sum() > enough, work, (state, running))
        ends = jax.tree.map(lambda all_ends, x: all_ends.at[jobs].set(x, mode="drop"), ends, state)
        place = following + jnp.cumsum(~running, dtype=following.dtype) - 1
        jobs = where(running, jobs, jnp.minimum(place, size))
        fresh = jax.tree.map(lambda x: x.at[jobs].get(mode="clip"), start)
        following = jnp.minimum(following + (~running).sum(dtype=following.dtype), size)
        return jobs, _where(running, state, fresh), ends, following

    jobs = jnp.arange(LANES, dtype=jnp.int32)
    state = jax.tree.map(lambda x: x[:LANES], start)
    queue = jobs, state, start, jnp.full((), LANES, jnp.int32)
    if is_varying(take(jobs)):  # rows of this device alone: what is made of them may be summed over all, or not
        queue = varying_as(queue, start, jax.eval_shape(lambda: body(take(jobs), state)))
    return jax.lax.while_loop(lambda queue: (queue[0] < size).any(), refill, queue)[2]
