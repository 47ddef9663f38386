"""Every test runs in float32 and float64 side by side: x64 is on, and the data's dtype decides."""

from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import DATA, FAMILIES

jax.config.update("jax_enable_x64", True)


def pytest_configure(config):
    """Keep compiled programs for the other worker and for the next run, which then takes a quarter of the time."""
    if config.pluginmanager.hasplugin("cacheprovider"):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


MAPS = Path("/proc/self/maps")  # Linux only


@pytest.fixture(autouse=True)
def no_heap_of_programs():
    """Drop compiled programs before their memory maps, of which a process may have 65530, run out."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > 20_000:
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
