"""The parts of a mixture that stay as they are while the rest is fitted."""

import dataclasses

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
