"""`align` and `uncertainty`: components in another's order, and how sure their assignment of a row is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, case, close, raises, random_gmm
from scipy.optimize import linear_sum_assignment
from test_user_family import Equicorrelated
from values import assert_same

import jgmm
from jgmm._mixture.align import assignment


@jax.jit
def assign(cost):
    """The column of each row."""
    row_of, column_of = assignment(cost)
    return jnp.where((row_of[column_of] == jnp.arange(len(cost), dtype=row_of.dtype)).all(), column_of, -1)


def total(cost, column):
    return cost[np.arange(len(cost)), np.asarray(column)].sum()


def cost_table(kind, n, seed):
    rng = np.random.default_rng(seed)
    return {
        "uniform": lambda: rng.random((n, n)),
        "ties": lambda: rng.integers(3, size=(n, n)) * 1.0,
        "equal": lambda: np.ones((n, n)),
        "negative": lambda: rng.normal(size=(n, n)) - 5,
        "wide": lambda: np.exp(15 * rng.normal(size=(n, n))),
        "products": lambda: np.outer(rng.random(n), rng.random(n)),  # long paths
        "distances": lambda: np.abs(rng.normal(size=(n, 1)) - rng.normal(size=n)),
    }[kind]()


KINDS = ["uniform", "ties", "equal", "negative", "wide", "products", "distances"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_the_assignment_is_scipys(kind, n, dtype):
    for seed in range(20):
        cost = cost_table(kind, n, seed).astype(dtype)
        column = assign(jnp.asarray(cost))
        assert sorted(np.asarray(column)) == list(range(n))
        best = cost[linear_sum_assignment(cost)].sum()
        assert total(cost, column) <= best + 1e-5 * np.finfo(dtype).eps / np.finfo("float32").eps * abs(best)


def test_the_assignment_is_the_best_of_all():
    for seed in range(20):
        cost = cost_table("uniform", 5, seed)
        best = min(total(cost, order) for order in itertools.permutations(range(5)))
        assert total(cost, assign(jnp.asarray(cost))) == pytest.approx(best, rel=1e-14)


def test_many_assignments_at_once():
    costs = jnp.asarray([cost_table(kind, 7, 0) for kind in KINDS])
    found = jax.jit(jax.vmap(assign))(costs)
    for cost, column in zip(costs, found, strict=True):
        np.testing.assert_array_equal(column, assign(cost))


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_the_assignment_of_huge_and_tiny_costs(scale):
    cost = cost_table("uniform", 6, 0)
    np.testing.assert_array_equal(assign(jnp.asarray(cost * scale)), assign(jnp.asarray(cost)))


K, D = 5, 3


def chosen(params, order):
    """The components of these places, an obvious way."""
    cov = params.cov
    if not isinstance(cov, jgmm.Tied):
        cov = jax.tree.map(lambda leaf: leaf[np.asarray(order)], cov)
    return jgmm.GMM(params.weights[np.asarray(order)], params.means[np.asarray(order)], cov)


@pytest.mark.parametrize("cov", FAMILIES)
def test_any_order_is_brought_back_bit_for_bit(cov, dtype):
    params = random_gmm(1, K, D, cov, dtype)
    for order in list(itertools.permutations(range(K)))[::7]:
        assert_same(jgmm.align(chosen(params, order), params), params)


def distance(p, q, i, j):
    """Bhattacharyya's, of one pair, by NumPy."""
    S, T = np.asarray(p.covariances[i]), np.asarray(q.covariances[j])
    mean, diff = (S + T) / 2, np.asarray(p.means[i] - q.means[j])
    logs = [np.linalg.slogdet(matrix)[1] for matrix in (mean, S, T)]
    return diff @ np.linalg.solve(mean, diff) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2


SIZES = [(5, 3), (3, 5), (1, 4), (4, 1)]


@pytest.mark.parametrize(
    ("cov", "sizes"), [*((cov, (5, 5)) for cov in FAMILIES), *(("full", sizes) for sizes in SIZES)], ids=str
)
def test_the_order_is_that_of_scipy_on_the_distances(cov, sizes):
    for seed in range(4):
        p, q = (random_gmm(seed + 10 * side, k, D, cov) for side, k in enumerate(sizes))
        table = np.array([[distance(p, q, i, j) for j in range(q.num_components)] for i in range(p.num_components)])
        rows, columns = linear_sum_assignment(table)
        order = rows[np.argsort(columns)].tolist()
        order += [i for i in range(p.num_components) if i not in order]
        assert_same(jgmm.align(p, q), chosen(p, order))


def test_the_aligned_overlap_most():
    p, q = random_gmm(1, 4, D, "full"), random_gmm(2, 4, D, "full")
    costs = {o: sum(distance(p, q, i, j) for j, i in enumerate(o)) for o in itertools.permutations(range(4))}
    assert_same(jgmm.align(p, q), chosen(p, min(costs, key=costs.__getitem__)))


def test_two_fits_of_the_same_rows_are_brought_together():
    _, _, X, _ = case()
    start = random_gmm(3, 3, 2, "full")
    one, other = (jgmm.em(chosen(start, order), X, ridge=0.1).params for order in ([0, 1, 2], [2, 0, 1]))
    close(jgmm.align(other, one), one, "float64", loss=100)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_and_origin_do_not_matter(scale):
    p, q = random_gmm(1, K, D, "full"), random_gmm(2, K, D, "full")
    A = scale * jnp.diag(jnp.array([1.0, 1e3, 1e-3])) @ jnp.asarray(np.random.default_rng(0).normal(size=(D, D)))
    moved = [jgmm.affine(params, A, 10.0 * scale) for params in (p, q)]
    close(jgmm.align(*moved), jgmm.affine(jgmm.align(p, q), A, 10.0 * scale), "float64", loss=10)


def test_weights_play_no_part():
    p, q = random_gmm(1, K, D, "full"), random_gmm(2, K, D, "full")
    other = jgmm.GMM(q.weights[::-1], q.means, q.cov)
    assert_same(jgmm.align(p, q), jgmm.align(p, other))


def test_a_tight_component_beside_a_wide_one_is_told_from_it():
    params = jgmm.GMM(jnp.full(3, 1 / 3), jnp.zeros((3, 2)), jgmm.Spherical(jnp.array([1e-8, 1.0, 1e6])))
    assert_same(jgmm.align(chosen(params, [2, 0, 1]), params), params)


def test_near_ones_are_told_apart_beside_a_far_one(dtype):
    means = jnp.array([[0.0], [1e-2], [1e4]], dtype)
    params = jgmm.GMM(jnp.full(3, 1 / 3, dtype), means, jgmm.Spherical(jnp.ones(3, dtype)))
    for order in itertools.permutations(range(3)):
        assert_same(jgmm.align(chosen(params, order), params), params)


# Components of weight zero are absent.


def with_weights(params, weights):
    weights = jnp.asarray(weights, float)
    return jgmm.GMM(weights / weights.sum(), params.means, params.cov)


@pytest.mark.parametrize("place", range(4))
def test_an_absent_component_takes_no_part(place):
    """Wherever it lies, and however near it is to a component of the reference."""
    reference = with_weights(random_gmm(1, 4, D, "full"), [3, 2, 1, 0])
    order = [[3, 2, 0, 1], [1, 3, 0, 2], [2, 1, 3, 0], [0, 2, 1, 3]][place]
    given = chosen(reference, order)
    for near in range(3):
        means = given.means.at[place].set(reference.means[near])
        aligned = jgmm.align(jgmm.GMM(given.weights, means, given.cov), reference)
        np.testing.assert_array_equal(aligned.weights, reference.weights)
        np.testing.assert_array_equal(aligned.means[:3], reference.means[:3])


def test_components_without_a_partner_take_the_places_that_are_left_in_their_order():
    reference = with_weights(random_gmm(1, 4, D, "full"), [0, 2, 0, 1])
    params = chosen(with_weights(reference, [5, 2, 3, 1]), [3, 2, 1, 0])  # all four are there
    aligned = jgmm.align(params, reference)
    np.testing.assert_array_equal(aligned.means[jnp.array([1, 3])], reference.means[jnp.array([1, 3])])
    np.testing.assert_array_equal(aligned.means[jnp.array([0, 2])], params.means[jnp.array([1, 3])])
    # and where the reference has more
    fewer = jgmm.align(reference, params)
    np.testing.assert_array_equal(fewer.weights > 0, [True, False, True, False])
    np.testing.assert_array_equal(fewer.means[jnp.array([0, 2])], reference.means[jnp.array([3, 1])])


# JAX.


def test_it_maps_over_fits_and_compiles():
    reference = random_gmm(1, K, D, "full")
    orders = list(itertools.permutations(range(K)))[::17]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[chosen(reference, order) for order in orders])
    aligned = jax.jit(jax.vmap(jgmm.align, in_axes=(0, None)))(batch, reference)
    for index in range(len(orders)):
        assert_same(jax.tree.map(lambda leaf, index=index: leaf[index], aligned), reference)


def test_derivatives_are_those_of_the_chosen_components():
    p, q = random_gmm(1, 3, D, "diag"), random_gmm(2, 3, D, "diag")
    gradient = jax.grad(lambda p: (jgmm.align(p, q).means * jnp.arange(3.0)[:, None]).sum())(p)
    places = jnp.asarray([int(jnp.argmin(jnp.abs(jgmm.align(p, q).means - mean[None]).sum(1))) for mean in p.means])
    close(gradient.means, np.repeat(np.asarray(places, float)[:, None], D, 1), "float64")


def test_trouble_inside_jit_ends_in_numbers():
    """And not in a loop without an end."""
    params = random_gmm(1, K, D, "full")
    for bad in (jnp.nan, jnp.inf, -1.0):
        broken = jgmm.GMM(params.weights, params.means, jgmm.Full(params.cov.cov.at[2].set(bad)))
        aligned = jax.jit(jgmm.align)(broken, chosen(params, [1, 0, 4, 3, 2]))
        np.testing.assert_array_equal(aligned.means, params.means[jnp.array([1, 0, 4, 3, 2])])


def test_a_family_of_the_users_own_and_numpys_arrays():
    cov = Equicorrelated(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.1, 0.2, 0.3]), D)
    params = jgmm.GMM(jnp.array([0.2, 0.3, 0.5]), jnp.zeros((3, D)), cov)
    assert_same(jgmm.align(chosen(params, [1, 2, 0]), params), params)
    assert_same(jgmm.align(jax.tree.map(np.asarray, chosen(params, [1, 2, 0])), params), params)


def test_mixtures_of_other_features_are_refused():
    raises(
        ValueError, ["same features", "3 and 2"], jgmm.align, random_gmm(1, 2, 3, "full"), random_gmm(1, 2, 2, "full")
    )


def test_two_families_can_be_compared(dtype):
    p, q = random_gmm(1, K, D, "full", dtype), random_gmm(1, K, D, "diag", "float64")
    assert_same(jgmm.align(chosen(p, [4, 2, 0, 1, 3]), q), p)


# Uncertainty.


@pytest.mark.parametrize("cov", FAMILIES)
def test_it_is_one_minus_the_largest_responsibility(cov, dtype):
    _, params, X, _ = case(cov=cov, dtype=dtype)
    expected = 1 - jgmm.responsibilities(params, X).max(1)
    close(jgmm.uncertainty(params, X), expected, dtype, scale=1.0)
    close(jgmm.uncertainty(params, X[3]), expected[3], dtype, scale=1.0)


def test_a_confident_row_keeps_its_digits(dtype):
    params = jgmm.GMM(jnp.array([0.25, 0.75]), jnp.array([[-1.0], [1.0]]), jgmm.Spherical(jnp.ones(2)))
    x = np.array([[-30.0], [-23.0], [-1.0], [1.0], [23.0], [30.0]])
    odds = np.exp(-2 * np.abs(x[:, 0])) * np.where(x[:, 0] < 0, 3, 1 / 3)
    found = np.asarray(jgmm.uncertainty(params, x.astype(dtype)), float)
    np.testing.assert_allclose(found, odds / (1 + odds), rtol=1e-5 if dtype == "float32" else 1e-13)
    assert found.min() < 1e-25


def test_it_is_largest_where_all_are_equally_likely():
    params = jgmm.GMM(jnp.full(4, 0.25), jnp.zeros((4, 2)), jgmm.Spherical(jnp.ones(4)))
    close(jgmm.uncertainty(params, jnp.ones((3, 2))), jnp.full(3, 0.75), "float64")


def test_one_component_is_certain_and_what_is_no_mixture_is_not():
    params = random_gmm(0, 1, 2, "full")
    np.testing.assert_array_equal(jgmm.uncertainty(params, jnp.ones((3, 2))), 0)
    broken = jgmm.GMM(params.weights, params.means * jnp.nan, params.cov)
    assert jnp.isnan(jax.jit(jgmm.uncertainty)(broken, jnp.ones((3, 2)))).all()


def test_an_absent_component_is_never_the_answer():
    params = random_gmm(0, 3, 2, "full")
    more, X = chosen(params, [0, 1, 2, 0]), case()[2]
    more = jgmm.GMM(more.weights.at[3].set(0), more.means, more.cov)
    close(jgmm.uncertainty(more, X), jgmm.uncertainty(params, X), "float64", scale=1.0)
