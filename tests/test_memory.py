"""Extra memory is a chunk's, whatever the number of rows: read off the compiled programs."""

import jax
import jax.numpy as jnp
import pytest
from helpers import random_gmm

import jgmm

D, K, CHUNK = 8, 16, 512
PROGRAMS = {
    "e_step": lambda params, X: jgmm.e_step(params, X, chunk_size=CHUNK),
    "em": lambda params, X: jgmm.em(params, X, chunk_size=CHUNK),
    "log_prob": lambda params, X: jgmm.log_prob(params, X, chunk_size=CHUNK),
    "predict": lambda params, X: jgmm.predict(params, X, chunk_size=CHUNK),
    "score": jax.grad(lambda params, X: jgmm.log_prob(params, X, chunk_size=CHUNK).mean()),
}


def extra_bytes(program, n):
    params, X = random_gmm(0, K, D, "full", "float32"), jax.ShapeDtypeStruct((n, D), jnp.float32)
    return jax.jit(program).lower(params, X).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("name", PROGRAMS)
def test_extra_memory_does_not_grow_with_a_component_and_feature_for_each_row(name):
    few, many = (extra_bytes(PROGRAMS[name], n) for n in (20_000, 200_000))
    per_row = (many - few) / 180_000
    # A result is 4 bytes a row, and so are the weights; an (n, k) array would be 64, (n, k, d) 512.
    assert per_row < 12
    assert few - 20_000 * per_row < 30 * 4 * CHUNK * K * D
