"""Moves: what EM cannot do from where it stands, because every way there leads down first.

A component of the best mixture so far is exchanged for one of a start, and a few steps tell whether that led further up
(random swap: Zhao, Hautamäki & Fränti 2012, sec. III; partial crossover: Pernkopf & Bouchaffra 2005, sec. 3.2). Nothing
is drawn: the starts are as good as random, so component and start are taken in turn.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.types import where

STEPS = 10  # of EM after a move; with fewer a good one is not yet ahead


def component_of(tree, by_component):
    """For each number of the flattened tree which component it belongs to, -1 where to all.

    ``by_component`` is a tree of the same kind: whether an array has a row for each component.
    """

    def numbers(leaf, own):
        rows = np.arange(len(leaf), dtype=np.int32).reshape(-1, *(1,) * (leaf.ndim - 1)) if own else np.int32(-1)
        return np.broadcast_to(rows, leaf.shape).ravel()

    return np.concatenate(jax.tree.leaves(jax.tree.map(numbers, tree, by_component)))


def moved(best, donors, turn, component, num_components):
    """The best mixture as it is, and copies of it with one component each out of a donor: (r, size).

    Args:
        best: (size,) the flat vector of what is the best so far.
        donors: (r, size) those of as many starts.
        turn: () how many times there were moves before.
        component: (size,) the `component_of` each number.
        num_components: () how many there are.
    """
    r = len(donors)
    lane = jnp.arange(r, dtype=turn.dtype)
    count = turn * (r - 1) + lane - 1  # all components of one donor, then those of the next
    taken = (lane > 0)[:, None] & (component[None] == (count % num_components)[:, None])
    return where(taken, donors[count // num_components % r], best[None])
