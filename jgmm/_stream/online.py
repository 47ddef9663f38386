"""Online EM: running statistics of the rows seen so far, for streams that never end.

    S <- (1 - rate) S + rate s(X; theta) / (weight of X),    theta <- M-step of S

(Cappé & Moulines 2009, sec. 2, with batches in place of single rows.)
"""

import dataclasses
from collections.abc import Collection

import jax
import numpy as np

from jgmm._base.arrays import as_array, as_ridge, is_concrete, on_device
from jgmm._base.programs import program
from jgmm._base.types import ArrayLike, where
from jgmm._covariance.projection import Projection
from jgmm._em.steps import e_step, maximisation
from jgmm._expectation.stats import Stats
from jgmm._mixture.frozen import as_frozen
from jgmm._mixture.gmm import GMM


@program("frozen")
def _online_step(params, running, stats, rate, ridge, frozen):
    seen, known = stats.total > 0, running.total > 0
    share = where(seen, where(known, rate, 1), 0) / where(seen, stats.total, 1)
    kept = where(known, where(seen, 1 - rate, 1), 0) / where(known, running.total, 1)
    stats = share * stats + kept * running  # about the means as they are now: those of the first
    new = maximisation(stats, params, params.cov.factor(), ridge, frozen)[0]
    new = jax.tree.map(lambda new, old: where(seen, new, old), new, params)
    return new, _carried(stats, new, ridge)


def _carried(stats, params, ridge):
    """The running statistics for the next step: where they hold factors, these in terms of the new mixture."""
    if not isinstance(stats.scatter, Projection):
        return stats
    stats, cov = stats.recenter(params.means), params.cov
    scatter = stats.scatter.moved(cov.factor().posterior(), cov.loadings, stats.weight, ridge)
    return dataclasses.replace(stats, scatter=scatter)


def _as_running(running, like):
    """The running statistics in the dtype of those of the rows; none of weight for ``None``."""
    if running is None:
        return 0.0 * like
    if not isinstance(running, Stats):
        raise TypeError(f"running_stats must be jgmm.Stats or None, got {type(running).__name__}.")
    wanted, got = ([x.shape for x in jax.tree.leaves(stats.scatter)] for stats in (like, running))
    if (running.center.shape, got) != (like.center.shape, wanted):
        wanted, got = (", ".join(map(str, shapes)) for shapes in (wanted, got))
        raise ValueError(
            f"running_stats must be of {like.center.shape[0]} components, {like.center.shape[1]} features and a "
            f"scatter of shape {wanted}, as the parameters are, got centres of shape {running.center.shape} and a "
            f"scatter of shape {got}."
        )
    running = jax.tree.map(lambda x: on_device(x, like.center.dtype), running)
    known = isinstance(like.scatter, Projection) and is_concrete((running, like))
    if known and not like.scatter.adds_to(running.scatter).all():
        raise ValueError(
            "running_stats must be those that the last online_step returned beside these parameters, or of an e_step "
            "under them: statistics of factors under other mixtures do not add."
        )
    return running


def _as_rate(rate, dtype):
    rate = as_array("rate", rate)
    if rate.ndim:
        raise ValueError(f"rate must be one number, got shape {rate.shape}. Use jax.lax.scan over several.")
    if is_concrete(rate) and not 0 < np.asarray(rate) <= 1:
        raise ValueError(f"rate must be above 0 and at most 1, got {rate}.")
    return rate.astype(dtype)


def online_step(
    params: GMM,
    running_stats: Stats | None,
    X: ArrayLike,
    rate: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    ridge: ArrayLike = 0.0,
    frozen: Collection[str] = (),
    chunk_size: int | None = None,
) -> tuple[GMM, Stats]:
    """One step of online EM: the rows count ``rate``, and all that came before 1 - ``rate``; pure.

        S <- (1 - rate) S / S.total + rate s(X) / s(X).total,    params <- m_step(S)

    For a stream that never ends, in a loop or a ``jax.lax.scan`` over batches and rates. With rates that fall as t^-a,
    1/2 < a <= 1 (0.6 is usual), the steps converge to a stationary point of the likelihood (Cappé & Moulines 2009,
    sec. 3). Rates of 1 / t weigh all batches the same. A constant rate follows data that drift: it forgets, with a
    memory of about 1 / ``rate`` batches.

    A batch should hold several rows for each number of a covariance, or the first steps, at large rates, lose
    components; a component that loses its rows keeps what it has.

    Args:
        params: the mixture so far.
        running_stats: the `Stats` that the last step returned, or those of an `e_step` over rows to begin with. Only
            what they say per row counts. ``None``: there are none, and X counts alone, which is a step of EM. Those of
            ``lowrank(q, wide=True)`` must be of these very parameters.
        X: (n, d) the next rows, data units.
        rate: () in (0, 1], how much they count; traced.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones. Inside ``jit`` rows whose weights are
            all zero change nothing.
        ridge: a number or (d,), squared data units, added to the diagonal of every covariance.
        frozen: which of "weights", "means" and "cov" stay as they are (static).
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.

    Returns:
        (`GMM` of the same family, `Stats` of total 1: means over rows; ``log_prob`` is the running mean log density of
        rows under the mixtures that they met, nats).

    Raises:
        ValueError, TypeError: the data, the parameters or an option are not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> batches = jax.random.normal(jax.random.key(0), (50, 100, 1)) + 3.0
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Spherical(jnp.ones(1)))
        >>> stats = 0.0 * jgmm.e_step(params, batches[0])
        >>> rates = 1 / jnp.arange(1.0, 51.0)
        >>> step = lambda carry, now: (jgmm.online_step(*carry, *now), None)
        >>> (params, stats), _ = jax.lax.scan(step, (params, stats), (batches, rates))
        >>> params.means.round(1).tolist(), float(stats.total.round(4))
        ([[3.0]], 1.0)
    """
    stats = e_step(params, X, sample_weight, chunk_size=chunk_size)
    running, dtype = _as_running(running_stats, stats), stats.center.dtype
    options = _as_rate(rate, dtype), as_ridge(ridge, stats.center), as_frozen(frozen)
    return _online_step(params.astype(dtype), running, stats, *options)
