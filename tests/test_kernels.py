"""The two kernels of the E-step give the same statistics, and the fast one runs only where it may."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import FAMILIES, close, random_data, random_gmm, tolerance

import jgmm
from jgmm._base.sweep import WHOLE, Sweep
from jgmm._expectation import kernels
from jgmm._expectation.kernels import affordable, cancellation, expectation, products, tolerated_loss, whitened
from jgmm._expectation.moments import frame_of

N, D, K = 211, 3, 4  # 211 is a multiple of no chunk size


@pytest.fixture(autouse=True, scope="module")
def no_problem_is_small():
    """Small problems take the safe kernel alone; here they all choose. Nothing compiled before may be used."""
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "SMALL", 0)
        yield
    jax.clear_caches()


fast = jax.jit(products, static_argnums=5)
within, either = jax.jit(affordable), jax.jit(expectation)


@partial(jax.jit, static_argnums=5)
def safe(params, factor, frame, X, sample_weight, sweep=WHOLE):
    """The safe kernel, which needs no frame."""
    return whitened(params, factor, X, sample_weight, sweep)


# The kernel loses no more than it says if what it is given was added up in several sums, as compilers do for users.
@partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
def prepared(params, X, weight):
    """The factor, the frame, and how many digits the fast kernel would lose."""
    factor, frame = params.cov.factor(), frame_of(type(params.cov), X, weight)
    return factor, frame, cancellation(params, factor, frame)


def problem(cov, dtype, seed=0):
    X, _ = random_data(seed, N, D, K, dtype)
    params = random_gmm(seed, K, D, cov, dtype)
    weight = jnp.asarray(np.random.default_rng(seed).integers(0, 3, N), dtype)
    return params, *prepared(params, X, weight)[:2], X, weight


@pytest.mark.parametrize("chunk", [None, 64])
def test_both_kernels_give_the_same_statistics(cov, dtype, chunk):
    case = problem(cov, dtype)
    loss = max(1.0, float(prepared(case[0], *case[3:])[2]) / 100)
    sweep = Sweep(chunk)
    close(fast(*case, sweep), safe(*case, sweep), dtype, loss=loss)


@pytest.mark.parametrize("cov", FAMILIES)
def test_both_kernels_give_the_same_gradient(cov):
    params, _, _, X, weight = problem(cov, "float64")

    def total(kernel):
        def value(params, X):
            stats = kernel(params, params.cov.factor(), X)
            return stats.log_prob + (stats.scatter**2).sum() + (stats.shift**2).sum()

        return jax.jit(jax.grad(value, (0, 1)))(params, X)

    ours = total(lambda p, f, X: products(p, f, frame_of(type(p.cov), X, weight), X, weight))
    close(ours, total(lambda p, f, X: whitened(p, f, X, weight)), "float64", loss=100)


def at_distance(cov, dtype, cancels):
    """Two narrow components so far apart that `cancellation` is ``cancels``, and rows near them."""
    apart = np.sqrt(cancels / D - 1)
    rng = np.random.default_rng(1)
    means = np.array([[-apart] * D, [apart] * D])
    X = (means[:, None] + rng.normal(size=(2, 50, D))).reshape(-1, D)
    eye = np.eye(D)
    values = {
        "full": lambda: jgmm.Full(np.array([eye, eye])),
        "tied": lambda: jgmm.Tied(eye),
        "diag": lambda: jgmm.Diag(np.ones((2, D))),
        "spherical": lambda: jgmm.Spherical(np.ones(2)),
    }[cov]()
    params = jgmm.GMM(np.array([0.5, 0.5]), means, values).astype(dtype)
    X = jnp.asarray(X, dtype)
    weight = jnp.ones(len(X), dtype)
    factor, frame, _ = prepared(params, X, weight)
    return params, factor, frame.recenter(jnp.zeros((1, D), dtype)), X, weight


def chosen(*case):
    """The kernel that the statistics of `expectation` came from, to the last bit."""
    stats = either(*case)
    same = [
        all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (stats, kernel(*case))), strict=True))
        for kernel in (fast, safe)
    ]
    assert same in ([True, False], [False, True])
    return "products" if same[0] else "whitened"


def test_at_the_edge_of_the_bound_the_fast_kernel_loses_no_more_than_it_says(cov, dtype):
    most = tolerated_loss(dtype) / np.finfo(dtype).eps
    inside, outside = (at_distance(cov, dtype, share * most) for share in (0.99, 1.01))
    assert within(*inside[:3])
    assert not within(*outside[:3])
    assert chosen(*inside) == "products"
    assert chosen(*outside) == "whitened"

    exact = safe(*jax.tree.map(lambda x: x.astype("float64"), inside))
    ours = fast(*inside)
    loss = tolerated_loss(dtype)
    per_row = abs(float(ours.log_prob) - float(exact.log_prob)) / len(inside[3])
    assert per_row <= loss
    covariance = type(inside[0].cov).estimate
    found, true = (
        covariance(s.recenter(s.mean).scatter, s.weight, jnp.zeros(D, s.weight.dtype)) for s in (ours, exact)
    )
    close(found, true, "float64", loss=4 * loss / tolerance("float64"))


def test_the_loss_is_real_beyond_the_bound(dtype):
    """The guard is needed: a hundred times further out the fast kernel is wrong by more than it may be."""
    case = at_distance("full", dtype, 1e4 * tolerated_loss(dtype) / np.finfo(dtype).eps)
    exact = safe(*jax.tree.map(lambda x: x.astype("float64"), case))
    wrong = abs(float(fast(*case).log_prob) - float(exact.log_prob)) / len(case[3])
    right = abs(float(expectation(*case).log_prob) - float(exact.log_prob)) / len(case[3])
    assert wrong > tolerated_loss(dtype) > right


def test_an_empty_component_does_not_decide():
    params, factor, frame, *_ = problem("full", "float64")
    far = params.means.at[0].set(1e9)
    assert not affordable(jgmm.GMM(params.weights, far, params.cov), factor, frame)
    assert affordable(jgmm.GMM(params.weights.at[0].set(0.0), far, params.cov), factor, frame)


def test_nan_is_not_affordable():
    params, factor, frame, *_ = problem("full", "float64")
    assert not affordable(jgmm.GMM(params.weights, params.means * jnp.nan, params.cov), factor, frame)


def test_under_vmap_one_kernel_runs_for_the_whole_batch():
    params, _, _, X, weight = problem("full", "float64")
    near = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    far = jgmm.GMM(near.weights, near.means.at[1, 0].add(1e6), near.cov)
    batched = jax.vmap(lambda params: jgmm.e_step(params, X, weight))
    text = str(jax.make_jaxpr(jax.vmap(batched))(jax.tree.map(lambda x: x[None], near)))
    assert "cond[" in text  # not turned into a select, whatever the depth
    for batch in (near, far):
        for lane in (0, 1):
            one = jgmm.e_step(jax.tree.map(lambda x, lane=lane: x[lane], batch), X, weight)
            close(jax.tree.map(lambda x, lane=lane: x[lane], batched(batch)), one, "float64", loss=1e4)


def hard(name):
    """Data and a start (weights, means, standard deviations) from DESIGN's hard list."""
    rng = np.random.default_rng(3)
    blobs = np.concatenate([rng.normal(size=(120, 2)), rng.normal(size=(80, 2)) + 4])
    means, std = np.array([[0.5, -0.5], [3.0, 3.5]]), np.ones((2, 2))
    if name == "offset":
        return blobs + 1e6, means + 1e6, std
    if name == "tight and wide":
        X = np.concatenate([1e-4 * rng.normal(size=(100, 2)) + 2, 1e4 * rng.normal(size=(100, 2))])
        return X, np.array([[2.0, 2.0], [10.0, -10.0]]), np.array([[2e-4] * 2, [2e4] * 2])
    if name == "scales":
        scale = np.array([1e-4, 1e4])
        return blobs * scale, means * scale, std * scale
    if name == "duplicates":
        return np.concatenate([np.repeat(blobs[:1], 100, 0), blobs]), means, std
    return blobs, means, std


def plain_loop(weights, means, covs, X, steps, dtype):
    """EM in float64, but for the means, which are kept in ``dtype`` as a result has to keep them.

    At an offset of 1e6 float32 holds a mean to 0.03 standard deviations only: that alone moves the
    covariances by 2.5e-3 in twenty steps, whatever the arithmetic is.
    """
    for _ in range(steps):
        _, resp = oracle.e_step(weights, means, covs, X)
        weights, means, covs = oracle.m_step(resp, X, "full")
        means = means.astype(dtype).astype(np.float64)
    return weights, means, covs


@pytest.mark.parametrize("name", ["well scaled", "offset", "tight and wide", "scales", "duplicates"])
def test_twenty_steps_agree_with_a_plain_loop_in_float64(name, dtype):
    X, means, std = (np.asarray(x, dtype) for x in hard(name))
    start = jgmm.GMM(np.full(2, 0.5), means, jgmm.Full(np.array([np.diag(s**2) for s in std]))).astype(dtype)
    exact = lambda x: np.asarray(x, np.float64)  # noqa: E731
    weights, mus, sigmas = plain_loop(np.full(2, 0.5), *map(exact, (start.means, start.covariances, X)), 20, dtype)
    fitted = jgmm.em(start, X, stop=jgmm.LogProbStop(0.0), max_steps=20).params

    most = {"float64": 1e-8, "float32": 1e-3}[dtype.name]
    sigma = np.sqrt(np.diagonal(sigmas, axis1=1, axis2=2))
    np.testing.assert_allclose(fitted.weights, weights, rtol=most)
    assert (np.abs(exact(fitted.means) - mus) <= most * np.maximum(sigma, np.abs(mus))).all()
    assert (np.abs(exact(fitted.covariances) - sigmas) <= most * sigma[:, :, None] * sigma[:, None, :]).all()
