"""The components of a mixture in the order of another's: the number that a fit gives to each is a matter of chance.

    min over orders s of sum_j c(s(j), j),    c(i, j) = -log int sqrt(p_i(x) q_j(x)) dx

The cost c is Bhattacharyya's distance of component i of one mixture and j of the other, in closed form for Gaussians
(Kailath 1967). It does not change with the units of the features, nor under any other affine map.
"""

import jax
import jax.numpy as jnp

from jgmm._base.programs import program
from jgmm._base.types import where
from jgmm._covariance.factor import TriangularFactor, matmul
from jgmm._mixture.algebra import as_pair
from jgmm._mixture.gmm import GMM
from jgmm._mixture.validity import check_mixture


def assignment(cost: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The row (n,) of each column, and the column of each row, at the least sum of costs (n, n), finite numbers.

    The Hungarian method, O(n^3): rows are placed one after the other, each by a shortest path in reduced costs, along
    which those placed before move (Jonker & Volgenant 1987; Crouse 2016).
    """
    n = len(cost)
    index = jnp.arange(n, dtype=jnp.int32)

    def place(row, state):
        u, v, row_of, column_of = state  # reduced costs are cost - u - v; what is free has -1

        def extend(path):
            i, reached, shortest, via, done, _ = path
            length = reached + cost[i] - u[i] - v
            shorter = ~done & (length < shortest)
            shortest, via = where(shorter, length, shortest), where(shorter, i, via)
            j = jax.lax.argmin(where(done, jnp.inf, shortest), 0, jnp.int32)
            return row_of[j], shortest[j], shortest, via, done | (index == j), j

        nowhere, unknown = jnp.full_like(index, -1), jnp.full_like(v, jnp.inf)
        start = row, jnp.zeros_like(v[0]), unknown, nowhere, jnp.zeros_like(index, bool), row
        _, reached, shortest, via, done, free = jax.lax.while_loop(lambda path: path[0] >= 0, extend, start)
        slack = where(done, reached - shortest, 0)  # zero where no row is, so that -1 below adds nothing
        u, v = u.at[row].add(reached).at[row_of].add(slack), v - slack

        def step_back(state):
            j, _, row_of, column_of = state
            i = via[j]
            return column_of[i], i, row_of.at[j].set(i), column_of.at[i].set(j)

        start = free, nowhere[0], row_of, column_of
        return u, v, *jax.lax.while_loop(lambda state: state[1] != row, step_back, start)[2:]

    nothing = jnp.full_like(index, -1)
    zeros = jnp.zeros_like(cost[0])
    return jax.lax.fori_loop(jnp.int32(0), jnp.int32(n), place, (zeros, zeros, nothing, nothing))[2:]


def _distance(p, q):
    """Bhattacharyya's distance (k, l) of the components of two mixtures: |z|^2 / 8 + log det ratios, from one
    factorisation of all covariances."""
    (k, d), own = p.means.shape, (p.covariances, q.covariances)
    both = ((own[0][:, None] + own[1][None]) / 2).reshape(-1, d, d)
    factor = TriangularFactor.of(jnp.concatenate([both, *own]))
    half_log_det = factor.half_log_det(d)
    diff = (p.means[:, None] - q.means[None]).reshape(-1, d, 1)
    squared = (matmul(factor.inverse[: len(both)], diff) ** 2).sum((1, 2))
    of_both, of_own = half_log_det[: len(both)], half_log_det[len(both) :]
    pairs = (squared / 8 + of_both).reshape(k, -1)
    return pairs - (of_own[:k, None] + of_own[None, k:]) / 2


def _order(p, q):
    """The components (k,) of p in the order of those of q."""
    k, n = p.num_components, max(p.num_components, q.num_components)
    cost = jax.lax.stop_gradient(_distance(p, q))
    # In an n x n table the one that has fewer, and components of weight zero, are absent.
    there = [jnp.pad(mixture.weights > 0, (0, n - len(mixture.weights))) for mixture in (p, q)]
    rows, columns = there[0][:, None], there[1][None]
    cost = jnp.pad(cost, [(0, n - size) for size in cost.shape])
    valid = rows & columns & jnp.isfinite(cost)
    largest = where(valid, cost, 0).max()
    share = cost / where(largest > 0, largest, 1)
    # As many are matched as can be: of the side that has fewer none goes to an absent partner.
    forbidden = where(there[0].sum() >= there[1].sum(), ~rows & columns, rows & ~columns)
    penalty = where(rows & columns, 2, where(forbidden, 2 * n + 1, 0)).astype(cost.dtype)
    row_of, column_of = assignment(where(valid, share, penalty))

    # The others, in their own order, take the places that are left.
    others = jnp.argsort(there[0] & there[1][column_of], stable=True).astype(row_of.dtype)
    left = ~(there[1] & there[0][row_of])
    order = where(left, others[jnp.cumsum(left) - 1], row_of)
    return order if k == n else order[jnp.argsort(order >= k, stable=True)[:k]]


@program()
def _align(params, reference):
    order = _order(*as_pair(params, reference))
    cov = params.cov.reordered(order, params.num_features)
    return GMM(params.weights[order], params.means[order], cov)


def align(params: GMM, reference: GMM) -> GMM:
    """The same mixture with its components in the order that matches a reference best.

    Of all orders the one of the least sum of Bhattacharyya distances between the components that meet,

        -log int sqrt(p q) = |L^-1 (mu - nu)|^2 / 8 + log(det M / sqrt(det S det T)) / 2,   M = (S + T) / 2 = L L^T

    (Kailath 1967), by the Hungarian method (O(k^3)): at this order the two mixtures overlap most. It does not
    depend on the units of the features, nor on the weights. Works under ``jit`` and, for many fits, ``jax.vmap``.

    Args:
        params: the mixture, of k components.
        reference: a mixture of l components in the same features. Where k > l, those that match none follow in their
            own order; where k < l, all stand in the order of their partners. A component of weight zero is absent:
            it matches none, and takes a place that is left.

    Returns:
        `GMM`: the numbers of ``params``, bit for bit, its components in another order.

    Raises:
        ValueError, TypeError: one is no mixture, or they do not have the same features.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> one, two = jnp.array([[0.0], [5.0]]), jnp.array([[5.1], [-0.2]])
        >>> p, q = (jgmm.GMM(jnp.array([0.3, 0.7]), means, jgmm.Spherical(jnp.ones(2))) for means in (one, two))
        >>> print(jgmm.align(p, q).means.ravel(), jgmm.align(p, q).weights)
        [5. 0.] [0.7 0.3]
    """
    check_mixture(params)
    check_mixture(reference)
    as_pair(params, reference)
    return _align(params, reference)
