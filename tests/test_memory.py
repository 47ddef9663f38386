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


WIDE = {
    "fit": lambda key, params, X: jgmm.fit(key, X, 2, cov=type(params.cov), num_init=2),
    "fit, SQUAREM": lambda key, params, X: jgmm.fit(key, X, 2, cov=type(params.cov), num_init=2, accelerate="squarem"),
    "kmeans": lambda key, params, X: jgmm.init.kmeans(key, X, 2, cov=type(params.cov)),
    "random_points": lambda key, params, X: jgmm.init.random_points(key, X, 2, cov=type(params.cov)),
    "step": lambda key, params, X: jgmm.step(params, X),
    "fit_gradient": lambda key, params, X: jgmm.fit_gradient(params, X),
    "log_prob": lambda key, params, X: jgmm.log_prob(params, X),
    "bic": lambda key, params, X: jgmm.bic(params, X),
    "adapt": lambda key, params, X: jgmm.adapt(params, jgmm.e_step(params, X), 4.0),
    "sample": lambda key, params, X: jgmm.sample(key, params, 100),
    "affine": lambda key, params, X: jgmm.affine(params, 2.0),
    "to_unconstrained": lambda key, params, X: jgmm.to_unconstrained(params),
}


@pytest.mark.parametrize(("name", "cov"), [*((name, "diag") for name in WIDE), ("fit", "spherical")])
def test_variances_of_many_features_never_make_a_matrix(name, cov):
    """200 rows of 20,000 features are 16 MB, and so is a chunk of residuals; one matrix would be 1600."""
    k, d = 2, 20_000
    values = jgmm.Diag(jnp.ones((k, d))) if cov == "diag" else jgmm.Spherical(jnp.ones(k))
    params = jgmm.GMM(jnp.full(k, 0.5), jnp.zeros((k, d)), values).astype("float32")
    arguments = jax.random.key(0), params, jax.ShapeDtypeStruct((200, d), jnp.float32)
    used = jax.jit(WIDE[name]).lower(*arguments).compile().memory_analysis().temp_size_in_bytes
    assert used < 400e6
