"""Every test runs in float32 and float64 side by side: x64 is on, and the data's dtype decides."""

import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from compiler import set_flags
from helpers import DATA, FAMILIES

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")  # what is broadcast or converted is said
jax.config.update("jax_numpy_dtype_promotion", "strict")
set_flags()  # which XLA reads with the first program that it compiles


LONG = [
    "sweep",
    "jax",
    "implicit",
    "accelerate",
    "gradient",
    "frozen",
    "readme",
    "bad_days",
    "reference",
    "composition",
]


def pytest_collection_modifyitems(items):
    """The files that take longest come first: at the end one of them would leave a worker idle."""
    names = [f"test_{name}" for name in LONG]
    items.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names))


def pytest_configure(config):
    """Keep compiled programs for the other worker and for the next run, which then takes a quarter of the time."""
    config.option.loadscopereorder = False  # pytest-xdist goes by the number of tests otherwise
    if config.pluginmanager.hasplugin("cacheprovider"):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


MAPS = Path("/proc/self/maps")  # Linux only
TESTS = itertools.count()


@pytest.fixture(autouse=True)
def no_heap_of_programs():
    """Drop compiled programs before their memory maps, of which a process may have 65530, run out."""
    yield
    # To count them takes 10 ms, and ten tests make some thousands.
    if next(TESTS) % 10 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > 25_000:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def seeded():
    """An estimator without ``random_state`` draws from NumPy's global generator."""
    np.random.seed(0)  # noqa: NPY002


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
