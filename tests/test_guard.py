"""Called with arrays on the device, jgmm sends nothing there implicitly: ``jax.transfer_guard("disallow")``.

On the CPU the guard sees what goes to the device, and not what comes back.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import K, N, case
from test_jax import COVS, FUNCTIONS, LOOSE

import jgmm

OWN = {  # which in the other table index and make arrays, and so send numbers themselves
    "condition": lambda key, params, X, w: jgmm.condition(params, [0], [0.5]),
    "affine": lambda key, params, X, w: jgmm.affine(params, np.eye(2)[:1], 1.0),
    "convolve": lambda key, params, X, w: jgmm.convolve(params, [0.5, 1.0]),
    "collapse": lambda key, params, X, w: jgmm.collapse(params, [0, 1, 0]),
}
FUNCTIONS = FUNCTIONS | OWN
BY_FAMILY = [*OWN, "em", "step", "m_step", "log_prob", "bic", "sample", "to_unconstrained", "to_full", "marginal"]


def fit(key, params, X, w):
    result = jgmm.fit(key, X, 2, max_components=K, num_init=2, stop=LOOSE, ridge=1e-3, max_steps=100)
    return str(result), bool(result.converged), result.mean_log_prob


def em(key, params, X, w):
    rule = jgmm.ParamStop(rtol=1e-2)
    return [jgmm.em(params, X, stop=rule, accelerate=name) for name in ("squarem", "anderson")]


def sums(key, params, X, w):
    stats = jgmm.e_step(params, X)
    return (0.5 * stats + sum([stats, stats])).mean


def in_other_units(key, params, X, w):
    """Features whose squares are no ordinary numbers."""
    X, params = jax.device_get((X, params))
    X, means = (jax.device_put(x * X.dtype.type(2.0**60)) for x in (X, params.means))
    params = jax.device_put(jgmm.GMM(params.weights, means, jgmm.Full(params.cov.cov * X.dtype.type(2.0**120))))
    return jgmm.em(params, X, w, stop=LOOSE, ridge=1.0), jgmm.e_step(params, X)


OTHERS = {
    "fit": fit,
    "em": em,
    "sums": sums,
    "other units": in_other_units,
    "check": lambda key, params, X, w: jgmm.GMM(params.weights, params.means, params.cov).check(),
    "one point": lambda key, params, X, w: jgmm.responsibilities(params, [0.0, 1.0]),
    "batches": lambda key, params, X, w: jgmm.fit_gradient(params, X, batch_size=8, key=key, max_steps=2),
    "mapped": lambda key, params, X, w: jax.vmap(lambda X: jgmm.em(params, X, stop=LOOSE))(X[None]),
    "bootstrap": lambda key, params, X, w: jgmm.resample.bootstrap(key, N, 3, sample_weight=w),
    "jackknife": lambda key, params, X, w: jgmm.resample.jackknife(N),
    "cross_validation": lambda key, params, X, w: jgmm.resample.cross_validation(key, N, 3),
}


def test_the_guard_is_one():
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        jnp.zeros(3)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_under_the_guard(name, dtype):
    arguments = case(dtype=dtype)
    with jax.transfer_guard("disallow"):
        FUNCTIONS[name](*arguments)


@pytest.mark.parametrize("name", BY_FAMILY)
@pytest.mark.parametrize("cov", COVS)
def test_every_family_under_the_guard(name, cov):
    arguments = case(cov=cov)
    with jax.transfer_guard("disallow"):
        FUNCTIONS[name](*arguments)


@pytest.mark.parametrize("name", OTHERS)
def test_options_and_results_under_the_guard(name):
    arguments = case(dtype="float32")
    with jax.transfer_guard("disallow"):
        OTHERS[name](*arguments)
