"""The narrow waist: everything that reads data makes `Stats`, everything that learns uses them.

Weighted moments of the rows about a reference point for each component: additive as raw moments
are, and stable as Welford's are, because nothing far from a component's centre is ever squared.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jgmm._base.arrays import on_device
from jgmm._base.programs import program
from jgmm._base.pytree import public, pytree, zeros_of
from jgmm._base.types import where
from jgmm._covariance.factor import matmul
from jgmm._covariance.forms import over_rows
from jgmm._covariance.projection import Projection
from jgmm._mixture.units import rescaled


def _products(a, b, like) -> Any:
    """a_k b_k^T for rows a, b (k, d), reduced to the form of a scatter ``like`` this."""
    if isinstance(like, Projection):
        return like.products(a, b)
    shape = like.shape
    full = len(shape) == 3
    product = a[:, :, None] * b[:, None, :] if full else a * b
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and product.shape[i] != 1)
    return product.sum(axes, keepdims=True)


@pytree
@public
class Stats:
    """Sufficient statistics of weighted rows x_n with responsibilities r_nk and row weights s_n.

    Args:
        center: (k, d) reference point c_k of each component, data units.
        weight: (k,) N_k = sum_n s_n r_nk.
        shift: (k, d) sum_n s_n r_nk (x_n - c_k).
        scatter: sum_n s_n r_nk (x_n - c_k)(x_n - c_k)^T, (k, d, d); its sum over components
            (1, d, d) for tied, its diagonal (k, d) for diag, the diagonal's sum (k, 1) for spherical. For
            ``lowrank(q, wide=True)`` its diagonal and its product with what makes the factors of a row (k, d, q + 1).
        total: () sum_n s_n.
        log_prob: () sum_n s_n log p(x_n), nats, under the parameters that made the responsibilities.

    ``a + b`` are the statistics of both sets of rows, whatever parameters each was collected with;
    ``c * a`` weighs every row by c; ``0 * a`` is the identity of the sum and ``sum([...])`` works. Running statistics
    S that forget are ``S = 0.9 * S + s``.

    Warning: never add leaf by leaf. ``jax.tree.map(lambda a, b: 0.9 * a + b, S, s)`` raises nothing and is wrong: it
    decays and adds the centres too, and moments about different centres have no sum. ``psum`` is right only where
    all have the centre of one ``e_step``, and of every leaf but ``center``.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> X = jnp.arange(6.0).reshape(6, 1)
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Full(jnp.ones((1, 1, 1))))
        >>> stats = jgmm.e_step(params, X[:2]) + jgmm.e_step(params, X[2:])
        >>> float(stats.total), float(stats.mean[0, 0])
        (6.0, 2.5)
    """

    center: jax.Array
    weight: jax.Array
    shift: jax.Array
    scatter: Any  # an array, or a `Projection`
    total: jax.Array
    log_prob: jax.Array

    # NumPy scalars and arrays on the left leave `*` to this class.
    __array_ufunc__ = None

    @property
    def mean(self) -> jax.Array:
        """The weighted mean of each component's rows (k, d); the centre where no row has weight."""
        return _mean(self)

    def recenter(self, center: jax.Array) -> "Stats":
        """The same statistics about other reference points (k, d)."""
        delta = self.center - center  # x - center = (x - self.center) + delta
        moved = self.weight[:, None] * delta
        like = self.scatter
        cross = _products(self.shift, delta, like) + _products(delta, self.shift, like)
        return Stats(
            center,
            self.weight,
            self.shift + moved,
            self.scatter + cross + _products(moved, delta, like),
            self.total,
            self.log_prob,
        )

    def in_units(self, units) -> "Stats":
        """The same statistics of features in other units: x'_j = u_j x_j, for factors u (d,)."""
        units = jnp.asarray(units)
        return Stats(
            self.center * units[None],
            self.weight,
            self.shift * units[None],
            rescaled(self.scatter, units),
            self.total,
            self.log_prob - self.total * jnp.log(units).sum(),
        )

    def __add__(self, other: "Stats") -> "Stats":
        if not isinstance(other, Stats):
            return NotImplemented
        other = other.recenter(self.center)
        return Stats(
            self.center,
            self.weight + other.weight,
            self.shift + other.shift,
            self.scatter + other.scatter,
            self.total + other.total,
            self.log_prob + other.log_prob,
        )

    def __radd__(self, other: "Stats | int") -> "Stats":
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __mul__(self, factor: float | jax.Array) -> "Stats":
        if not isinstance(factor, jax.Array):
            factor = on_device(factor, self.weight.dtype)
        rest = [self.weight, self.shift, self.scatter, self.total, self.log_prob]
        return Stats(self.center, *[factor * value for value in rest])

    __rmul__ = __mul__


@program()
def _mean(stats):
    occupied = stats.weight > 0
    weight = where(occupied, stats.weight, 1)[:, None]
    return stats.center + where(occupied[:, None], stats.shift / weight, 0)


def collect(form, diff, center, resp, log_prob, sample_weight) -> Stats:
    """The statistics of one chunk of rows.

    Args:
        form: of the scatter that is kept.
        diff: (k, d, m) residuals x - center.
        center: (k, d).
        resp: (k, m) responsibilities.
        log_prob: (m,) log density of each row.
        sample_weight: (m,).
    """
    weight = resp * sample_weight[None]
    return Stats(
        jnp.zeros_like(center),  # chunks add up leaf by leaf; the caller puts the centre in
        matmul(weight, jnp.ones_like(sample_weight)),
        over_rows(weight, diff),
        form.scatter(weight, diff),
        sample_weight.sum(),
        (sample_weight * log_prob).sum(),  # a product would round more than a fit may lose
    )


def added(sums: Stats, stats: Stats) -> Stats:
    """The sum of statistics collected under one mixture: leaf by leaf, but for what they are about."""
    both = jax.tree.map(jnp.add, sums, stats)
    scatter = both.scatter
    if isinstance(scatter, Projection):
        scatter = dataclasses.replace(stats.scatter, moments=scatter.moments)
    return dataclasses.replace(both, center=stats.center, scatter=scatter)


def no_scatter(params, factor):
    """Zeros in place of the scatter that an E-step would collect."""

    def scatter(weight, diff):
        form = params.cov.collects(factor)
        return form.whole(form.scatter(weight, diff))

    return zeros_of(scatter, params.weights[:, None], params.means[:, :, None])
