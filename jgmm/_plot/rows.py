"""Rows as NumPy arrays, and their features: chosen by place or by name, called what a data frame calls them."""

import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jgmm._base.arrays import as_array, check_finite, to_rows


class Features(NamedTuple):
    """Some of the features: their places 0..d-1, and their names."""

    places: list[int]
    names: list[str]


def as_rows(X) -> np.ndarray:
    """The rows (n, d) in float64, for drawing."""
    X = as_array("X", X)
    if X.ndim != 2:
        raise ValueError(f"X must be 2-D, (rows, features), got shape {X.shape}. {to_rows(X.ndim)}")
    check_finite(X)
    return np.asarray(X, np.float64)


def names_of(X, num_features: int) -> list[str]:
    """What the features are called: by a data frame's columns, or else by their numbers."""
    columns = getattr(X, "columns", None)
    if columns is None or len(columns) != num_features:
        return [f"feature {j}" for j in range(num_features)]
    return [str(name) for name in columns]


def choose(features, X, num_features: int, wanted: int | None = None) -> Features:
    """The features meant by places (negative ones from the end) or by a data frame's names.

    Args:
        features: a place or a name, or a sequence of them.
        X: the rows, which may have names; or ``None``.
        num_features: d.
        wanted: how many are needed; ``None`` for any number.
    """
    names = names_of(X, num_features)
    single = isinstance(features, str) or not isinstance(features, Sequence | np.ndarray)
    places = [_place(feature, names) for feature in ([features] if single else features)]
    if len(set(places)) < len(places) or len(places) != (wanted or len(places)) or not places:
        count = "different features" if wanted is None else f"{wanted} different feature{'s' * (wanted > 1)}"
        raise ValueError(f"features must be {count} of {num_features}, got {features!r}.")
    return Features(places, [names[place] for place in places])


def _place(feature, names):
    """The place of one feature."""
    if isinstance(feature, str):
        if feature not in names:
            raise ValueError(f"There is no feature {feature!r}; they are {', '.join(map(repr, names))}.")
        return names.index(feature)
    try:
        place = operator.index(feature)
    except TypeError:
        raise TypeError(f"A feature is an integer or the name of a column, got {feature!r}.") from None
    if not -len(names) <= place < len(names):
        raise ValueError(f"A feature must lie in 0..{len(names) - 1}, got {place}.")
    return place % len(names)
