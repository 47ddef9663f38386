"""Laws of the families whose components share volume, shape or orientation: each is an entry of `helpers.EIGEN`.

They are asked of M-steps from one set of statistics, on arrays: a fit costs its compilation.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import EIGEN, close, known_moments, penalised, raises, random_data, random_gmm, tolerance
from jax.flatten_util import ravel_pytree

import jgmm

N, D, K = 120, 3, 3
RIDGE = np.array([0.1, 0.2, 0.3])
# Every covariance model: which names hold it, and how many numbers it has.
COUNTS = {
    "EII": lambda k, d: 1,
    "VII": lambda k, d: k,
    "EEI": lambda k, d: d,
    "VEI": lambda k, d: k + d - 1,
    "EVI": lambda k, d: 1 + k * (d - 1),
    "VVI": lambda k, d: k * d,
    "EEE": lambda k, d: d * (d + 1) // 2,
    "EVE": lambda k, d: 1 + k * (d - 1) + d * (d - 1) // 2,
    "VEE": lambda k, d: k + d - 1 + d * (d - 1) // 2,
    "VVE": lambda k, d: k + k * (d - 1) + d * (d - 1) // 2,
    "EEV": lambda k, d: 1 + (d - 1) + k * d * (d - 1) // 2,
    "VEV": lambda k, d: k + (d - 1) + k * d * (d - 1) // 2,
    "EVV": lambda k, d: 1 - k + k * d * (d + 1) // 2,
    "VVV": lambda k, d: k * d * (d + 1) // 2,
}
WIDER = {"E": "EV", "V": "V", "I": "IEV"}  # what holds a letter: the identity is one shape and one orientation


@functools.cache
def stats(dtype="float64"):
    """Of three components, one of which overlaps the others."""
    return jgmm.e_step(random_gmm(0, K, D, "full", dtype), random_data(1, N, D, K, dtype)[0])


@functools.cache
def fitted(name, dtype="float64"):
    return jgmm.m_step(stats(dtype), name, ridge=RIDGE)


def numbers(cov):
    """The numbers of covariances as a vector, and the covariances of a vector, whose matrices are symmetric."""
    vector, unravel = ravel_pytree(cov)

    def build(vector):
        cov = unravel(vector)
        if isinstance(cov, jgmm.VEE | jgmm.EVV):
            cov = type(cov)(cov.volume, (cov.shape + jnp.swapaxes(cov.shape, -1, -2)) / 2)
        return cov

    return vector, build


@functools.cache
def moments():
    """Weight and scatter of the components, with the ridge."""
    return known_moments(stats(), RIDGE)


@pytest.mark.parametrize("name", EIGEN)
def test_the_m_step_is_a_maximum_among_members(name):
    """The slope vanishes along every number, and no member near it is better."""
    cov = fitted(name).cov
    vector, build = numbers(cov)
    moments()

    @jax.jit
    def value(vector):
        return penalised(build(vector).dense(K, D), *moments())

    best, slope = jax.jit(jax.value_and_grad(value))(vector)
    assert np.abs(slope).max() < 1e-5 * N  # what shared axes leave: an angle is found to the root of rounding
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 0.1):
        near = jnp.stack([vector * jnp.exp(size * rng.normal(size=vector.shape)) for _ in range(5)])
        assert (jax.jit(jax.vmap(value))(near) <= best).all()


@pytest.mark.parametrize("name", EIGEN)
def test_the_free_numbers_are_those_that_move_the_covariances(name):
    assert fitted(name).num_parameters == K - 1 + K * D + COUNTS[name](K, D)
    vector, build = numbers(fitted(name).cov)
    jacobian = jax.jit(jax.jacfwd(lambda vector: build(vector).dense(K, D).ravel()))(vector)
    assert np.linalg.matrix_rank(jacobian, rtol=1e-9) == COUNTS[name](K, D)


@pytest.mark.parametrize("name", COUNTS)
def test_mclusts_names_and_formulas(name):
    family = type(fitted(name).cov)
    for k, d in itertools.product((1, 2, 5), (1, 2, 6)):
        assert family.num_parameters(k, d) == COUNTS[name](k, d)
    assert family.__name__ == {"VII": "Spherical", "VVI": "Diag", "EEE": "Tied", "VVV": "Full"}.get(name, name)


def test_a_wider_family_fits_the_same_responsibilities_no_worse():
    values = {name: float(penalised(fitted(name).covariances, *moments())) for name in COUNTS}
    pairs = 0
    for one, other in itertools.permutations(COUNTS, 2):
        if all(b in WIDER[a] for a, b in zip(one, other, strict=True)):
            assert values[one] <= values[other] + 1e-9, (one, other)
            pairs += 1
    assert pairs > 40


@pytest.mark.parametrize("name", EIGEN)
def test_an_absent_component_costs_no_other_a_digit(name):
    s = stats()
    padded = [jnp.concatenate([x, jnp.zeros_like(x[:1])]) for x in (s.center, s.weight, s.shift, s.scatter)]
    more = jgmm.m_step(jgmm.Stats(*padded, s.total, s.log_prob), name, ridge=RIDGE)
    close(more.covariances[:K], fitted(name).covariances, "float64", loss=1e5 if name in ("EVE", "VVE") else 30)
    more.check()  # sound itself


@pytest.mark.parametrize("name", EIGEN)
def test_the_derivative_of_an_m_step_is_that_of_its_differences(name):
    s = stats()
    cov, rng = fitted(name).cov, np.random.default_rng(0)
    scatter = cov.form.reduced(s.scatter, K, D)
    change, weights = rng.normal(size=scatter.shape), rng.normal(size=cov.values(K, D).shape)
    change = jnp.asarray(change + np.swapaxes(change, 1, 2) if change.ndim == 3 else change)

    def number(scatter):
        return (cov.update(scatter, s.weight, RIDGE).values(K, D) * weights).sum()

    forward = jax.jit(lambda scatter: jax.jvp(number, (scatter,), (change,))[1])(scatter)
    reverse = (jax.jit(jax.grad(number))(scatter) * change).sum()
    ends = [jax.jit(number)(scatter + step * change) for step in (1e-4, -1e-4)]
    close(forward, (ends[0] - ends[1]) / 2e-4, "float64", loss=1e8)
    close(reverse, forward, "float64", loss=100)


@pytest.mark.parametrize("name", EIGEN)
def test_coordinates_lead_back_and_changes_are_projected(name):
    params = fitted(name)
    family = type(params.cov)
    close(
        jgmm.from_unconstrained(family, jgmm.to_unconstrained(params)).covariances, params.covariances, "float64", 1e4
    )

    @jax.jit
    def project(key):
        def along(values):
            return params.cov.tangent(params.cov.from_tangent(values, params.weights, D), K, D)

        root, shape = params.cov.factor(), family.form.shape(K, D)
        first, second = (
            root.absolute(jax.random.normal(key, shape).reshape(shape[0], -1), D) for key in jax.random.split(key)
        )
        inside, other = along(first), along(second)
        weight = params.weights[:, None]
        inner = weight * root.relative(first - inside, D) * root.relative(other, D)
        return inside, along(inside), inner.sum(), jnp.abs(inner).sum()

    inside, again, inner, size = project(jax.random.key(0))
    close(again, inside, "float64", loss=1e6)
    assert abs(inner) < 1e-6 * size


@pytest.mark.parametrize("name", EIGEN)
def test_float32_finds_the_same(name):
    got = fitted(name, "float32")
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype("float32")}
    # The angles of shared axes are found to the root of rounding; what that costs in likelihood is rounding.
    close(got.covariances, fitted(name).covariances, "float32", loss=30 if name in ("EVE", "VVE") else 3)
    values = [
        float(penalised(np.asarray(fitted(name, dtype).covariances, float), *moments()))
        for dtype in ("float32", "float64")
    ]
    assert abs(values[0] - values[1]) < tolerance("float32") * abs(values[1])


STAYS = {  # under marginals, scales of each feature, one scale, equal noise
    "EII": ("EII", "EEI", "EII", "EII"),
    "EEI": ("EEI", "EEI", "EEI", "EEI"),
    "VEI": ("VEI", "VEI", "VEI", "Diag"),
    "EVI": ("Diag", "EVI", "EVI", "Diag"),
    "VEE": ("VEE", "VEE", "VEE", "Full"),
    "EVV": ("Full", "Full", "EVV", "Full"),
    "EVE": ("Full", "Full", "EVE", "Full"),
    "VVE": ("Full", "Full", "VVE", "Full"),
    "EEV": ("Full", "Full", "EEV", "Full"),
    "VEV": ("Full", "Full", "VEV", "Full"),
}


@pytest.mark.parametrize("name", EIGEN)
def test_what_leaves_the_family_is_of_one_that_holds_it(name):
    params = fitted(name)
    full, point = jgmm.to_full(params), jnp.array([0.5])
    scales = jnp.arange(1.0, 1 + D)
    operations = [
        lambda params: jgmm.marginal(params, [2, 0]),
        lambda params: jgmm.affine(params, scales, 1.0),
        lambda params: jgmm.affine(params, 2.0, 1.0),
        lambda params: jgmm.convolve(params, 0.5),
        lambda params: jgmm.condition(params, [1], point),
        lambda params: jgmm.convolve(params, scales),
    ]
    for operation, family in itertools.zip_longest(operations, STAYS[name]):
        result, wanted = operation(params), operation(full)
        assert family is None or type(result.cov).__name__ == family
        close(
            (result.weights, result.means, result.covariances),
            (wanted.weights, wanted.means, wanted.covariances),
            "float64",
            loss=10,
        )


@pytest.mark.parametrize("name", EIGEN)
def test_numbers_next_to_a_member_are_one(name):
    """An accelerator's leap adds to the numbers: what comes of it has to be within the family."""
    params = fitted(name)
    vector, build = numbers(params.cov)
    moved = build(vector * (1 + 0.1 * np.random.default_rng(0).normal(size=vector.shape)))
    values = moved.values(K, D)
    again = type(moved).from_values(values, params.weights, D)
    close(again.values(K, D), values, "float64", loss=1e6 if name in ("EVE", "VVE") else 100)


def test_a_component_on_one_row_is_a_status():
    """Of variable volume it would collapse; of equal volume the rows of the others carry it."""
    X = jnp.concatenate([random_data(1, 40, D, 1)[0], jnp.full((1, D), 30.0)])
    means = jnp.stack([X[:40].mean(0), X[40]])
    statuses = {}
    for name in ("EEI", "VEI"):
        cov = jgmm.EEI(jnp.ones(D)) if name == "EEI" else jgmm.VEI(jnp.ones(2), jnp.ones(D))
        result = jgmm.em(jgmm.GMM(jnp.array([0.9, 0.1]), means, cov), X)
        assert jnp.isfinite(result.params.covariances).all()
        statuses[name] = jgmm.Status(int(result.status))
    assert statuses == {"EEI": jgmm.Status.CONVERGED, "VEI": jgmm.Status.DEGENERATE}


def test_a_part_of_another_family_is_refused():
    cov = jgmm.VVE(jnp.eye(D), jgmm.EEI(jnp.ones(D)))
    params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, D)), cov)
    raises(TypeError, ["VVE.var must be a jgmm.Diag, got EEI"], params.check)
    raises(ValueError, ["'VEV'", "got 'VIV'"], jgmm.m_step, stats(), "VIV")


@pytest.mark.parametrize("name", ["VEE", "EVE"])
def test_m_steps_that_iterate_are_the_same_side_by_side(name):
    s, cov = stats(), fitted(name).cov
    scatter = jnp.stack([s.scatter, 2 * s.scatter[::-1]])

    def update(scatter):
        return cov.update(scatter, s.weight, RIDGE).values(K, D)

    close(jax.jit(jax.vmap(update))(scatter), jnp.stack([jax.jit(update)(x) for x in scatter]), "float64", loss=1e5)


@pytest.mark.parametrize("name", ["VEV", "EVE"])
def test_the_derivative_of_a_fit_is_that_of_its_differences(name):
    X = random_data(1, N, D, K)[0]
    start = jgmm.em(fitted(name), X, stop=jgmm.LogProbStop(1e-15), accelerate="anderson").check().params

    def number(bend):
        result = jgmm.em(start, X * (1 + bend * X), stop=jgmm.LogProbStop(1e-18), max_steps=5000)
        return result.params.covariances[0, 0, 0] + result.params.means.sum()

    ends = [jax.jit(number)(bend) for bend in (1e-4, -1e-4)]
    close(jax.jit(jax.grad(number))(0.0), (ends[0] - ends[1]) / 2e-4, "float64", loss=1e7)
