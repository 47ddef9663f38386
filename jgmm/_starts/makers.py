"""The kinds of start: the statistics of a partition of the rows, whose M-step makes the mixture, or a mixture."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jgmm._base.rows import chunk_rows, sum_rows
from jgmm._base.types import where
from jgmm._em.steps import m_step
from jgmm._expectation.moments import data_stats
from jgmm._expectation.ridge import FRACTION, ridge_of
from jgmm._expectation.stats import Stats, collect
from jgmm._mixture.gmm import GMM
from jgmm._starts.kmeans import lloyd, nearest_of, per_scale_of, seeds

GREEDY, DISTANT = 0.35, 0.25  # shares of the mixed starts: greedy k-means++, and plain; the others are any rows
MOST_TRIALS = 8  # of greedy k-means++, which would have 9 from 1097 components on


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
    """How many candidates greedy k-means++ looks at (Arthur & Vassilvitskii 2007, sec. 5)."""
    return min(MOST_TRIALS, 2 + int(math.log(k)))


# A start is made of uniform numbers u, so that those of many starts are drawn at once: `draws` says of what shape.
# It is the statistics of a partition, or a mixture. Of its k components only the first ``num_present`` () are present,
# if that is given: they are as they would be without the others.


def present_of(k, num_present):
    """Which of the k components are present (k,), or ``None`` for all."""
    return None if num_present is None else jnp.arange(k, dtype=num_present.dtype) < num_present


def _random_resp(u, X, sample_weight, moments, k, family, num_present=None):
    order = where(sample_weight > 0, u, 2)
    rank = jnp.argsort(jnp.argsort(order))  # rows of weight zero last
    rank = rank % (k if num_present is None else num_present.astype(rank.dtype))
    centers = jnp.broadcast_to(moments[0], (k, X.shape[1]))
    return _of_groups(family, X, sample_weight, centers, lambda index, X: jax.nn.one_hot(rank[index], k, dtype=X.dtype))


def _random_points(u, X, sample_weight, moments, k, family, num_present=None):
    means, _ = seeds(u[:, :1], X, sample_weight, per_scale_of(moments), power=0)
    whole = m_step(data_stats(family.form, X, sample_weight), family, ridge=ridge_of(moments, FRACTION)).cov
    weights = jnp.full(k, 1 / k, X.dtype)
    if num_present is not None:
        weights = where(present_of(k, num_present), 1 / num_present.astype(X.dtype), 0)
    return GMM(weights, means, whole.repeated(k, X.shape[1]))


def _kmeans(u, X, sample_weight, moments, k, family, num_present=None, scale=None):
    per_scale, present = per_scale_of(moments, scale), present_of(k, num_present)
    looked_at = _looked_at(k, num_present)
    centers, _ = seeds(u[:, : _trials(k)], X, sample_weight, per_scale, 2, looked_at, num_present)
    centers = lloyd(X, sample_weight, moments, per_scale, centers, present)
    group = lambda index, X: nearest_of(X, centers, moments[0], per_scale, present)  # noqa: E731
    return _of_groups(family, X, sample_weight, centers, group)


def _kmeans_plusplus(
    u, X, sample_weight, moments, k, family, num_present=None, scale=None, looked_at=None, power: Any = 2
):
    looked_at = _looked_at(k, num_present) if looked_at is None else looked_at
    per_scale = per_scale_of(moments, scale)
    centers, number = seeds(u[:, : _trials(k)], X, sample_weight, per_scale, power, looked_at, num_present)
    group = lambda index, X: jax.nn.one_hot(number[index], k, dtype=X.dtype)  # noqa: E731
    return _of_groups(family, X, sample_weight, centers, group)


def _mixed(u, X, sample_weight, moments, k, family, num_present=None, scale=None):
    kind, greedy = u[0, -1], _looked_at(k, num_present)
    looked_at = where(kind < GREEDY, _trials(k) if greedy is None else greedy, 1)
    power = where(kind < GREEDY + DISTANT, 2, 0)
    return _kmeans_plusplus(u, X, sample_weight, moments, k, family, num_present, scale, looked_at, power)


def _looked_at(k, num_present):
    """How many trials count where only some of the k components are present, ``None`` for all."""
    return None if num_present is None else jnp.array([_trials(max(1, j)) for j in range(k + 1)])[num_present]


def of_partition(resp, X, sample_weight, moments, family) -> Stats:
    """The statistics of the rows with responsibilities (n, k) of the caller's, about the means."""
    resp = where(sample_weight[:, None] > 0, resp, 0)
    about = lambda centers: _of_groups(family, X, sample_weight, centers, lambda index, X: resp[index])  # noqa: E731
    rough = about(jnp.broadcast_to(moments[0], (resp.shape[1], X.shape[1])))
    return about(rough.mean)  # about the mean of all rows far groups would lose digits


STARTS = {
    "mixed": _mixed,
    "kmeans": _kmeans,
    "kmeans_plusplus": _kmeans_plusplus,
    "random_points": _random_points,
    "random_resp": _random_resp,
}


def draws(name, num_rows, k):
    """The shape of the uniform numbers that a start is made of: the first of them are the same for any rows and k."""
    return (num_rows,) if name == "random_resp" else (k, MOST_TRIALS + (name == "mixed"))  # one for the kind
