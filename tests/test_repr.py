"""What a notebook shows of a value: a line or two, whatever its arrays hold, and never an error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import case
from values import NAMES, values

import jgmm


@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_shown_in_a_few_lines_in_every_guise(name):
    value = values("float32")[name]
    arrays = jax.tree.leaves(value)
    for guise in (value, jax.eval_shape(lambda: value), jax.tree.map(lambda _: 0, value)):
        for text in (repr(guise), str(guise)):
            assert len(text) < 600
            assert "\n" not in text
    assert arrays


def test_few_numbers_are_shown_and_many_are_told_by_dtype_and_shape():
    params = jgmm.GMM(np.array([0.25, 0.75]), np.zeros((2, 3), "float32"), jgmm.Spherical(jnp.ones(8, "float32")))
    assert repr(params) == "GMM(weights=[0.25, 0.75], means=float32[2,3], cov=Spherical(var=float32[8]))"
    assert repr(jgmm.LogProbStop(1e-6)) == "LogProbStop(tol=1e-06)"
    assert repr(jgmm.LogProbStop(jnp.float32(0.5))) == "LogProbStop(tol=0.5)"


def test_a_result_says_how_it_went_and_a_batch_of_all():
    _, params, X, weight = case()
    result = jgmm.em(params, X, weight, max_steps=2)
    assert repr(result).startswith(f"<Result: {result}; GMM(weights=[")
    assert str(result).startswith("MAX_STEPS after 2 steps: mean log-likelihood ")
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), result)
    assert str(batch) == "2 fits: MAX_STEPS 2"


def test_restarts_are_counted_by_their_ends():
    restarts = jgmm.Restarts(jnp.array([-2.0, -1.5, jnp.nan]), jnp.array([3, 4, 1]), jnp.array([7, 0, 7]))
    assert str(restarts) == "3 starts: CONVERGED 1, DROPPED 2; best mean log-likelihood -1.50000 nats"


def test_what_cannot_be_read_is_told_by_its_shape():
    shown = []
    params = case()[1]
    jax.jit(lambda params: shown.append(repr(params)))(params)
    assert shown == ["GMM(weights=float64[3], means=float64[3,2], cov=Full(cov=float64[3,2,2]))"]
    given = jnp.ones(2)
    given.delete()
    assert repr(jgmm.Spherical(given)) == "Spherical(var=float64[2])"
