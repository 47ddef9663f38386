"""One value of every public class, for what has to hold for all of them: files, pickles."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
from helpers import EIGEN, FAMILIES, LOWRANK, case

import jgmm

ABSTRACT = {"Covariance", "FileError", "FitError"}  # of which there are no values to keep


def of_family(cov, dtype):
    """What a family has a part in."""
    _, params, X, weight = case(cov=cov, dtype=dtype)
    return {
        f"GMM, {cov}": params,
        f"Stats, {cov}": jgmm.e_step(params, X, weight),
        f"Unconstrained, {cov}": jgmm.to_unconstrained(params),
        f"{type(params.cov).__name__}": params.cov,
    }


@functools.cache
def values(dtype):
    """{name: value}; a name begins with that of the class."""
    _, params, X, weight = case(cov="spherical", dtype=dtype)
    found = {name: value for cov in FAMILIES for name, value in of_family(cov, dtype).items()}
    for cov in EIGEN:
        mixture = case(cov=cov, dtype=dtype)[1]
        found |= {f"GMM, {cov}": mixture, cov: mixture.cov}
    for cov in LOWRANK:
        mixture = case(cov=cov, dtype=dtype)[1]
        found |= {f"GMM, {cov}": mixture, cov.replace("lowrank", "LowRank"): mixture.cov}
    wide = jgmm.e_step(mixture, X, weight)  # the last one
    result = jgmm.em(params, X, weight, max_steps=3, history=5)
    starts = jgmm.Restarts(jnp.zeros(2, dtype), jnp.arange(2), jnp.full(2, 7, jnp.int32))
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), result)
    return found | {
        "Result": result,
        "Result, a batch": batch,
        "Stats, lowrank, wide": wide,
        "Projection": wide.scatter,
        "Restarts": starts,
        "StandardErrors": jgmm.StandardErrors(params, X[0, 0], X[0, 1], jnp.int32(0)),
        "LogProbStop": jgmm.LogProbStop(1e-7),
        "LogProbStop, traced": jgmm.LogProbStop(jnp.asarray(1e-7, dtype)),
        "ParamStop": jgmm.ParamStop(1e-3, np.inf),
        "GradientStop": jgmm.GradientStop(np.dtype(dtype).type(1e-3)),
        "Anderson": jgmm.Anderson(memory=3),
        "Squarem": jgmm.Squarem(),
        "Status": jgmm.Status.STALLED,
        "ComponentStatus": jgmm.ComponentStatus.KEPT,
    }


NAMES = list(values("float32"))
CLASSES = [value for name in jgmm.__all__ if inspect.isclass(value := getattr(jgmm, name))]


def assert_same(a, b):
    """Equal bit for bit, and of the same types throughout."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    for one, other in leaves:
        assert isinstance(one, jax.Array) == isinstance(other, jax.Array)
        if isinstance(one, jax.Array):
            assert one.dtype == other.dtype
            one, other = raw(one), raw(other)
        else:
            assert type(one) is type(other)
        if hasattr(one, "dtype"):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
        else:
            assert repr(one) == repr(other)  # NaN too


def raw(x):
    """The numbers of an array, those of a typed key included."""
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
