"""Units in which the squares of the rows are ordinary numbers, where those of the data are far too large or small.

Features are taken in units of a power of two, which loses no digit, and the results are given back in the data's
units. What the dtype cannot hold even so, the variance of a feature, is an error. Called with values only: inside
``jit`` such data end in a status.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import is_concrete
from jgmm._base.lengths import is_eager

FEW = 256
ORDINARY = 3 / 8  # of the exponents of the dtype: from 4e-15 to 3e14 in float32, 1e-115 to 4e115 in float64


def units_of(X, sample_weight, common: bool = False):
    """The factors (d,), powers of two, that bring features to ordinary numbers; ``None`` if they all are.

    Args:
        X: (n, d) rows.
        sample_weight: (n,) their weights.
        common: whether all features have to have one factor.

    Raises:
        ValueError: the variance of a feature is too large, or too small, for the dtype.
    """
    if not is_concrete((X, sample_weight)) or not is_eager(X):
        return None
    most = ORDINARY * np.finfo(X.dtype).maxexp
    if not _is_spread(X) and _are_plainly_ordinary(np.asarray(X), np.asarray(sample_weight), 2.0**most):
        return None
    low, high = _extremes(X, sample_weight)
    spread, size = high - low, np.maximum(np.abs(low), np.abs(high))
    _check_squares(spread, X.dtype)
    exponents = np.frexp(np.where(spread > 0, spread, size))[1]
    if (np.abs(exponents) <= most).all() and (np.frexp(size)[1] <= most).all():
        return None
    exponents = np.full_like(exponents, exponents.max()) if common else exponents
    return np.ldexp(np.ones_like(size), -exponents).astype(X.dtype)


def _is_spread(x):
    return isinstance(x, jax.Array) and len(x.devices()) > 1


def _are_plainly_ordinary(X, sample_weight, most) -> bool:
    """Whether no number is large, and a few rows differ enough in every feature: a tenth of the time of `_extremes`."""
    if not (X.max() < most and X.min() > -most):  # NaN, where the row is absent, is not plain
        return False
    few = X[:FEW][sample_weight[:FEW] > 0]
    return len(few) > 0 and bool((few.max(0) - few.min(0) > 1 / most).all())


def _ends(X, sample_weight, xp=jnp):
    there = sample_weight[:, None] > 0
    return xp.where(there, X, xp.inf).min(0), xp.where(there, X, -xp.inf).max(0)


def _extremes(X, sample_weight):
    """The least and the largest value of each feature, float64, of rows that are there."""
    if _is_spread(X):
        ends = jax.jit(_ends)(X, sample_weight)
    else:
        X, sample_weight = np.asarray(X), np.asarray(sample_weight)
        ends = (X.min(0), X.max(0)) if (sample_weight > 0).all() else _ends(X, sample_weight, np)
    return tuple(np.asarray(end, np.float64) for end in ends)


def rows_in_units(X, ridge, units):
    """The rows, and a ridge or ``None``, in these units."""
    factors = jnp.asarray(units)
    # NumPy multiplies what is here: XLA takes the least numbers that it holds for zero.
    X = X * factors[None] if _is_spread(X) else jnp.asarray(np.asarray(X) * units)
    return X, None if ridge is None else ridge * factors * factors


def _check_squares(spread, dtype):
    """Raise unless the dtype can hold a variance of each feature, which is at most a quarter of its squared spread."""
    info = np.finfo(dtype)
    large, small = spread / 2 > float(info.max) ** 0.5, (spread > 0) & (spread / 2 < float(info.tiny) ** 0.5)
    if not (large | small).any():
        return
    column = int(np.argmax(large | small))
    what = "more" if large[column] else "less"
    raise ValueError(
        f"X must have features whose squares {dtype} can hold, got a spread (largest less least) of "
        f"{spread[column]:.3g} in column {column}: its variance is {what} than {dtype} holds. Give that column in "
        f"another unit: multiply it by {10.0 ** -round(float(np.log10(spread[column]))):.0e}"
        + (", or use float64 (jax.config.update('jax_enable_x64', True))." if dtype == np.float32 else ".")
    )


def unit_weights(sample_weight):
    """Weights with the same meaning, their largest about one where it was far from an ordinary number."""
    if not is_concrete(sample_weight) or not is_eager(sample_weight):
        return sample_weight
    largest = (sample_weight if _is_spread(sample_weight) else np.asarray(sample_weight)).max()
    exponent = int(np.frexp(float(largest))[1])
    if abs(exponent) <= ORDINARY * np.finfo(sample_weight.dtype).maxexp:
        return sample_weight
    if _is_spread(sample_weight):
        return jnp.ldexp(sample_weight, -exponent)
    return jnp.asarray(np.ldexp(np.asarray(sample_weight), -exponent))  # NumPy holds numbers that XLA takes for zero
