"""Counts, names and limits from outside: what was expected, what came, what to do."""

import operator

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import is_concrete, on_device


def check_count(name, value, *, least: int) -> int:
    """``value`` as a Python int of at least ``least``."""
    try:
        if isinstance(value, bool):
            raise TypeError  # an index for Python, 0 or 1, but never meant as a count
        count = operator.index(value)
    except (TypeError, jax.errors.TracerIntegerConversionError):
        raise TypeError(
            f"{name} must be a Python integer (it sets a shape), got {value!r}. Inside jit, name it in static_argnames."
        ) from None
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {count}.")
    return count


def check_optional_count(name, value):
    """``None``, or ``value`` as a Python int of at least 1."""
    return None if value is None else check_count(name, value, least=1)


def check_seconds(name, value):
    """``None``, or a finite number of seconds that is not negative."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a number of seconds that is not negative, got {value!r}.")
    return float(value)


def check_key(key):
    """Raise unless this is one JAX random key."""
    dtype, shape = getattr(key, "dtype", None), jnp.shape(key)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if typed and shape:
        raise ValueError(f"key must be one random key, got keys of shape {shape}. Use jax.vmap over several.")
    if not typed and not (dtype == jnp.uint32 and len(shape) == 1):
        raise TypeError(f"key must be a JAX random key such as jax.random.key(0), got {key!r}.")


def check_choice(name, value, choices: dict):
    """The entry of ``choices`` that the string ``value`` names, or ``value`` if it is one of them."""
    if isinstance(value, str) and value in choices:
        return choices[value]
    if any(value is choice for choice in choices.values()):
        return value
    raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def as_limit(max_steps):
    """The step limit as a traced int32, so that a new one does not recompile."""
    most = np.iinfo(np.int32).max
    if is_concrete(max_steps):
        value = np.asarray(max_steps)
        if value.ndim or value.dtype.kind not in "iuf" or not 0 <= value <= most or value % 1:
            raise ValueError(f"max_steps must be a nonnegative integer up to {most}, got {max_steps!r}.")
    return on_device(max_steps, jnp.int32)


def as_axes(axis_name):
    """The names of mesh axes, as a tuple."""
    axes = (axis_name,) if isinstance(axis_name, str) else axis_name
    if not isinstance(axes, tuple) or not axes or not all(isinstance(axis, str) and axis for axis in axes):
        raise TypeError(f"axis_name must be the name of a mesh axis or a tuple of names, got {axis_name!r}.")
    return axes
