"""Compiled programs: cheap ones for little work, and room for as many as anyone asks for."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler import as_users_do
from helpers import close

import jgmm
from jgmm._base import programs
from jgmm._base.programs import Program

X = np.random.default_rng(0).normal(size=(16, 2))


@pytest.fixture
def total():
    return Program(lambda x: (x**2).sum(), ())


def test_values_of_little_work_are_compiled_cheaply_and_traced_ones_are_not(total, monkeypatch):
    monkeypatch.setattr(programs, "SMALL", X.size)
    expected = (X**2).sum()
    close(total(X), expected, "float64")
    assert (total.cheap._cache_size(), total.full._cache_size()) == (1, 0)
    close(total(np.concatenate([X, 0 * X])), expected, "float64")
    assert (total.cheap._cache_size(), total.full._cache_size()) == (1, 1)
    close(jax.jit(total)(X), expected, "float64")
    close(jax.vmap(total)(X[None])[0], expected, "float64")
    close(jax.grad(total)(jnp.asarray(X)), 2 * X, "float64")
    assert total.cheap._cache_size() == 1


def test_a_loop_is_compiled_cheaply_where_there_is_less_of_it(monkeypatch):
    loop = Program(lambda x: (x**2).sum(), (), loops=True)
    for limit, cheap in ((programs.LOOP * X.size, 1), (programs.LOOP * X.size - 1, 0)):
        monkeypatch.setattr(programs, "SMALL", limit)
        loop.cheap.clear_cache()
        close(loop(X), (X**2).sum(), "float64")
        assert loop.cheap._cache_size() == cheap


def test_programs_are_given_up_before_memory_maps_run_out(total, monkeypatch):
    start = jgmm.init.random_points(jax.random.key(0), X, 2)
    before = jgmm.step(start, X)
    monkeypatch.setattr(programs, "SELDOM", 1)
    monkeypatch.setattr(programs, "_share_of_maps", lambda: 0.51)
    close(total(X), (X**2).sum(), "float64")
    assert total._cache_size() == 0
    assert sum(program._cache_size() for program in programs.PROGRAMS) == 0
    monkeypatch.setattr(programs, "_share_of_maps", lambda: 0.49)
    close(total(X), (X**2).sum(), "float64")
    assert total._cache_size() == 1
    close(jgmm.step(start, X), before, "float64")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others do not count them")
def test_memory_maps_are_counted():
    assert 0 < programs._share_of_maps() < 1


FITS = """
import jax, numpy as np, jgmm
rng, key, fits = np.random.default_rng(0), jax.random.key(0), 0
for d in range(1, 11):
    X = rng.normal(size=(200, d)).astype("float32")
    for k in range(1, 11):
        for cov in ("full", "tied", "diag", "spherical"):
            result = jgmm.fit(key, X, k, cov=cov, max_steps=20)
            fits += bool(np.isfinite(result.mean_log_prob))
print(fits)
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fits_of_four_hundred_shapes_in_one_process_end_well():
    """As users run it: with XLA's own options each takes some 250 of the 65,530 memory maps of a process."""
    env = as_users_do() | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run([sys.executable, "-c", FITS], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["400"]
