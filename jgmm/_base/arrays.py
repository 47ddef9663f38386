"""Arrays from outside: what was expected, what came, what to do.

Shapes and dtypes are always known and always checked. Values are checked when they are there, that
is outside ``jit``, ``vmap`` and ``grad``; inside, the same trouble ends in a `Status`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jgmm._base.lengths import is_eager, padded
from jgmm._base.types import ArrayLike

KEPT = 1e-3  # of a column's spread: what a cast may move its values by
RESHAPE = "Use X.reshape(-1, 1) for a single feature, X.reshape(1, -1) for a single row."
BATCH = "Use jax.vmap for a batch of data sets, X.reshape(-1, X.shape[-1]) for one of all their rows."


def to_rows(ndim: int) -> str:
    """How to make rows (n, d) of an array of so many axes."""
    return RESHAPE if ndim < 2 else BATCH


def is_concrete(tree) -> bool:
    """Whether every leaf has values, and none is being traced."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def _backend(x):
    # Arrays on a device are looked at there; everything else by NumPy, which compiles nothing.
    return jnp if isinstance(x, jax.Array) and x.devices() != {jax.devices("cpu")[0]} else np


def as_array(name: str, x) -> jax.Array:
    """``x`` as a float array: float32 and float64 as they are, half precision as float32, integers as the default."""
    if x is None:
        raise TypeError(f"{name} must hold numbers, got None. Pass a number or an array.")
    x = x if isinstance(x, jax.Array) else as_numpy(name, x)
    if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool:
        return jnp.asarray(x.astype(jnp.result_type(float)))
    if x.dtype in (jnp.float16, jnp.bfloat16):
        return jnp.asarray(x.astype(jnp.float32))
    if x.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(
            f"{name} must hold float32, float64 or integer numbers, got dtype {x.dtype}. {_conversion(x.dtype)}"
        )
    return jnp.asarray(x)


def on_device(x, dtype) -> jax.Array:
    """``x`` as an array of this dtype. NumPy converts first: JAX sends it in another way, one that a guard refuses."""
    return jnp.asarray(x if isinstance(x, jax.Array) else np.asarray(x, dtype), dtype)


def as_numpy(name, x) -> np.ndarray:
    """What other libraries hold numbers in, as a NumPy array in the byte order of this machine."""
    if hasattr(x, "toarray"):  # SciPy's sparse matrices, of which NumPy makes one object
        raise TypeError(f"{name} must be a dense array, got {type(x).__name__}. Use {name}.toarray().")
    if np.ma.is_masked(x):
        raise TypeError(
            f"{name} must be an array without a mask, got one with {np.ma.count_masked(x)} masked values. Use "
            f"{name}.filled(value) to put a value there; for rows to be left out, sample_weight 0."
        )
    try:
        array = np.asarray(x)
        if array.dtype == object and hasattr(x, "to_numpy"):  # pandas: columns of several kinds, or optional
            array = x.to_numpy(dtype="float64", na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}.") from None
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _conversion(dtype):
    # How to make numbers of what is none of ours.
    if jnp.issubdtype(dtype, jnp.floating):
        return "Convert it with .astype('float32')."
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return "Convert it: take the .real part, or the real and imaginary parts as features of their own."
    return "Convert numbers in text or objects with np.asarray(..., 'float64'); code categories as numbers first."


def as_data(
    X: ArrayLike, sample_weight: ArrayLike | None = None, *, num_components: int = 1, pad: bool = True
) -> tuple[jax.Array, jax.Array]:
    """The rows (n, d) as a float array and their weights (n,) in its dtype; ones for ``None``.

    Outside ``jit`` rows of weight zero follow them, up to a length that other data have as well (`padded`).

    Raises:
        ValueError: not 2-D, empty, fewer rows than components, NaN or infinite values in rows of
            positive weight; or weights of another shape, negative, not finite, or all zero.
        TypeError: not real numbers.
    """
    given = X if isinstance(X, jax.Array) or X is None else as_numpy("X", X)
    X = as_array("X", given)
    if X.ndim != 2:
        raise ValueError(f"X must be 2-D, (rows, features), got shape {X.shape}. {to_rows(X.ndim)}")
    n, d = X.shape
    if n == 0 or d == 0:
        raise ValueError(f"X must hold at least one row and one feature, got shape {X.shape}.")
    if n < num_components:
        raise ValueError(
            f"X must hold at least as many rows as components, got {n} rows for {num_components} "
            "components. Use fewer components or more rows."
        )
    weighted = sample_weight is not None
    sample_weight = as_weights(sample_weight, X)
    if is_concrete((X, sample_weight)):
        check_finite(X, sample_weight if weighted else None)
        check_cast(given, X, sample_weight if weighted else None)
    return padded(X, sample_weight) if pad else (X, sample_weight)


def as_weights(sample_weight: ArrayLike | None, X) -> jax.Array:
    """The weights (n,) of the rows X in its dtype; ones for ``None``."""
    if sample_weight is None:
        ones = np.ones if is_eager(()) else jnp.ones  # NumPy compiles nothing
        return jnp.asarray(ones(X.shape[0], X.dtype))
    weight = as_array("sample_weight", sample_weight)
    if weight.shape != X.shape[:1]:
        raise ValueError(
            f"sample_weight must have one number for each of the {X.shape[0]} rows, shape "
            f"({X.shape[0]},), got shape {weight.shape}."
        )
    if is_concrete(weight):
        xp = _backend(weight)
        with jax.ensure_compile_time_eval():
            values = xp.asarray(weight)
            bad, largest = int(xp.sum(~(xp.isfinite(values) & (values >= 0)))), float(xp.max(values))
        if bad:
            raise ValueError(
                f"sample_weight must be finite and not negative, got {bad} values that are not. "
                "Use zero for rows that are to be left out."
            )
        if not largest > 0:
            raise ValueError("sample_weight must have a positive sum, got only zeros.")
    return weight.astype(X.dtype)


def num_present(sample_weight) -> int:
    """How many rows have weight."""
    return int((_backend(sample_weight).asarray(sample_weight) > 0).sum())


def _sum_is_finite(X) -> bool:
    """Whether the sum is finite, and so every number: a tenth of the time of looking at each."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.asarray(X).sum()))


def check_finite(X, sample_weight=None):
    """Raise unless rows of positive weight are finite; say which columns are not."""
    xp = _backend(X)
    if xp is np and _sum_is_finite(X):
        return
    with jax.ensure_compile_time_eval():  # known values stay known, inside jit too
        bad = ~xp.isfinite(xp.asarray(X))
        if sample_weight is not None:
            bad &= xp.asarray(sample_weight).astype(bool)[:, None]  # none is negative
        by_column = np.asarray(bad.reshape(-1, bad.shape[-1]).sum(0))
    if by_column.any():
        columns = np.flatnonzero(by_column)
        shown = ", ".join(map(str, columns[:10])) + (", ..." if len(columns) > 10 else "")
        raise ValueError(
            f"X must be finite, got {by_column.sum()} NaN or infinite values in column(s) {shown}. "
            "Remove or impute those rows, or give them sample_weight 0 in a fit."
        )


def check_cast(given, X, sample_weight=None):
    """Raise if rows (n, d) of another dtype, ``given``, lost what tells them apart when they became X."""
    if given.dtype == X.dtype or X.ndim != 2 or len(X) < 2 or given.dtype.kind not in "iuf" or not is_concrete(given):
        return
    there = slice(None) if sample_weight is None else np.asarray(sample_weight) > 0
    # Integers of 64 bits are exact in NumPy's long double, where that is one.
    given = np.asarray(given)[there].astype(np.float64 if given.dtype.kind == "f" else np.longdouble)
    low, high = given.min(0), given.max(0)
    spread, size = high - low, np.maximum(np.abs(low), np.abs(high))
    if ((spread == 0) | (size * np.finfo(X.dtype).eps <= KEPT * spread)).all():  # twice what rounding can be
        return
    loss = np.abs(given - np.asarray(X)[there]).max(0)
    bad = (spread > 0) & (loss > KEPT * spread)
    if bad.any():
        column = int(np.argmax(bad))
        raise ValueError(
            f"X must keep its rows apart when it is cast to {X.dtype}, got values up to {size[column]:.6g} with a "
            f"spread of {spread[column]:.3g} in column {column}, which the cast moves by up to {loss[column]:.3g}. "
            "Subtract an origin from that column first, in its own dtype, or use float64 "
            "(jax.config.update('jax_enable_x64', True))."
        )


def _per_feature(name: str, value: ArrayLike, X: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
    """``value`` as an array: a number, or one for each feature of ``X``."""
    value, d = as_array(name, value), X.shape[-1]
    if value.shape not in ((), (d,)):
        raise ValueError(f"{name} must be a number or one for each of the {d} features, got shape {value.shape}.")
    return value


def as_ridge(ridge: ArrayLike, X: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
    """The ridge (d,) in squared data units, from a number or one for each feature."""
    ridge = _per_feature("ridge", ridge, X)
    if is_concrete(ridge) and not np.all(np.isfinite(np.asarray(ridge)) & (np.asarray(ridge) >= 0)):
        raise ValueError(f"ridge must be finite and not negative, got {ridge}.")
    return jnp.broadcast_to(ridge.astype(X.dtype), X.shape[-1:])


def as_scale(scale: ArrayLike | None, X: jax.Array) -> jax.Array | None:
    """The scale of distances (d,) in data units, from a number or one for each feature; or ``None``."""
    if scale is None:
        return None
    scale = _per_feature("scale", scale, X)
    if is_concrete(scale) and not np.all(np.isfinite(np.asarray(scale)) & (np.asarray(scale) > 0)):
        raise ValueError(f"scale must be finite and positive, got {scale}.")
    return jnp.broadcast_to(scale.astype(X.dtype), X.shape[-1:])
