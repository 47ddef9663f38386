"""Where EM starts: four initialisers of one signature.

    init(key, X, num_components, *, cov="full", sample_weight=None) -> GMM

Each is pure JAX, weighted, and can be jitted and mapped over keys. Distances are taken in units of
each feature's standard deviation, so that a feature of large numbers does not decide alone; where the
features share one unit, as principal components do, ``scale=1.0`` keeps it. Rows are drawn by inverting
the cumulative weights, so that a row of weight zero is never drawn and one of weight two is drawn like
the same row twice. A group too small for a covariance takes the pooled one.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from jgmm._base.arrays import as_data, as_scale
from jgmm._base.lanes import while_loop
from jgmm._base.options import check_count
from jgmm._base.programs import program
from jgmm._base.pytree import varying_as
from jgmm._base.rows import chunk_rows, map_rows, sum_rows
from jgmm._base.types import ArrayLike, where
from jgmm._covariance.factor import matmul
from jgmm._covariance.families import as_family
from jgmm._covariance.family import Covariance
from jgmm._em.steps import m_step
from jgmm._expectation.moments import data_stats, mean_and_variance, ridge_of
from jgmm._expectation.stats import Stats, collect
from jgmm._mixture.gmm import GMM

__all__ = ["kmeans", "kmeans_plusplus", "random_points", "random_resp"]

LLOYD_STEPS = 100
LLOYD_TOL = 1e-4  # of the features' mean variance: scikit-learn's


def _draw(u, p):
    """A row number for each uniform number u (t,), with probability proportional to ``p`` (n,)."""
    cumulative = jnp.cumsum(p)
    # The first to reach u of the sum; where rounding lets none, the first of those that come nearest.
    return where(p > 0, jnp.minimum(cumulative, u[:, None] * cumulative[-1]), -1).argmax(1)


def _per_scale(moments: tuple[jax.Array, jax.Array], scale: jax.Array | None = None) -> jax.Array:
    """1 / scale of each feature (d,): its standard deviation unless given; a constant feature counts for nothing."""
    mean, variance = moments
    if scale is None:
        scale = jnp.sqrt(where(variance > 0, variance, 1))
    return where(variance > 0, 1 / scale, 0).astype(mean.dtype)


def _seed(u, X, sample_weight, per_scale, power):
    """k rows, each drawn in proportion to weight * distance^power from the rows drawn so far; u (k, trials) in [0, 1).

    power 2 is k-means++ (Arthur & Vassilvitskii 2007), greedy: of the trials the row that leaves the least sum of
    squares is taken. power 0 draws rows of different values, uniformly.
    """
    trials = u.shape[1]

    def squared_distance(X, points):  # (m, trials)
        return (((X[:, None] - points) * per_scale) ** 2).sum(-1)

    def add(nearest: jax.Array, u: jax.Array):
        distance = where(jnp.isinf(nearest), 1, nearest)  # the first row: no other yet
        p = sample_weight * (distance if power else distance > 0)
        points = X[_draw(u, where(p.sum() > 0, p, sample_weight))]
        distance = map_rows(lambda X: squared_distance(X, points), X, chunk_rows(trials, X.shape[1]))
        distance = where(sample_weight[:, None] > 0, jnp.minimum(nearest[:, None], distance), 0)
        best = jnp.argmin(matmul(sample_weight, distance))
        return distance[:, best], points[best]

    start = varying_as(jnp.full_like(sample_weight, jnp.inf), X, sample_weight, u)
    return jax.lax.scan(add, start, u)[1]


def _nearest(X, centers, mean, per_scale):
    """One-hot (m, k): the centre nearest to each row."""
    Z, C = (X - mean) * per_scale, (centers - mean) * per_scale
    distance = (C**2).sum(-1) - 2 * matmul(Z, C.T)  # less |z|^2, the same for all
    return jax.nn.one_hot(distance.argmin(-1), centers.shape[0], dtype=X.dtype)


def _lloyd(X, sample_weight, moments, per_scale, centers):
    """Lloyd's k-means from ``centers``; a centre that loses all its rows stays where it is."""

    def sums(data, centers) -> tuple[jax.Array, jax.Array]:
        X, sample_weight, mean, per_scale, _ = data

        def rows(X, weight):
            X = where(weight[:, None] > 0, X, mean)
            one_hot = _nearest(X, centers, mean, per_scale) * weight[:, None]
            return one_hot.sum(0), matmul(one_hot.T, X - mean)

        return sum_rows(rows, X, sample_weight, chunk_rows(*centers.shape))

    def move(data, state: tuple[jax.Array, jax.Array, jax.Array]):
        centers, _, steps = state
        weight, total = sums(data, centers)
        _, _, mean, per_scale, _ = data
        occupied = weight[:, None] > 0
        moved = where(occupied, mean + total / where(occupied, weight[:, None], 1), centers)
        return moved, (((moved - centers) * per_scale) ** 2).sum(), steps + 1

    def moving(data, state):
        *_, small = data
        return (state[1] > small) & (state[2] < LLOYD_STEPS)

    mean, variance = moments
    data = X, sample_weight, mean, per_scale, LLOYD_TOL * (variance * per_scale**2).mean()
    start = varying_as((centers, jnp.full((), jnp.inf, X.dtype), jnp.zeros((), jnp.int32)), data, centers)
    return while_loop(moving, move, data, start)[0]


def _of_groups(family, X, sample_weight, centers, group) -> Stats:
    """The statistics of a partition of the rows, about ``centers`` (k, d).

    ``group(index, X)`` gives one-hot (m, k) for the row numbers (m,) and rows (m, d) of a chunk.
    """

    def rows(rows, weight):
        index, X = rows
        X = where(weight[:, None] > 0, X, centers[0])
        diff = X.T[None] - centers[:, :, None]
        return collect(family.form, diff, centers, group(index, X).T, jnp.zeros_like(weight), weight)

    index = jnp.arange(X.shape[0])
    sums = sum_rows(rows, (index, X), sample_weight, chunk_rows(*centers.shape))
    return Stats(centers, sums.weight, sums.shift, sums.scatter, sums.total, sums.log_prob)


def _trials(k):
    """How many candidates greedy k-means++ looks at."""
    return 2 + int(math.log(k))


# A start is made of uniform numbers u, so that those of many starts are drawn at once: `draws` says of what shape.
# It is the statistics of a partition, or a mixture.


def _random_resp(u, X, sample_weight, moments, k, family):
    order = where(sample_weight > 0, u, 2)
    rank = jnp.argsort(jnp.argsort(order))  # rows of weight zero last
    centers = jnp.broadcast_to(moments[0], (k, X.shape[1]))
    return _of_groups(
        family, X, sample_weight, centers, lambda index, X: jax.nn.one_hot(rank[index] % k, k, dtype=X.dtype)
    )


def _random_points(u, X, sample_weight, moments, k, family):
    means = _seed(u, X, sample_weight, _per_scale(moments), power=0)
    whole = m_step(data_stats(family.form, X, sample_weight), family, ridge=ridge_of(moments)).cov
    return GMM(jnp.full(k, 1 / k, X.dtype), means, whole.repeated(k, X.shape[1]))


def _kmeans(u, X, sample_weight, moments, k, family, scale=None, lloyd=True):
    per_scale = _per_scale(moments, scale)
    centers = _seed(u, X, sample_weight, per_scale, power=2)
    if lloyd:
        centers = _lloyd(X, sample_weight, moments, per_scale, centers)
    return _of_groups(family, X, sample_weight, centers, lambda index, X: _nearest(X, centers, moments[0], per_scale))


_seeds_only = partial(_kmeans, lloyd=False)

STARTS = {
    "kmeans": _kmeans,
    "kmeans_plusplus": _seeds_only,
    "random_points": _random_points,
    "random_resp": _random_resp,
}


def draws(name, num_rows, k):
    """The shape of the uniform numbers that a start is made of."""
    return {"random_resp": (num_rows,), "random_points": (k, 1)}.get(name, (k, _trials(k)))


@program("name", "k", "family")
def _run(name, key, X, sample_weight, k, family, *scale):
    moments = mean_and_variance(X, sample_weight)
    u = jax.random.uniform(key, draws(name, X.shape[0], k), X.dtype)
    start = STARTS[name](u, X, sample_weight, moments, k, family, *scale)
    return m_step(start, family, ridge=ridge_of(moments)) if isinstance(start, Stats) else start


def _checked(name, key, X, num_components, cov, sample_weight, *scale):
    k = check_count("num_components", num_components, least=1)
    X, sample_weight = as_data(X, sample_weight, num_components=k)
    scale = [as_scale(value, X) for value in scale]
    return _run(name, key, X, sample_weight, k, as_family("cov", cov), *scale)


def random_resp(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
) -> GMM:
    """Assign the rows to components at random, in groups of equal size, and take one M-step.

    The simplest start, and a poor one: all components begin close to the same place, near a saddle.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k (static).
        cov: "full", "tied", "diag", "spherical" or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> params = jgmm.init.random_resp(jax.random.key(0), jnp.arange(6.0)[:, None], 3)
        >>> params.means.shape, params.covariances.shape
        ((3, 1), (3, 1, 1))
    """
    return _checked("random_resp", key, X, num_components, cov, sample_weight)


def random_points(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
) -> GMM:
    """Take k rows of different values as means, the data's covariance for all, and equal weights.

    (McLachlan & Peel 2000, sec. 2.12.2.) Rows are drawn in proportion to their weights.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k (static).
        cov: "full", "tied", "diag", "spherical" or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> params = jgmm.init.random_points(jax.random.key(0), jnp.arange(3.0)[:, None], 3)
        >>> sorted(params.means[:, 0].tolist())
        [0.0, 1.0, 2.0]
    """
    return _checked("random_points", key, X, num_components, cov, sample_weight)


def kmeans_plusplus(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> GMM:
    """Draw k rows far from each other, group the rows by the nearest, and take one M-step.

    Greedy k-means++ (Arthur & Vassilvitskii 2007, sec. 2.2 and 5): of 2 + log k candidates, drawn in
    proportion to weight times squared distance, the one that lowers the sum of squares most. `fit` starts
    here: of many such starts some lead further up than those that k-means makes alike.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k (static).
        cov: "full", "tied", "diag", "spherical" or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.
        scale: of distances, data units: a number or (d,), positive; ``None`` for the standard deviations.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.array([[0.0], [1.0], [100.0], [101.0]])
        >>> params = jgmm.init.kmeans_plusplus(jax.random.key(0), X, 2)
        >>> sorted(params.means[:, 0].tolist())
        [0.5, 100.5]
    """
    return _checked("kmeans_plusplus", key, X, num_components, cov, sample_weight, scale)


def kmeans(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> GMM:
    """Group the rows by k-means (Lloyd 1982, from greedy k-means++ seeds) and take one M-step.

    Lloyd's iteration stops when the centres move by less than 0.01 standard deviations in all, or
    after 100 steps. For `fit`, ``init=functools.partial(jgmm.init.kmeans, scale=1.0)``.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k (static).
        cov: "full", "tied", "diag", "spherical" or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.
        scale: of distances, data units: a number or (d,), positive; ``None`` for the standard deviations.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.array([[0.0], [1.0], [100.0], [101.0]])
        >>> params = jgmm.init.kmeans(jax.random.key(0), X, 2)
        >>> sorted(params.means[:, 0].tolist())
        [0.5, 100.5]
    """
    return _checked("kmeans", key, X, num_components, cov, sample_weight, scale)
