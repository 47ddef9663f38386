"""Inside jit the same trouble ends in a status, never in an exception and never in "converged"."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, close, random_data, random_gmm

import jgmm
from jgmm import ComponentStatus, FitError, Status

N, D, K = 24, 2, 2
KEY = jax.random.key(0)
ONES = jnp.ones(N)
X = random_data(0, N, D, K)[0]


@jax.jit
def jit_em(params, X, weight, max_steps, ridge, tol):
    return jgmm.em(params, X, weight, max_steps=max_steps, ridge=ridge, stop=jgmm.LogProbStop(tol))


@jax.jit
def jit_fit(X, weight):
    return jgmm.fit(KEY, X, K, num_init=2, sample_weight=weight)


def em(params, X, weight=None, max_steps=100, ridge=0.0):
    return jit_em(params, X, jnp.ones(len(X)) if weight is None else weight, max_steps, ridge, 1e-8)


def name(result):
    return Status(int(result.status)).name


def finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


BAD_DATA = {
    "NaN": (X.at[3, 0].set(jnp.nan), ONES),
    "inf": (X.at[3, 0].set(jnp.inf), ONES),
    "all NaN": (X * jnp.nan, ONES),
    "one negative weight": (X, ONES.at[3].set(-0.5)),
    "negative weights": (X, -ONES),
    "zero weights": (X, 0 * ONES),
    "NaN weight": (X, ONES.at[3].set(jnp.nan)),
    "inf weight": (X, ONES.at[3].set(jnp.inf)),
}


@pytest.mark.parametrize("bad", BAD_DATA)
def test_bad_data_end_em_before_its_first_step(bad, dtype):
    params = random_gmm(0, K, D, "full", dtype)
    X, weight = (array.astype(dtype) for array in BAD_DATA[bad])
    result = em(params, X, weight)
    assert name(result) == "INVALID_DATA"
    assert not result.converged
    assert int(result.num_steps) == 0
    close(result.params, params, dtype)


@pytest.mark.parametrize("bad", BAD_DATA)
def test_bad_data_end_every_start_of_a_fit(bad):
    result = jit_fit(*BAD_DATA[bad])
    assert name(result) == "INVALID_DATA"
    assert not result.converged
    assert (result.restarts.status == Status.INVALID_DATA).all()


def test_good_data_converge_in_the_same_programs():
    assert name(em(random_gmm(0, K, D, "full"), X)) == "CONVERGED"
    assert name(jit_fit(X, ONES)) == "CONVERGED"


def test_bad_data_in_rows_of_weight_zero_do_not_matter():
    bad, weight = X.at[3].set(jnp.nan), ONES.at[3].set(0)
    clean = em(random_gmm(0, K, D, "full"), X, weight)
    assert name(clean) == "CONVERGED"
    close(em(random_gmm(0, K, D, "full"), bad, weight), clean, "float64")


BAD_STARTS = {
    "weights of sum 2": lambda p: dataclasses.replace(p, weights=2 * p.weights),
    "negative weight": lambda p: dataclasses.replace(p, weights=jnp.array([-0.5, 1.5])),
    "NaN weight": lambda p: dataclasses.replace(p, weights=p.weights * jnp.nan),
    "NaN mean": lambda p: dataclasses.replace(p, means=p.means.at[1, 0].set(jnp.nan)),
    "negative covariance": lambda p: dataclasses.replace(p, cov=jax.tree.map(lambda c: -c, p.cov)),
    "zero covariance": lambda p: dataclasses.replace(p, cov=jax.tree.map(lambda c: 0 * c, p.cov)),
    "NaN covariance": lambda p: dataclasses.replace(p, cov=jax.tree.map(lambda c: c * jnp.nan, p.cov)),
    "inf covariance": lambda p: dataclasses.replace(p, cov=jax.tree.map(lambda c: jnp.abs(c) * jnp.inf, p.cov)),
}


@pytest.mark.parametrize("bad", BAD_STARTS)
def test_a_start_that_is_no_mixture_is_named(bad, cov):
    for max_steps in (0, 100):
        result = em(BAD_STARTS[bad](random_gmm(0, K, D, cov)), X, max_steps=max_steps)
        assert name(result) == "INVALID_START"
        assert int(result.num_steps) == 0


@pytest.mark.parametrize("cov", ["full", "tied"])
def test_an_asymmetric_covariance_is_no_start(cov, dtype):
    start = random_gmm(0, K, D, cov, dtype)

    def sheared(amount):
        return dataclasses.replace(start, cov=jax.tree.map(lambda c: c.at[..., 0, 1].add(amount), start.cov))

    assert name(em(sheared(0.1), X.astype(dtype))) == "INVALID_START"
    # What rounding in float32 leaves is no asymmetry.
    assert name(em(sheared(1e-6), X.astype(dtype))) == "CONVERGED"


@pytest.mark.parametrize("steps", [0, 1])
def test_the_step_limit_is_kept_and_named(steps, cov):
    start = random_gmm(0, K, D, cov)
    result = em(start, X, max_steps=steps)
    assert name(result) == "MAX_STEPS"
    assert int(result.num_steps) == steps
    close(result.params, jgmm.step(start, X) if steps else start, "float64", loss=10)
    close(result.stats.log_prob, jgmm.log_prob(result.params, X).sum(), "float64", loss=10)


def huge(scale):
    X32 = X.astype("float32") / 16 * np.float32(scale)
    assert np.isfinite(X32).all()
    return X32


@pytest.mark.parametrize("scale", [1e20, 1e30, 1e38])
def test_overflow_in_em_is_never_converged(scale, cov):
    result = em(random_gmm(0, K, D, cov, "float32"), huge(scale))
    assert name(result) in ("NON_FINITE", "INVALID_DATA")
    assert not result.converged
    assert finite(result.params)


@pytest.mark.parametrize("scale", [1e20, 1e30, 1e38])
def test_overflow_in_fit_is_never_converged(scale):
    result = jit_fit(huge(scale), ONES.astype("float32"))
    assert not result.converged
    assert name(result) == "INVALID_DATA"
    with pytest.raises(FitError, match=name(result)):
        result.check()


@pytest.mark.parametrize("ridge", [np.nan, np.inf, -1e6])
def test_a_bad_ridge_is_never_converged(ridge):
    result = em(random_gmm(0, K, D, "full"), X, ridge=ridge)
    assert not result.converged
    assert finite(result.params)


def test_one_bad_data_set_of_a_batch_fails_alone():
    params = random_gmm(0, K, D, "full")
    batch = jnp.stack([X, X.at[0, 0].set(jnp.nan), X + 1])
    results = jax.vmap(lambda X: em(params, X))(batch)
    assert [Status(int(s)).name for s in results.status] == ["CONVERGED", "INVALID_DATA", "CONVERGED"]
    close(jax.tree.map(lambda leaf: leaf[0], results), em(params, X), "float64", loss=100)


# A component at rows that all coincide collapses; one far from every row is empty. The others are
# so far away that they must be as if fitted alone.
FAR = 200.0
BLOB = X - X.mean(0)[None] + 1
COLLAPSING = jnp.concatenate([BLOB, jnp.full((8, D), FAR)])


def pair(cov, place=FAR):
    """One component at the origin, one at ``place``, unit covariances of the family ``cov``."""
    unit = {
        "full": jnp.eye(D)[None].repeat(2, 0),
        "tied": jnp.eye(D),
        "diag": jnp.ones((2, D)),
        "spherical": jnp.ones(2),
    }
    cov = jax.tree.map(lambda _: unit[cov], random_gmm(0, K, D, cov).cov)
    return jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[0.0] * D, [place] * D]), cov)


def first(params):
    """The first component as a mixture of its own."""
    values = jax.tree.map(lambda c: c if isinstance(params.cov, jgmm.Tied) else c[:1], params.cov)
    return jgmm.GMM(params.weights[:1], params.means[:1], values)


def alone(cov, ridge=0.0):
    return jgmm.em(first(dataclasses.replace(pair(cov), weights=jnp.ones(2))), BLOB, ridge=ridge).params


@pytest.mark.parametrize("cov", ["full", "diag", "spherical"])
def test_a_collapsed_component_is_floored_by_the_ridge(cov):
    result = em(pair(cov), COLLAPSING, ridge=1e-6)
    assert name(result) == "DEGENERATE"
    assert result.component_status.tolist() == [ComponentStatus.OK, ComponentStatus.FLOORED]
    close(result.params.covariances[1], 1e-6 * np.eye(D), "float64")
    close(result.params.means[1], np.full(D, FAR), "float64")
    close(first(result.params), dataclasses.replace(alone(cov, 1e-6), weights=np.array([N / (N + 8)])), "float64", 10)


@pytest.mark.parametrize("cov", ["full", "diag", "spherical"])
def test_a_ridge_of_the_size_of_the_data_floors_nothing(cov):
    """It is there to keep components wide; that a larger one has an even larger share in them is no failure."""
    variance = COLLAPSING.var(0).max()
    below, above = (em(pair(cov), COLLAPSING, ridge=share * variance) for share in (0.005, 0.02))
    assert name(below) == "DEGENERATE"
    assert name(above) == "CONVERGED"
    assert not above.component_status.any()
    close(above.params.covariances[1], 0.02 * variance * np.eye(D), "float64")


@pytest.mark.parametrize("cov", ["full", "diag", "spherical"])
def test_a_collapsed_component_without_ridge_keeps_its_covariance(cov):
    result = em(pair(cov), COLLAPSING)
    assert name(result) == "DEGENERATE"
    assert result.component_status.tolist() == [ComponentStatus.OK, ComponentStatus.KEPT]
    close(result.params.covariances[1], np.eye(D), "float64")
    close(result.params.means[1], np.full(D, FAR), "float64")
    close(first(result.params), dataclasses.replace(alone(cov), weights=np.array([N / (N + 8)])), "float64", 10)


def test_a_tied_covariance_is_not_collapsed_by_one_component():
    result = em(pair("tied"), COLLAPSING)
    assert name(result) == "CONVERGED"
    close(result.params.cov.cov, np.cov(X.T, bias=True) * N / (N + 8), "float64", 10)


def test_a_tied_covariance_collapses_for_all_components_at_once():
    result = em(pair("tied"), jnp.concatenate([jnp.zeros((N, D)), jnp.full((8, D), FAR)]))
    assert name(result) == "DEGENERATE"
    assert result.component_status.tolist() == [ComponentStatus.KEPT] * 2
    close(result.params.cov.cov, np.eye(D), "float64")
    close(result.params.weights, np.array([N, 8]) / (N + 8), "float64")


@pytest.mark.parametrize("cov", FAMILIES)
def test_an_empty_component_keeps_its_place_and_leaves_the_others_alone(cov):
    start = pair(cov, place=1e6)
    result = em(start, BLOB)
    assert name(result) == "DEGENERATE"
    assert result.component_status.tolist() == [ComponentStatus.OK, ComponentStatus.EMPTY]
    assert result.params.weights.tolist() == [1.0, 0.0]
    close(result.params.means[1], start.means[1], "float64")
    if cov != "tied":
        close(result.params.covariances[1], np.eye(D), "float64")
    close(first(result.params), alone(cov), "float64", 10)
    assert finite(result.params)


def test_a_failed_fit_raises_with_the_status_and_the_remedy():
    result = em(random_gmm(0, K, D, "full"), X, max_steps=1)
    with pytest.raises(FitError, match=r"^MAX_STEPS after 1 steps: .*Raise max_steps or the tolerance"):
        result.check()
    collapsed = em(pair("full"), COLLAPSING)
    with pytest.raises(FitError, match=r"^DEGENERATE .*Use fewer components.* Component 1: .*kept the last good"):
        collapsed.check()


@pytest.mark.parametrize("code", [status for status in Status if status != Status.CONVERGED])
def test_every_failure_raises_with_its_own_message(code):
    result = dataclasses.replace(em(random_gmm(0, K, D, "full"), X), status=jnp.int32(code))
    assert not result.converged
    with pytest.raises(FitError) as caught:
        result.check()
    assert code.name in str(caught.value)
    assert code.message in str(caught.value)


def test_a_good_result_is_returned_by_check():
    result = em(random_gmm(0, K, D, "full"), X)
    assert result.check() is result


def test_a_batch_raises_with_a_count_of_each_status_and_the_remedy_of_the_worst():
    params = random_gmm(0, K, D, "full")
    batch = jnp.stack([X, X + 1, X.at[0, 0].set(jnp.nan)])
    good = jax.vmap(lambda X: em(params, X))(batch[:2])
    assert good.check() is good
    with pytest.raises(FitError, match=r"^Of 3 fits: CONVERGED 2, INVALID_DATA 1\. INVALID_DATA: .*Mend the rows"):
        jax.vmap(lambda X: em(params, X))(batch).check()


def test_check_inside_jit_says_to_call_it_outside():
    with pytest.raises(TypeError, match="outside jit"):
        jax.jit(lambda X: jgmm.em(random_gmm(0, K, D, "full"), X).check())(X)


@pytest.mark.parametrize("codes", [Status, ComponentStatus])
def test_every_status_has_a_message_of_its_own(codes):
    messages = {code.message for code in codes}
    assert len(messages) == len(codes)
    assert min(map(len, messages)) > 10
    assert [int(code) for code in codes] == list(range(len(codes)))
