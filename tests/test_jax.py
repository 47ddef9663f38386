"""Composition with JAX: jit, vmap, grad, dtypes, chunks."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import K, case, close
from jax.flatten_util import ravel_pytree
from scipy.stats import multivariate_normal

import jgmm
from jgmm import LogProbStop
from jgmm._starts.makers import STARTS

LOOSE = LogProbStop(1e-4)
SGD = optax.sgd(0.1)  # L-BFGS as optax has it keeps numbers of the default dtype
COVS = ["tied", "diag", "spherical"]  # the others are tested with "full"


def initialise(name):
    return lambda key, params, X, w: getattr(jgmm.init, name)(key, X, K, sample_weight=w)


def fit(key, params, X, w, chunk=None):
    # Plain EM without a race forgets rounding; leaps, and a choice between starts, may not.
    options = {"init": "kmeans", "num_init": 2, "race": (), "accelerate": None}
    return jgmm.fit(key, X, K, sample_weight=w, stop=LOOSE, chunk_size=chunk, **options)


FUNCTIONS = {
    "e_step": lambda key, params, X, w: jgmm.e_step(params, X, w),
    "m_step": lambda key, params, X, w: jgmm.m_step(jgmm.e_step(params, X, w), params.cov, ridge=0.1),
    "step": lambda key, params, X, w: jgmm.step(params, X, w),
    "online_step": lambda key, params, X, w: jgmm.online_step(params, jgmm.e_step(params, X), X, 0.3, sample_weight=w),
    "em": lambda key, params, X, w: jgmm.em(params, X, w, stop=LOOSE, history=4),
    "log_prob": lambda key, params, X, w: jgmm.log_prob(params, X),
    "responsibilities": lambda key, params, X, w: jgmm.responsibilities(params, X),
    "predict": lambda key, params, X, w: jgmm.predict(params, X),
    "uncertainty": lambda key, params, X, w: jgmm.uncertainty(params, X),
    "bic": lambda key, params, X, w: jgmm.bic(params, X, w),
    "aic": lambda key, params, X, w: jgmm.aic(params, X, w),
    "icl": lambda key, params, X, w: jgmm.icl(params, X, w),
    "sample": lambda key, params, X, w: jgmm.sample(key, params, 5),
    "to_unconstrained": lambda key, params, X, w: jgmm.to_unconstrained(params),
    "from_unconstrained": lambda key, params, X, w: jgmm.from_unconstrained("full", jgmm.to_unconstrained(params)),
    "fit_gradient": lambda key, params, X, w: jgmm.fit_gradient(params, X, w, optimizer=SGD, max_steps=5),
    "to_full": lambda key, params, X, w: jgmm.to_full(params),
    "marginal": lambda key, params, X, w: jgmm.marginal(params, [1]),
    "condition": lambda key, params, X, w: jgmm.condition(params, [0], X[0, :1]),
    "affine": lambda key, params, X, w: jgmm.affine(params, X[:4], 1.0),
    "convolve": lambda key, params, X, w: jgmm.convolve(params, X[0] ** 2),
    "product": lambda key, params, X, w: jgmm.product(params, jgmm.affine(params, 2.0)),
    "moments": lambda key, params, X, w: jgmm.moments(params),
    "collapse": lambda key, params, X, w: jgmm.collapse(params, jnp.array([0, 1, 0]), 2),
    "kl_divergence": lambda key, params, X, w: jgmm.kl_divergence(key, params, jgmm.affine(params, 2.0), 10),
    "squared_l2": lambda key, params, X, w: jgmm.squared_l2(params, jgmm.affine(params, 2.0)),
    "squared_wasserstein": lambda key, params, X, w: jgmm.squared_wasserstein(params, jgmm.affine(params, 2.0)),
    "align": lambda key, params, X, w: jgmm.align(params, jgmm.affine(params, -1.0)),
    "adapt": lambda key, params, X, w: jgmm.adapt(params, jgmm.e_step(params, X, w), 4.0),
    "relative_ridge": lambda key, params, X, w: jgmm.relative_ridge(X, 0.01, w),
    "standard_errors": lambda key, params, X, w: jgmm.standard_errors(params, X, w),
    "fit": fit,
    **{name: initialise(name) for name in STARTS},
}
LOOSER = {"em": 1e4, "fit": 1e4, "fit_gradient": 1e6}  # roundings grow over the steps of a fit


def same(name, actual, expected, dtype):
    """Equal leaf by leaf: integers exactly, NaN (history past the last step) where NaN is."""
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jnp.integer):
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_array_equal(jnp.isnan(a), jnp.isnan(b))
            close(jnp.nan_to_num(a), jnp.nan_to_num(b), dtype, loss=LOOSER.get(name, 10))


def test_the_table_holds_every_public_function():
    public = {n for n in jgmm.__all__ if callable(getattr(jgmm, n)) and n.islower()}
    no_arrays = {"newton", "save", "load", "spread", "lowrank"}  # an optimiser, files, devices, a family
    streams = {"batches", "em_stream", "fit_stream"}  # loops in Python over what may be on a disk
    assert set(FUNCTIONS) == public - no_arrays - streams | set(STARTS)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "fit"])
def test_jit_equals_eager(name):
    arguments = case()
    same(name, jax.jit(FUNCTIONS[name])(*arguments), FUNCTIONS[name](*arguments), "float64")


def test_fit_can_be_jitted_with_its_choices_static():
    key, params, X, w = case()
    jitted = jax.jit(jgmm.fit, static_argnames=("num_components", "cov", "init", "num_init", "race", "accelerate"))
    options = {"init": "kmeans", "num_init": 2, "race": (), "accelerate": None}
    result = jitted(key, X, K, cov="full", sample_weight=w, stop=LOOSE, **options)
    same("fit", result, fit(key, params, X, w), "float64")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_dtype_of_the_data_is_kept(name, dtype):
    key, params, X, weight = case(dtype=dtype)
    for w in (weight, None):
        for leaf in jax.tree.leaves(FUNCTIONS[name](key, params, X, w)):
            assert not leaf.weak_type
            assert leaf.dtype == dtype or jnp.issubdtype(leaf.dtype, jnp.integer)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_data_make_no_double_precision_array(name):
    program = str(jax.make_jaxpr(FUNCTIONS[name])(*case(dtype="float32")))
    assert "f32[" in program
    assert not re.search(r"f64\[\d", program)  # f64[] is a Python number, converted before use


@pytest.mark.parametrize("name", ["em", "step", "e_step", "log_prob", "responsibilities", "bic"])
def test_the_dtype_of_the_data_decides_not_that_of_the_parameters(name, dtype):
    other = "float32" if dtype == "float64" else "float64"
    key, _, X, _ = case(dtype=dtype)
    _, params, _, w = case(dtype=other)
    for leaf in jax.tree.leaves(FUNCTIONS[name](key, params, X, w)):
        assert leaf.dtype == dtype or jnp.issubdtype(leaf.dtype, jnp.integer)


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


ARGUMENTS = ["key", "params", "X", "sample_weight"]
ALONE = {  # the arguments that are mapped one at a time
    "em": ["params", "X", "sample_weight"],
    "fit": ["key"],  # over all three: test_composition and test_restarts
    "step": ["params", "X", "sample_weight"],
    "log_prob": ["params", "X"],
    "sample": ["key", "params"],
    "kmeans": ["key", "X", "sample_weight"],
}
MAPPED = [(name, [over]) for name, used in ALONE.items() for over in used]
TOGETHER = [
    "e_step",
    "responsibilities",
    "uncertainty",
    "bic",
    "relative_ridge",
    "kmeans_plusplus",
    "random_points",
    "random_resp",
]
MAPPED += [(name, ARGUMENTS) for name in TOGETHER]


@pytest.mark.parametrize(
    ("name", "over"), MAPPED, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_vmap_equals_a_loop(name, over):
    axes = [0 if argument in over else None for argument in ARGUMENTS]
    lanes = [[case(seed if axis == 0 else 0)[i] for i, axis in enumerate(axes)] for seed in (0, 1, 2)]
    batch = [
        stack(values) if axis == 0 else values[0] for axis, values in zip(axes, zip(*lanes, strict=True), strict=True)
    ]
    mapped = jax.vmap(FUNCTIONS[name], in_axes=axes)(*batch)
    for index, lane in enumerate(lanes):
        same(name, unstack(mapped, index), FUNCTIONS[name](*lane), "float64")


@pytest.mark.parametrize(
    ("name", "cov"), [("em", "tied"), *((f, c) for f in ("step", "log_prob", "sample") for c in COVS)]
)
def test_vmap_over_parameters_equals_a_loop_for_every_family(name, cov):
    _, _, X, w = case()
    lanes = [case(seed, cov) for seed in (0, 1)]
    mapped = jax.vmap(lambda key, params: FUNCTIONS[name](key, params, X, w))(*stack([lane[:2] for lane in lanes]))
    for index, lane in enumerate(lanes):
        same(name, unstack(mapped, index), FUNCTIONS[name](*lane[:2], X, w), "float64")


def test_lanes_of_a_batch_stop_one_by_one():
    lanes = [case(seed)[1] for seed in (0, 1, 2)]
    _, _, X, w = case()
    steps = jax.vmap(lambda params: jgmm.em(params, X, w, stop=LOOSE).num_steps)(stack(lanes))
    assert len(set(steps.tolist())) > 1  # or the law above would not see a lane that goes on after its end


def test_gradients_of_log_prob_are_finite_differences(cov):
    _, params, X, _ = case(cov=cov)
    start, unravel = ravel_pytree((params, X[:5]))

    def function(vector):
        return jgmm.log_prob(*unravel(vector), chunk_size=2)

    @jax.jit
    def jacobians(start):
        moves = 1e-6 * jnp.eye(start.size)
        numeric = jax.vmap(lambda move: (function(start + move) - function(start - move)) / 2e-6)(moves).T
        return numeric, jax.jacrev(function)(start), jax.jacfwd(function)(start)

    # leaf by leaf: weights, means, cov, X
    leaves = [jax.tree.leaves(jax.vmap(unravel)(jacobian)) for jacobian in jacobians(start)]
    for numeric, reverse, forward in zip(*leaves, strict=True):
        scale = np.abs(numeric).max()
        assert scale > 1e-2
        np.testing.assert_allclose(reverse, numeric, rtol=0, atol=1e-7 * scale)  # rounding: 1e-16 / 1e-6
        np.testing.assert_allclose(forward, reverse, rtol=0, atol=1e-12 * scale)


@jax.jit
def value_and_jacobian(params, X):
    return jgmm.log_prob(params, X), jax.jacrev(jgmm.log_prob, argnums=(0, 1))(params, X)


def test_the_derivative_by_a_weight_of_zero_is_one_sided(cov):
    _, params, X, _ = case(cov=cov)
    params, X = dataclasses.replace(params, weights=jnp.array([0.7, 0.3, 0.0])), X[:3]
    value, (gradient, _) = value_and_jacobian(params, X)
    for k, covariance in enumerate(params.covariances):  # d log p / d pi_k = N_k / p
        expected = multivariate_normal.pdf(X, params.means[k], covariance) / np.exp(value)
        close(gradient.weights[:, k], expected, "float64", loss=10)
    ahead = [jgmm.log_prob(dataclasses.replace(params, weights=jnp.array([0.7, 0.3, h])), X) for h in (1e-6, 2e-6)]
    numeric = (4 * ahead[0] - 3 * value - ahead[1]) / 2e-6
    np.testing.assert_allclose(gradient.weights[:, 2], numeric, rtol=0, atol=1e-7 * np.abs(numeric).max())
    assert (gradient.means[:, 2] == 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("weights", [[0.5, 0.3, 0.2], [0.5, 0.5, 0.0]])
def test_far_points_have_finite_values_and_gradients_in_float32(cov, weights):
    params = dataclasses.replace(case(cov=cov)[1], weights=jnp.array(weights))
    far = jnp.array([[1e4, 0.0], [-1e4, 1e4], [0.0, -3e4]])
    single = value_and_jacobian(params.astype("float32"), far.astype("float32"))
    double = value_and_jacobian(params, far)
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(double), strict=True):
        assert np.isfinite(a).all()
        whole = np.abs(b) < 1e30  # the derivative by a weight of zero, N_k / p, can exceed float32: clipped
        np.testing.assert_allclose(a[whole], b[whole], rtol=1e-3, atol=1e-4 * np.abs(b[whole]).max())


def test_the_gradient_of_em_statistics_passes_through_chunks():
    _, params, X, w = case()
    statistics = jax.jit(jax.grad(lambda params: jgmm.e_step(params, X, w, chunk_size=7).log_prob))
    densities = jax.jit(jax.grad(lambda params: (w * jgmm.log_prob(params, X)).sum()))
    close(statistics(params), densities(params), "float64", loss=10)


CHUNKED = {
    "e_step": lambda key, params, X, w, chunk: jgmm.e_step(params, X, w, chunk_size=chunk),
    "step": lambda key, params, X, w, chunk: jgmm.step(params, X, w, chunk_size=chunk),
    "log_prob": lambda key, params, X, w, chunk: jgmm.log_prob(params, X, chunk_size=chunk),
    "responsibilities": lambda key, params, X, w, chunk: jgmm.responsibilities(params, X, chunk_size=chunk),
    "predict": lambda key, params, X, w, chunk: jgmm.predict(params, X, chunk_size=chunk),
    "uncertainty": lambda key, params, X, w, chunk: jgmm.uncertainty(params, X, chunk_size=chunk),
    "em": lambda key, params, X, w, chunk: jgmm.em(params, X, w, stop=LOOSE, history=4, chunk_size=chunk),
    "fit": lambda key, params, X, w, chunk: fit(key, params, X, w, chunk),
}
CHUNKS = [(name, 7) for name in CHUNKED] + [(name, chunk) for name in ("e_step", "log_prob") for chunk in (1, 22, 100)]


@pytest.mark.parametrize(("name", "chunk"), CHUNKS)
def test_chunked_equals_whole(name, chunk):
    same(name, CHUNKED[name](*case(), chunk), FUNCTIONS[name](*case()), "float64")


@pytest.mark.parametrize("cov", COVS)
def test_chunked_statistics_equal_whole_for_every_family(cov):
    same("e_step", CHUNKED["e_step"](*case(cov=cov), 7), FUNCTIONS["e_step"](*case(cov=cov)), "float64")


def test_numbers_may_be_traced():
    _, params, X, w = case()

    @jax.jit
    def run(params, stop, max_steps, ridge):
        return jgmm.em(params, X, w, stop=stop, max_steps=max_steps, ridge=ridge)

    for tol, steps, ridge in [(1e-3, 50, 0.0), (1e-5, 40, 0.1)]:
        expected = jgmm.em(params, X, w, stop=LogProbStop(tol), max_steps=steps, ridge=ridge)
        same("em", run(params, LogProbStop(tol), steps, ridge), expected, "float64")
    assert run._cache_size() == 1


@pytest.mark.parametrize("name", ["em", "e_step", "step", "log_prob", "sample", "kmeans", "bic"])
def test_constants_may_be_closed_over_by_jit(name):
    arguments = case()
    for traced in range(4):

        def call(value, traced=traced):
            return FUNCTIONS[name](*arguments[:traced], value, *arguments[traced + 1 :])

        jax.eval_shape(call, arguments[traced])  # traces as jit does, and compiles nothing


IMPORT = """
import json, os, jax
before, environment = dict(jax.config.values), dict(os.environ)
import jgmm
changed = [name for name, value in jax.config.values.items() if before.get(name, value) != value]
changed += [name for name, value in os.environ.items() if environment.get(name) != value]
integers = jgmm.relative_ridge([[0, 1], [2, 5], [1, 1]]).dtype
print(json.dumps({"changed": changed, "x64": jax.config.jax_enable_x64, "integers": str(integers)}))
"""


def test_importing_changes_no_configuration():
    environment = {**os.environ, "PYTHONPATH": str(Path(jgmm.__file__).parents[1]), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_ENABLE_X64", None)
    command = [sys.executable, "-W", "error", "-c", IMPORT]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"changed": [], "x64": False, "integers": "float32"}
