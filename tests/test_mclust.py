"""The fourteen covariance families beside R mclust 6.0.0, on its own partitions of iris and Old Faithful."""

import csv
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DATA
from sklearn.datasets import load_iris

import jgmm

MODELS = ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"]
ITERATED = {"VEI", "VEE", "VEV", "EVE", "VVE"}  # M-steps that mclust iterates, and stops early
M_STEPS = json.loads((DATA / "mclust" / "m_steps.json").read_text())
# The M-step of mclust's VVE stops before its maximum. From the same partition the exact one leads elsewhere: to no less
# in all cells but this; from the axes of the features, not its own, it leads to more here too.
ELSEWHERE = "iris", "VVE", 5


@functools.cache
def rows(name):
    return jnp.asarray(
        load_iris().data if name == "iris" else np.loadtxt(DATA / "faithful.csv", delimiter=",", skiprows=1)
    )


@functools.cache
def table(name, what):
    """{(model, k): number}."""
    with open(DATA / "mclust" / f"{name}_{what}.csv", newline="") as file:
        return {(model, int(row["G"])): float(row[model]) for row in csv.DictReader(file) for model in MODELS}


def stats_of(X, resp):
    """Of a partition, hard or soft; a component without rows is absent."""
    resp = jnp.asarray(resp)
    weight = resp.sum(0)
    center = resp.T @ X / jnp.where(weight > 0, weight, 1)[:, None]
    diff = X[:, None] - center[None]
    scatter = jnp.einsum("nk,nki,nkj->kij", resp, diff, diff)
    return jgmm.Stats(center, weight, jnp.zeros_like(center), scatter, weight.sum(), jnp.zeros(()))


def partition(name, k, room):
    labels = np.loadtxt(DATA / "mclust" / f"{name}_init_labels.csv", delimiter=",", skiprows=1, dtype=int)[:, k - 1]
    return stats_of(rows(name), np.eye(room)[labels - 1])


def soft_partition(name, k):
    """mclust's reference numbers for a start that is no partition."""
    i = np.arange(1, 1 + len(rows(name)))[:, None]
    z = 1.0 + (i * (np.arange(1, 1 + k)[None] + 1)) % 7
    return stats_of(rows(name), z / z.sum(1, keepdims=True))


def expected(stats, covariances):
    """The part of the expected log-likelihood that covariances have, nats."""
    covariances = np.asarray(covariances)
    weight, scatter = np.asarray(stats.weight)[: len(covariances)], np.asarray(stats.scatter)[: len(covariances)]
    traces = np.trace(np.linalg.solve(covariances, scatter), axis1=1, axis2=2)
    return -(weight * np.linalg.slogdet(covariances)[1] + traces).sum() / 2


@pytest.mark.parametrize("model", MODELS)
def test_an_m_step_is_that_of_mclust_or_better(model):
    found = 0
    for case, wanted in M_STEPS.items():
        name, of, k, *soft = case.split("__")
        if of != model:
            continue
        found += 1
        k = int(k)
        stats = soft_partition(name, k) if soft else partition(name, k, 3)  # where k is 2 the third is absent
        got = jgmm.m_step(stats, model).covariances[:k]
        if model in ITERATED:
            assert expected(stats, got) >= expected(stats, wanted) - 1e-8
        else:
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())
    assert found == 6


def fit(name, model, k, room, params=None):
    params = jgmm.m_step(partition(name, k, room), model) if params is None else params
    return jgmm.em(params, rows(name), stop=jgmm.LogProbStop(1e-13), max_steps=5000, history=5000)


def compare(name, model, k, room):
    """The fit of a model beside mclust's: higher by no more than a tolerance, or at all if that iterates."""
    result, wanted = fit(name, model, k, room), table(name, "loglik_tight")[model, k]
    if np.isnan(wanted):
        assert result.status == jgmm.Status.DEGENERATE
        return
    assert result.check().params.num_parameters == table(name, "df")[model, k]
    assert np.isfinite(result.params.covariances).all()  # of the absent components too
    history = np.asarray(result.history)[: int(result.num_steps) + 1]
    assert np.diff(history).min() > -1e-12
    rise = (float(result.stats.log_prob) - wanted) / abs(wanted)
    if (name, model, k) == ELSEWHERE:
        axes = jnp.eye(rows(name).shape[1])
        start = jgmm.m_step(partition(name, k, room), "VVV")
        var = jnp.diagonal(start.covariances, axis1=1, axis2=2)
        start = jgmm.GMM(start.weights, start.means, jgmm.VVE(axes, jgmm.Diag(var)))
        rise = (float(fit(name, model, k, room, start).stats.log_prob) - wanted) / abs(wanted)
    assert rise > (-1e-5 if model in ITERATED else -1e-6)
    assert rise < (np.inf if model in ITERATED else 1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_the_fits_of_iris_are_those_of_mclust(model):
    for k in 2, 3, 5:  # VEE and EVV with 5 components are refused
        compare("iris", model, k, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iris", "faithful"])
@pytest.mark.parametrize("model", MODELS)
def test_all_fits_are_those_of_mclust(name, model):
    for k in range(1, 10):
        compare(name, model, k, 9)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "model", "k"), [("iris", "VEV", 2), ("faithful", "EEE", 3)])
def test_the_sweep_chooses_what_mclust_chooses(name, model, k):
    """By BIC, from the hierarchical start, among the models that mclust does not refuse."""
    cells = [(model, k) for model in MODELS for k in range(1, 10)]
    found = jgmm.select.sweep(jax.random.key(0), rows(name), range(1, 10), cov=MODELS, init="hierarchical")
    refused = np.isnan([table(name, "loglik_tight")[cell] for cell in cells])
    sound = found.columns["status"] < jgmm.Status.DEGENERATE
    bic = np.where(sound & ~refused, found.columns["bic"], np.inf)
    assert cells[int(bic.argmin())] == (model, k)
