"""No compilation for a new number: only a new shape, or a new choice, compiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import K, N, case

import jgmm
from jgmm import LogProbStop, ParamStop
from jgmm._em.loop import _run_em
from jgmm._em.steps import _m_step
from jgmm._search.fit import _fit

COMPILATIONS = []


def listen(event, duration, **_):
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILATIONS.append(event)


jax.monitoring.register_event_duration_secs_listener(listen)


def em_with(X, w, params=None, **options):
    return jgmm.em(case()[1] if params is None else params, X, w, **{"max_steps": 5, "ridge": 0.1} | options)


def fit_with(X, w, **options):
    cheap = {"cov": "spherical", "init": "random_points", "num_init": 2, "max_steps": 5, "ridge": 0.1}
    return jgmm.fit(jax.random.key(0), X, K, sample_weight=w, **cheap | options)


NEW_NUMBERS = {
    "tol": [{"stop": LogProbStop(tol)} for tol in (1e-3, np.float32(1e-3), np.float64(1e-4), jnp.array(1e-5), 0, 1)],
    "max_steps": [{"max_steps": steps} for steps in (2, np.int64(3), np.int32(4), jnp.array(3))],
    "ridge": [{"ridge": ridge} for ridge in (0.2, 1, np.float32(0.3), np.float64(0.4), jnp.array(0.5), [0.1, 0.2])],
    "data": [{"X": 2 * case()[2]}, {"X": np.asarray(case(1)[2])}],
    "sample_weight": [{"w": case(1)[3]}, {"w": np.arange(N)}, {"w": None}],
}


@pytest.mark.parametrize("numbers", NEW_NUMBERS)
@pytest.mark.parametrize(("run", "program"), [(em_with, _run_em), (fit_with, _fit)], ids=["em", "fit"])
def test_new_numbers_never_recompile(run, program, numbers):
    base = {"X": case()[2], "w": case()[3]}
    run(**base)
    before = program._cache_size()
    assert before > 0
    for new in NEW_NUMBERS[numbers]:
        run(**base | new)
    assert program._cache_size() == before


@pytest.mark.parametrize(("run", "program"), [(em_with, _run_em), (fit_with, _fit)], ids=["em", "fit"])
def test_new_bounds_of_a_parameter_rule_never_recompile(run, program):
    _, _, X, w = case()
    run(X, w, stop=ParamStop(1e-3))
    before = program._cache_size()
    for stop in (ParamStop(1e-2), ParamStop(1e-3, 1e-6), ParamStop(np.float32(1e-3), np.float64(0)), ParamStop(0, 0)):
        run(X, w, stop=stop)
    assert program._cache_size() == before


def test_a_new_number_of_rows_compiles_where_it_is_another_length():
    _, _, X, w = case()
    em_with(X, w)
    before = _run_em._cache_size()
    em_with(X[:-1], w[:-1])
    assert _run_em._cache_size() == before
    em_with(X[:15], w[:15])
    assert _run_em._cache_size() == before + 1


def test_a_second_call_with_new_values_compiles_nothing_at_all():
    COMPILATIONS.clear()
    jax.jit(lambda x: x + 1)(1.0)
    assert len(COMPILATIONS) == 1
    for seed in (0, 1):
        key, params, X, w = case(seed)
        number = 10.0 ** -(3 + seed)
        COMPILATIONS.clear()
        em_with(X, w, params, stop=LogProbStop(number), ridge=number, max_steps=5 + seed)
        fit_with(X, w, stop=LogProbStop(number), ridge=number, max_steps=5 + seed)
        jgmm.step(params, X, w, ridge=number)
        jgmm.m_step(jgmm.e_step(params, X, w), "full", ridge=number)
        jgmm.relative_ridge(X, number, w)
        jgmm.log_prob(params, X)
        jgmm.bic(params, X, w)
        jgmm.sample(key, params, 5)
    assert len(COMPILATIONS) == 0


def test_a_new_ridge_does_not_recompile_the_m_step():
    _, params, X, w = case()
    stats = jgmm.e_step(params, X, w)
    jgmm.m_step(stats, params.cov, ridge=0.1)
    before = _m_step._cache_size()
    for ridge in (0.2, 1, np.float32(0.3), [0.1, 0.2]):
        jgmm.m_step(stats, params.cov, ridge=ridge)
    assert _m_step._cache_size() == before
