"""Resampling as weights: the bootstrap, the jackknife and cross-validation, each a batch of ``sample_weight``.

    bootstrap(key, n, r), jackknife(n), cross_validation(key, n, r) -> (r, n)

A resample is a vector of row weights: a row of weight zero is absent, one of weight two counts twice. So r refits
are one ``vmap`` over the weights, and the data are never copied:

    jax.vmap(lambda w: jgmm.em(params, X, w).params)(jgmm.resample.bootstrap(key, n, 500))

Weights that the rows have already are frequencies: what is absent stays absent, and a row of weight two is
resampled as two rows would be.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import as_array, as_weights, is_concrete
from jgmm._base.options import check_count, check_key
from jgmm._base.programs import program
from jgmm._base.pytree import varying_as
from jgmm._base.sweep import on_automatic_axes
from jgmm._base.types import ArrayLike, where

__all__ = ["bootstrap", "cross_validation", "jackknife"]


def _as_frequencies(sample_weight, n):
    """The weights (n,), checked; ones of the default dtype for ``None``."""
    n = check_count("n", n, least=1)
    dtype = jnp.result_type(float) if sample_weight is None else as_array("sample_weight", sample_weight).dtype
    return as_weights(sample_weight, jax.ShapeDtypeStruct((n,), dtype))


def _multinomial(key, weight, num_draws):
    """How often each row (n,) comes up in so many draws (traced) in proportion to ``weight``."""
    n = weight.shape[0]
    cumulative = jnp.cumsum(weight)
    below_total = jnp.nextafter(cumulative[-1], jnp.zeros_like(cumulative[-1]))  # rounding must not reach past the end

    def draw(state):  # n at a time
        i, counts = state
        u = jax.random.uniform(jax.random.fold_in(key, i), (n,), weight.dtype)
        rows = jnp.searchsorted(
            cumulative, jnp.minimum(u * cumulative[-1], below_total), side="right", method="scan_unrolled"
        )
        wanted = i * n + jnp.arange(n, dtype=jnp.int32) < num_draws
        return i + 1, counts.at[rows].add(wanted.astype(weight.dtype))

    start = varying_as((jnp.zeros((), jnp.int32), jnp.zeros_like(weight)), key, weight)
    _, counts = jax.lax.while_loop(lambda state: state[0] * n < num_draws, draw, start)
    return counts


def _resamples(num_resamples, bayesian, key, weight):
    total = weight.sum()
    keys = jax.random.split(key, num_resamples)
    if bayesian:
        present = weight > 0
        parts = jax.vmap(lambda key: jax.random.gamma(key, where(present, weight, 1), dtype=weight.dtype))(keys)
        parts = where(present[None], parts, 0)
    else:
        # What is no frequency (NaN, infinity, inside jit) draws nothing, and ends in NaN.
        num_draws = where(total < 2**30, jnp.maximum(jnp.round(total), 1), 0).astype(jnp.int32)
        parts = jax.vmap(lambda key: _multinomial(key, weight, num_draws))(keys)
    return parts * (total / parts.sum(-1, keepdims=True))


@program("num_resamples", "bayesian")
def _bootstrap(num_resamples, bayesian, *arrays):
    return on_automatic_axes(partial(_resamples, num_resamples, bayesian))(*arrays)


def bootstrap(
    key: jax.Array,
    n: int,
    num_resamples: int,
    *,
    sample_weight: ArrayLike | None = None,
    bayesian: bool = False,
) -> jax.Array:
    """Weights that draw as many rows as there are, with replacement (Efron 1979, sec. 2).

        w ~ Multinomial(N, s / N),   N = sum s,   s the ``sample_weight``

    The spread of a statistic over the resamples estimates that over new data. N is rounded to draw, and the draws
    are then scaled to sum to N: weights that are no counts must first be scaled so that their sum is the number
    of rows that they are worth. With ``bayesian``, w = N g / sum g with g_i ~ Gamma(s_i) (Rubin 1981, sec. 2): no row
    is ever lost, so that small components survive, and N need not be whole.

    Args:
        key: a JAX random key.
        n: the number of rows (static).
        num_resamples: r, how many resamples (static).
        sample_weight: (n,) nonnegative frequencies of the rows, or ``None`` for ones.
        bayesian: Dirichlet weights in place of counts (static).

    Returns:
        (r, n) weights for ``vmap`` over a ``sample_weight``; each row sums to the sum of ``sample_weight``, whose dtype
        they have (the default float for ``None``), and each column to r s_i on average.

    Raises:
        ValueError, TypeError: a count is not a positive integer, or ``sample_weight`` is not what is described here.

    Example:
        >>> import jax, jgmm
        >>> weights = jgmm.resample.bootstrap(jax.random.key(0), 5, 3)
        >>> print(weights.shape, weights.sum(1))
        (3, 5) [5. 5. 5.]
    """
    check_key(key)
    weight = _as_frequencies(sample_weight, n)
    num_resamples = check_count("num_resamples", num_resamples, least=1)
    return _bootstrap(num_resamples, bool(bayesian), key, weight)


@program()
def _jackknife(weight):
    return on_automatic_axes(lambda weight: weight[None] - jnp.diag(jnp.minimum(weight, 1)))(weight)


def jackknife(n: int, *, sample_weight: ArrayLike | None = None) -> jax.Array:
    """Weights that leave out one row at a time (Quenouille 1956; Tukey 1958).

    With t_i the statistic without row i, the jackknife estimates its standard error and its bias by

        se^2 = (N - 1) / N sum_i s_i (t_i - m)^2,   bias = (N - 1) (m - t),   m = sum_i s_i t_i / N,   N = sum s

    with s the ``sample_weight``. n resamples of n weights each take n^2 numbers: for many rows leave out a block at
    a time, which is `cross_validation`.

    Args:
        n: the number of rows (static).
        sample_weight: (n,) nonnegative frequencies of the rows, or ``None`` for ones.

    Returns:
        (n, n) weights; in resample i row i counts once less (not at all, if it counted less than once).

    Raises:
        ValueError, TypeError: ``n`` is not a positive integer, or ``sample_weight`` is not what is described here.

    Example:
        >>> import jgmm
        >>> print(jgmm.resample.jackknife(3))
        [[0. 1. 1.]
         [1. 0. 1.]
         [1. 1. 0.]]
    """
    return _jackknife(_as_frequencies(sample_weight, n))


def _folds(num_folds, key, weight):
    order = where(weight > 0, jax.random.uniform(key, weight.shape, weight.dtype), 2)
    rank = jnp.argsort(jnp.argsort(order))  # rows of weight zero last: they are dealt to no one
    return where((rank % num_folds)[None] == jnp.arange(num_folds)[:, None], 0, weight[None])


@program("num_folds")
def _cross_validation(num_folds, *arrays):
    return on_automatic_axes(partial(_folds, num_folds))(*arrays)


def cross_validation(key: jax.Array, n: int, num_folds: int, *, sample_weight: ArrayLike | None = None) -> jax.Array:
    """Training weights that hold out one fold of the rows at a time (Stone 1974, sec. 2).

    The held-out weights are the rest, ``sample_weight - weights``, or ``1 - weights``. Folds are dealt at random and
    differ by at most one row of positive weight; a row of weight two lies in one fold, as a whole.

    Args:
        key: a JAX random key.
        n: the number of rows (static).
        num_folds: r, how many folds (static); ``n`` leaves out one row at a time.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.

    Returns:
        (r, n) training weights; each row of the data has weight zero in one of them (in all, if it had in the data).

    Raises:
        ValueError, TypeError: a count is not an integer, fewer than two folds or more than rows of positive weight,
            or ``sample_weight`` is not what is described here.

    Example:
        >>> import jax, jgmm
        >>> train = jgmm.resample.cross_validation(jax.random.key(0), 6, 3)
        >>> print(train.sum(1), (1 - train).sum(0))
        [4. 4. 4.] [1. 1. 1. 1. 1. 1.]
    """
    check_key(key)
    weight = _as_frequencies(sample_weight, n)
    num_folds = check_count("num_folds", num_folds, least=2)
    present = int((np.asarray(weight) > 0).sum()) if is_concrete(weight) else n
    if num_folds > present:
        raise ValueError(
            f"num_folds must be at most the number of rows of positive weight, {present}, got {num_folds}."
        )
    return _cross_validation(num_folds, key, weight)
