"""The parts of a mixture that stay as they are while the rest is fitted."""

import dataclasses

import jax
from jax.flatten_util import ravel_pytree

from jgmm._base.pytree import zeros_of

PARTS = ("weights", "means", "cov")


def as_frozen(frozen):
    """The parts of a mixture that are not fitted, as a hashable tuple in their own order."""
    names = ", ".join(map(repr, PARTS))
    given = None if isinstance(frozen, str) or not hasattr(frozen, "__iter__") else list(frozen)
    if given is None or any(part not in PARTS for part in given):
        raise ValueError(f'frozen must be a collection of {names}, such as ("means",), got {frozen!r}.')
    if set(given) == set(PARTS):
        raise ValueError(f"frozen names every part, {names}: nothing is left to fit. Leave one out, or call e_step.")
    return tuple(part for part in PARTS if part in given)


def with_frozen(params, start, frozen):
    """The mixture with its ``frozen`` parts as ``start`` has them, bit for bit."""
    return dataclasses.replace(params, **{part: getattr(start, part) for part in frozen})


def still(change, frozen):
    """The change without that of the ``frozen`` parts."""
    return with_frozen(change, jax.tree.map(jax.numpy.zeros_like, change), frozen)


def free_values(start, frozen=()):
    """Vectors (p,) of the numbers that are not frozen, as they stand: vector -> mixture, the ``frozen`` parts those of
    ``start``; and its inverse."""
    free = [part for part in PARTS if part not in frozen]
    _, unravel = ravel_pytree(zeros_of(lambda: [getattr(start, part) for part in free]))

    def build(vector):
        return dataclasses.replace(start, **dict(zip(free, unravel(vector), strict=True)))

    def to_vector(params):
        return ravel_pytree([getattr(params, part) for part in free])[0]

    return build, to_vector
