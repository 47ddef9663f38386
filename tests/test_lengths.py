"""Rows come in few lengths, and k has room for more: data of another length, and another k, compile nothing new."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, random_data, random_gmm
from test_recompile import COMPILATIONS

import jgmm
from jgmm._base import lengths
from jgmm._base.lengths import length_of, padded
from jgmm._base.programs import Program
from jgmm._starts.makers import STARTS

KEY = jax.random.key(0)
D, K = 2, 3
CHEAP = {"cov": "spherical", "init": "random_points", "num_init": 2, "max_steps": 5}
BY_ROW = {
    "log_prob": jgmm.log_prob,
    "responsibilities": jgmm.responsibilities,
    "predict": jgmm.predict,
    "uncertainty": jgmm.uncertainty,
}
OF_ROWS = {
    "bic": jgmm.bic,
    "e_step": jgmm.e_step,
    "step": jgmm.step,
    "em": partial(jgmm.em, max_steps=5),
    "fit_gradient": partial(jgmm.fit_gradient, max_steps=5),
    "standard_errors": jgmm.standard_errors,
    "relative_ridge": lambda params, X: jgmm.relative_ridge(X),
    "init": lambda params, X: jgmm.init.random_resp(KEY, X, K, cov="spherical"),
    "fit": lambda params, X: jgmm.fit(KEY, X, K, **CHEAP),
}


def test_lengths_are_three_an_octave_and_at_most_a_third_too_long():
    found = [length_of(n) for n in range(1, 5000)]
    assert all(n <= length <= max(8, 4 / 3 * n) for n, length in enumerate(found, 1))
    assert all(length_of(length) == length for length in found)
    assert len(set(found) & set(range(257, 4097))) == 3 * 4


def data_sets():
    """Twenty, of 150 to 600 rows."""
    return [np.asarray(random_data(0, n, D, K, "float32")[0]) for n in np.linspace(150, 600, 20).astype(int)]


@pytest.mark.parametrize("name", ["log_prob", "predict", "e_step", "em"])
def test_twenty_data_sets_compile_at_most_eight_programs(name):
    function, params = (BY_ROW | OF_ROWS)[name], random_gmm(0, K, D, "spherical", "float32")
    function(params, random_data(0, 700, D, K, "float32")[0])  # and what is compiled once for all lengths
    data = data_sets()
    COMPILATIONS.clear()
    results = [function(params, X) for X in data]
    assert len(COMPILATIONS) <= 8
    if name in BY_ROW:
        assert [len(x) for x in results] == [len(X) for X in data]


class Called(Exception):
    """Raised in place of a program, with the shapes that it was called with."""


@pytest.mark.parametrize("name", [*BY_ROW, *OF_ROWS])
def test_twenty_data_sets_call_programs_with_at_most_eight_shapes(name, monkeypatch):
    function, params = (BY_ROW | OF_ROWS)[name], random_gmm(0, K, D, "spherical", "float32").check()

    def call(program, *args, **kwargs):
        raise Called(str([np.shape(leaf) for leaf in jax.tree.leaves((args, kwargs))]))

    monkeypatch.setattr(Program, "__call__", call)
    shapes = set()
    for X in data_sets():
        with pytest.raises(Called) as called:
            function(params, X)
        shapes.add(str(called.value))
    assert len(shapes) <= 8
    assert all(re.search(rf"\(\d+, {D}\)", shape) for shape in shapes)  # the rows were among them


@pytest.mark.parametrize("init", ["random_resp", "kmeans_plusplus"])
def test_the_sample_of_a_race_and_the_starts_do_not_depend_on_the_padding(init):
    n = 1100  # which is padded to more rows than the race sees; inside jit it sees them as they are
    X, weight = random_data(0, n, D, K)[0], jnp.asarray(np.random.default_rng(0).uniform(0.5, 2, n))
    fit = partial(jgmm.fit, KEY, num_components=K, cov="spherical", init=init, num_init=3, max_steps=5)
    close(
        jax.jit(lambda X, w: fit(X, sample_weight=w))(X, weight).params, fit(X, sample_weight=weight).params, "float64"
    )


def test_what_is_left_as_it_is(monkeypatch):
    X = np.ones((50, D), np.float32)
    rows = jnp.asarray(X)
    assert [x.shape[0] for x in padded(rows, rows[:, 0])] == [52, 52]
    assert padded(rows[:40])[0].shape == (40, D)
    assert jax.eval_shape(padded, rows)[0].shape == (50, D)  # inside jit
    assert jax.eval_shape(jax.vmap(lambda x: padded(x)[0]), rows[None]).shape == (1, 50, D)
    spread = jax.sharding.NamedSharding(jax.make_mesh((1,), ("rows",)), jax.sharding.PartitionSpec("rows"))
    assert padded(jax.device_put(rows, spread))[0].sharding == spread
    monkeypatch.setattr(lengths, "MOST", 99)
    assert padded(rows)[0] is rows  # too many to copy


def test_batches_of_a_gradient_fit_are_of_the_rows_alone():
    X, params = random_data(0, 50, D, K)[0], random_gmm(0, K, D, "spherical")
    fit = partial(jgmm.fit_gradient, params, batch_size=25, key=KEY, max_steps=3)
    close(fit(X).params, jax.jit(fit)(X).params, "float64", loss=100)


# Components


@pytest.mark.parametrize(("cov", "init"), [*(("diag", init) for init in STARTS), ("tied", "kmeans_plusplus")])
def test_a_fit_with_room_for_more_components_is_the_fit_without(cov, init):
    X = random_data(0, 150, D, K)[0]
    fit = partial(jgmm.fit, KEY, X, cov=cov, init=init, num_init=3, max_steps=5, accelerate=None)
    alone, roomy = fit(K), fit(K, max_components=5)
    assert int(roomy.status) == int(alone.status)
    assert roomy.params.weights.shape == (5,)
    assert roomy.params.weights[K:].tolist() == [0, 0]
    assert roomy.component_status[K:].tolist() == [0, 0]
    close(roomy.params.weights[:K], alone.params.weights, "float64", loss=1e4)
    close(roomy.params.means[:K], alone.params.means, "float64", loss=1e4)
    assert roomy.params.num_parameters == alone.params.num_parameters
    close(jgmm.bic(roomy.params, X), jgmm.bic(alone.params, X), "float64", loss=10)


def test_every_k_is_one_program_and_they_go_side_by_side():
    X = random_data(0, 150, D, K)[0]

    def bic(k):
        result = jgmm.fit(KEY, X, k, max_components=4, **CHEAP)
        return jgmm.bic(result.params, X), result.params.num_parameters

    one_by_one = [bic(1)]
    COMPILATIONS.clear()
    one_by_one += [bic(k) for k in (2, 3, 4)]
    assert len(COMPILATIONS) == 0
    assert [number for _, number in one_by_one] == [3, 7, 11, 15]
    values, numbers = jax.vmap(bic)(jnp.arange(1, 5))
    assert numbers.tolist() == [3, 7, 11, 15]
    close(values, jnp.stack([value for value, _ in one_by_one]), "float64", loss=100)


def test_a_number_of_components_that_there_is_no_room_for():
    X = random_data(0, 50, D, K)[0]
    with pytest.raises(ValueError, match="num_components must be at most max_components, got 5 and 4"):
        jgmm.fit(KEY, X, 5, max_components=4)
    with pytest.raises(ValueError, match="max_components needs an init that has a name"):
        jgmm.fit(KEY, X, 2, max_components=4, init=partial(jgmm.init.kmeans, scale=1.0))
    with pytest.raises(ValueError, match="as many rows as components, got 2 rows for 3"):
        jgmm.fit(KEY, X[:2], 3, max_components=4)
    fits = jax.vmap(lambda k: jgmm.fit(KEY, X, k, max_components=4, **CHEAP).status)(jnp.array([0, 1, 4, 5]))
    invalid = jgmm.Status.INVALID_START
    assert [status == invalid for status in fits.tolist()] == [True, False, False, True]
