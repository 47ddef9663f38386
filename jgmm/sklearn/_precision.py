"""In what precision an estimator computes: that of its rows, whatever the process has chosen for JAX."""

import contextlib

import jax
import numpy as np


def precision(dtype):
    """A context in which JAX computes in this dtype.

    ``jax.enable_x64`` belongs to the thread and to the context: other threads and what comes after are as before.
    Float32 needs none.
    """
    return jax.enable_x64(True) if np.dtype(dtype) == np.float64 else contextlib.nullcontext()
