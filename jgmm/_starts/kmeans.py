"""k-means: rows drawn far from each other, and Lloyd's iteration from there; weighted, in pure JAX.

Distances are taken in units of each feature's scale. Rows are drawn by inverting the cumulative weights, so that a row
of weight zero is never drawn and one of weight two is drawn like the same row twice.
"""

import jax
import jax.numpy as jnp

from jgmm._base.lanes import while_loop
from jgmm._base.pytree import varying_as
from jgmm._base.rows import chunk_rows, map_rows, sum_rows
from jgmm._base.types import where
from jgmm._covariance.factor import matmul

LLOYD_STEPS = 100
LLOYD_TOL = 1e-4  # of the features' mean variance: scikit-learn's


def _draw(u, p):
    """A row number for each uniform number u (t,), with probability proportional to ``p`` (n,)."""
    cumulative = jnp.cumsum(p)
    # The first to reach u of the sum; where rounding lets none, the first of those that come nearest.
    return where((p > 0)[None], jnp.minimum(cumulative[None], u[:, None] * cumulative[-1]), -1).argmax(1)


def per_scale_of(moments: tuple[jax.Array, jax.Array], scale: jax.Array | None = None) -> jax.Array:
    """1 / scale of each feature (d,): its standard deviation unless given; a constant feature counts for nothing."""
    mean, variance = moments
    if scale is None:
        scale = jnp.sqrt(where(variance > 0, variance, 1))
    return where(variance > 0, 1 / scale, 0).astype(mean.dtype)


def seeds(u, X, sample_weight, per_scale, power, looked_at=None, num_present=None):
    """k rows, each drawn in proportion to weight * distance^power from the rows drawn so far, and the groups (n,) of
    rows that are nearest to each; u (k, trials) in [0, 1).

    power 2 is k-means++ (Arthur & Vassilvitskii 2007), greedy: of the trials the row that leaves the least sum of
    squares is taken. power 0 draws rows of different values, uniformly; it may be traced. ``looked_at`` (): how many of
    the trials count, ``None`` for all. ``num_present`` (): how many of the k have a group.
    """
    trials = u.shape[1]

    def squared_distance(X, points):  # (m, trials)
        return (((X[:, None] - points[None]) * per_scale[None, None]) ** 2).sum(-1)

    def add(so_far: tuple[jax.Array, jax.Array], drawn: tuple[jax.Array, jax.Array]):
        (nearest, group), (u, number) = so_far, drawn
        distance = where(jnp.isinf(nearest), 1, nearest)  # the first row: no other yet
        p = sample_weight * where(power > 0, distance, (distance > 0).astype(distance.dtype))
        points = X[_draw(u, where(p.sum() > 0, p, sample_weight))]
        distance = map_rows(lambda X: squared_distance(X, points), X, chunk_rows(trials, X.shape[1]))
        distance = where(sample_weight[:, None] > 0, jnp.minimum(nearest[:, None], distance), 0)
        left = matmul(sample_weight, distance)
        best = jnp.argmin(left if looked_at is None else where(jnp.arange(trials) < looked_at, left, jnp.inf))
        closer = distance[:, best] < nearest
        closer = closer if num_present is None else closer & (number < num_present)
        return (distance[:, best], where(closer, number, group)), points[best]

    start = jnp.full_like(sample_weight, jnp.inf), jnp.zeros(X.shape[0], jnp.int32)
    (_, group), points = jax.lax.scan(
        add, varying_as(start, X, sample_weight, u), (u, jnp.arange(u.shape[0], dtype=jnp.int32))
    )
    return points, group


def nearest_of(X, centers, mean, per_scale, present=None):
    """One-hot (m, k): the centre nearest to each row, of those that are ``present`` (k,)."""
    Z, C = ((x - mean[None]) * per_scale[None] for x in (X, centers))
    distance = (C**2).sum(-1)[None] - 2 * matmul(Z, C.T)  # less |z|^2, the same for all
    distance = distance if present is None else where(present[None], distance, jnp.inf)
    return jax.nn.one_hot(distance.argmin(-1), centers.shape[0], dtype=X.dtype)


def lloyd(X, sample_weight, moments, per_scale, centers, present=None):
    """Lloyd's k-means from ``centers``; a centre that loses all its rows stays where it is."""

    def sums(data, centers) -> tuple[jax.Array, jax.Array]:
        X, sample_weight, mean, per_scale, present, _ = data

        def rows(X, weight):
            X = where(weight[:, None] > 0, X, mean)
            one_hot = nearest_of(X, centers, mean, per_scale, present) * weight[:, None]
            return one_hot.sum(0), matmul(one_hot.T, X - mean[None])

        return sum_rows(rows, X, sample_weight, chunk_rows(*centers.shape))

    def move(data, state: tuple[jax.Array, jax.Array, jax.Array]):
        centers, _, steps = state
        weight, total = sums(data, centers)
        _, _, mean, per_scale, *_ = data
        occupied = weight[:, None] > 0
        moved = where(occupied, mean[None] + total / where(occupied, weight[:, None], 1), centers)
        return moved, (((moved - centers) * per_scale[None]) ** 2).sum(), steps + 1

    def moving(data, state):
        *_, small = data
        return (state[1] > small) & (state[2] < LLOYD_STEPS)

    mean, variance = moments
    data = X, sample_weight, mean, per_scale, present, LLOYD_TOL * (variance * per_scale**2).mean()
    start = varying_as((centers, jnp.full((), jnp.inf, X.dtype), jnp.zeros((), jnp.int32)), data, centers)
    return while_loop(moving, move, data, start)[0]
