"""Every test runs in float32 and float64 side by side: x64 is on, and the data's dtype decides."""

import jax
import numpy as np
import pytest
from helpers import DATA, FAMILIES

jax.config.update("jax_enable_x64", True)


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
