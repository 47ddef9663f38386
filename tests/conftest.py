"""Every test runs in float32 and float64 side by side: x64 is on, and the data's dtype decides."""

import jax
import numpy as np
import pytest
from helpers import DATA, FAMILIES

jax.config.update("jax_enable_x64", True)


@pytest.fixture(scope="session")
def tests_run():
    """How many tests this process has run, as a list of one number."""
    return [0]


@pytest.fixture(autouse=True)
def no_heap_of_programs(tests_run):
    """Drop compiled programs now and then: each holds memory maps, of which a process may have 65530."""
    yield
    tests_run[0] += 1
    if tests_run[0] % 300 == 0:
        jax.clear_caches()


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(params=FAMILIES)
def cov(request):
    return request.param


@pytest.fixture(scope="session")
def faithful():
    return np.loadtxt(DATA / "faithful.csv", delimiter=",", skiprows=1)


@pytest.fixture(scope="session")
def diabetes():
    return np.loadtxt(DATA / "diabetes.csv", delimiter=",", skiprows=1)
