"""Choosing a model: ICL, the grid of k by family, cross-validation by weights, the bootstrap test."""

import builtins
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers import case, close, raises, random_data
from matplotlib.figure import Figure
from test_recompile import COMPILATIONS

import jgmm
from jgmm._select.table import Selection
from jgmm.select import bootstrap_test, sweep

KEY = jax.random.key(0)
D, K = 2, 3
X = np.asarray(random_data(1, 150, D, K)[0])
QUICK = {"init": "random_points", "num_init": 3, "race": ((5, 1),)}
COUNTS = [1, 2, 3, 4]


@pytest.fixture(scope="module")
def found():
    """One grid, looked at by all tests."""
    return sweep(KEY, X, COUNTS, cov=("spherical", "diag"), criterion="cv", folds=3, **QUICK)


# ICL


def test_icl_is_bic_and_twice_the_entropy(cov, dtype):
    _, params, X, weight = case(0, cov, dtype)
    resp = np.asarray(jgmm.responsibilities(params, X), np.float64)
    entropy = scipy.stats.entropy(resp, axis=1)
    for w in (None, weight):
        doubt = (entropy * (1 if w is None else np.asarray(w))).sum()
        close(jgmm.icl(params, X, w), np.float64(jgmm.bic(params, X, w)) + 2 * doubt, dtype, loss=3)


def test_icl_of_certain_assignments_is_bic_and_has_a_derivative():
    params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[-1e3], [1e3]]), jgmm.Spherical(jnp.ones(2)))
    rows = jnp.array([[-1e3], [1e3], [1001.0]])
    assert float(jgmm.icl(params, rows)) == float(jgmm.bic(params, rows))
    slope = jax.grad(lambda means: jgmm.icl(dataclasses.replace(params, means=means), rows))(params.means)
    close(slope, jnp.array([[0.0], [-2.0]]), "float64")


def test_a_component_that_is_absent_changes_no_criterion():
    _, params, X, _ = case()
    weights, means = jnp.append(params.weights, 0.0), jnp.vstack([params.means, params.means[:1]])
    more = jgmm.GMM(weights, means, jgmm.Full(jnp.concatenate([params.cov.cov, params.cov.cov[:1]])))
    close(jgmm.icl(more, X), jgmm.icl(params, X), "float64")


# The grid


def test_each_cell_is_the_fit_and_its_criteria(found):
    columns = found.columns
    assert columns["cov"].tolist() == ["spherical"] * 4 + ["diag"] * 4
    assert columns["num_components"].tolist() == COUNTS * 2
    for place in (1, 6):
        k, cov = int(columns["num_components"][place]), str(columns["cov"][place])
        same = jgmm.fit(KEY, X, k, max_components=4, cov=cov, **QUICK)
        params = found.results[place].params
        assert params.num_components == k
        close(params.means, same.params.means[:k], "float64", loss=10)
        for name in ("bic", "aic", "icl"):
            close(columns[name][place], getattr(jgmm, name)(params.check(), X), "float64", loss=10)
        close(columns["log_prob"][place], jgmm.log_prob(params, X).sum(), "float64", loss=10)
        assert columns["num_parameters"][place] == params.num_parameters
        assert columns["status"][place] == int(same.status)


def test_the_statistics_without_absent_components_are_those_of_the_mixture(found):
    tied = sweep(KEY, X, [2, 4], cov=jgmm.Tied, **QUICK)
    assert tied.columns["cov"].tolist() == ["tied"] * 2
    for result in (tied.results[0], found.results[1], found.results[5]):
        stats = jgmm.e_step(result.params, X)
        close(dataclasses.replace(result.stats, shift=stats.shift), stats, "float64", loss=1e3)
        close(result.stats.shift, stats.shift, "float64", scale=len(X))  # at an optimum it is nothing but rounding
        assert jgmm.m_step(result.stats, result.params.cov, ridge=1e-6).means.shape == (2, D)


def test_every_k_of_a_family_is_one_program_and_other_options_too(found):
    COMPILATIONS.clear()
    again = sweep(KEY, X, [4, 2], cov="diag", criterion="cv", folds=3, **QUICK, max_steps=7)
    assert len(COMPILATIONS) == 0
    assert again.columns["num_components"].tolist() == [4, 2]


def test_cross_validation_is_the_held_out_likelihood_of_fits_that_never_saw_it(found):
    place = 6
    folds = jgmm.resample.cross_validation(KEY, len(X) + 10, 3, sample_weight=np.r_[np.ones(len(X)), np.zeros(10)])
    total = 0.0
    for train in np.asarray(folds)[:, : len(X)]:
        fit = jgmm.fit(KEY, X, 3, max_components=4, cov="diag", sample_weight=train, **QUICK)
        total += float(jgmm.log_prob(fit.params, X)[train == 0].sum())
    close(found.columns["cv"][place], total / len(X), "float64", loss=1e3)


def test_every_criterion_chooses_and_the_best_has_no_absent_components(found):
    assert found.criterion == "cv"
    assert found.columns["cv"][found.best_index] == max(found.columns["cv"][found.tier == 3])
    for name in ("bic", "aic", "icl"):
        by = dataclasses.replace(found, criterion=name)
        assert by.columns[name][by.best_index] == min(by.columns[name][by.tier == 3])
    assert found.best.params.num_components == found.columns["num_components"][found.best_index]
    with pytest.raises(ValueError, match=r"'bic', 'aic', 'icl', 'cv', got 'dic'"):
        dataclasses.replace(found, criterion="dic").best  # noqa: B018


def test_rows_of_weight_zero_and_of_weight_two():
    weight = np.r_[np.zeros(20), np.full(10, 2.0), np.ones(120)]
    repeated = np.concatenate([X[20:], X[20:30]])
    weighted = sweep(KEY, X, [1, 4], cov="spherical", sample_weight=weight, **QUICK)
    plain = sweep(KEY, repeated, [1, 4], cov="spherical", **QUICK)
    for name in ("bic", "icl", "log_prob"):
        close(weighted.columns[name][0], plain.columns[name][0], "float64", loss=10)


def test_the_table_reads_as_text_columns_and_a_picture(found):
    text = str(dataclasses.replace(found, criterion="bic"))
    lines = text.splitlines()
    assert lines[0] == "BIC: the lower, the better"
    assert lines[1].split() == ["k", "spherical", "diag"]
    assert [line.split()[0] for line in lines[2:6]] == ["1", "2", "3", "4"]
    assert text.count("*") == 2  # the cell and what it means
    assert "mean log-likelihood" in lines[-1]
    assert "the higher, the better" in str(found)

    frame = pd.DataFrame(found.to_dict())
    assert list(frame) == list(found.columns)
    assert frame["status"].isin(jgmm.Status.__members__).all()
    assert frame["cv"].idxmax() in (found.best_index, *np.flatnonzero(found.tier < 3))

    drawn = found.plot(ax=Figure().subplots())
    place = found.best_index
    assert drawn.label.get_text().startswith(f"{found.columns['cov'][place]}, {found.columns['num_components'][place]}")
    assert found.plot(criterion="aic", ax=Figure().subplots()).best.axes.get_ylabel() == "AIC"
    assert str(pickle.loads(pickle.dumps(found))) == str(found)


# Fits that fail


def grid(statuses, values, supported=None):
    """A table without fits."""
    r = len(statuses)
    columns = {"cov": ["full"] * r, "num_components": range(1, r + 1), "bic": values, "status": statuses}
    columns["supported"] = [True] * r if supported is None else supported
    return Selection("bic", {name: np.array(list(column)) for name, column in columns.items()}, (None,) * r)


def test_what_is_degenerate_is_marked_and_never_chosen_while_a_sound_one_exists():
    S = jgmm.Status
    table = grid([S.CONVERGED, S.STALLED, S.DEGENERATE, S.NON_FINITE], [9.0, 8.0, 1.0, np.nan])
    assert (table.best_index, table.tier.tolist()) == (1, [3, 3, 1, 0])
    rows = str(table).splitlines()[2:6]
    assert [row.rstrip()[-1] for row in rows] == ["0", "*", "x", "x"]
    assert "x: degenerate" in str(table)
    weak = grid([S.CONVERGED] * 3, [9.0, 8.0, 7.0], [True, True, False])
    assert (weak.best_index, weak.tier.tolist()) == (1, [3, 3, 2])
    assert grid([S.DEGENERATE, S.DEGENERATE, S.NON_FINITE], [3.0, 2.0, np.nan]).best_index == 1
    drawn = table.plot(ax=Figure().subplots())
    assert drawn.label.get_text() == "full, 2 components"
    assert len(drawn.degenerate.get_offsets()) == 1
    with pytest.raises(jgmm.FitError, match="more components than there are rows"):
        table.best  # noqa: B018


def test_more_components_than_rows_are_a_status_and_so_is_a_collapse():
    rows = np.repeat(np.array([[0.0], [1.0], [5.0]]), 3, 0)[:8]
    found = sweep(KEY, rows, [9, 1, 3, 6], cov="spherical", criterion="cv", folds=2, **QUICK)
    found = dataclasses.replace(found, criterion="bic")
    status, bic = found.columns["status"], found.columns["bic"]
    assert found.results[0] is None
    assert np.isnan(bic[0])
    assert status[:3].tolist() == [jgmm.Status.DEGENERATE, jgmm.Status.CONVERGED, jgmm.Status.DEGENERATE]
    assert bic[2] < bic[1]
    assert found.best.params.num_components == 1
    # a fold of four rows is left, too few for six components
    assert np.isfinite(found.columns["cv"]).tolist() == [False, True, True, False]


# Progress


@pytest.mark.parametrize("installed", [True, False])
def test_progress_is_told_on_stderr_with_and_without_tqdm(installed, capsys, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "tqdm" and not installed:
            raise ModuleNotFoundError(name="tqdm")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    options = QUICK | {"cov": "spherical"}
    sweep(KEY, X, [2, 4], **options)
    assert capsys.readouterr() == ("", "")
    sweep(KEY, X, [2, 4], **options, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "spherical, k = 4: bic" in err
    assert ("2/2" if installed else "2 of 2: ") in err


# Bad input


def test_bad_input():
    raises(ValueError, ["criterion", "'bic', 'aic', 'icl', 'cv'", "'dic'"], sweep, KEY, X, 2, criterion="dic")
    raises(TypeError, ["num_components", "range(1, 10)", "2.5"], sweep, KEY, X, 2.5)
    raises(ValueError, ["num_components", "at least 1", "0"], sweep, KEY, X, range(3))
    raises(ValueError, ["num_components", "got none"], sweep, KEY, X, [])
    raises(ValueError, ["cov", "got none"], sweep, KEY, X, 2, cov=())
    raises(ValueError, ["cov", "'full'", "'round'"], sweep, KEY, X, 2, cov="round")
    raises(TypeError, ["max_components", "not an option"], sweep, KEY, X, 2, max_components=4)
    raises(TypeError, ["tol"], sweep, KEY, X, 2, tol=1e-3)
    raises(ValueError, ["finite", "NaN"], sweep, KEY, np.where(X > 0, X, np.nan), 2)
    raises(
        ValueError, ["as many rows of positive weight", "got 1"], sweep, KEY, X, [2, 3], sample_weight=np.eye(150)[0]
    )
    raises(ValueError, ["num_folds", "at least 2", "1"], sweep, KEY, X, 2, criterion="cv", folds=1)
    raises(TypeError, ["outside jit"], jax.jit(lambda X: sweep(KEY, X, 2).best), X)
    raises(TypeError, ["key", "jax.random.key(0)"], bootstrap_test, 0, X, 2)
    raises(ValueError, ["num_resamples", "at least 1"], bootstrap_test, KEY, X, 2, num_resamples=0)
    raises(ValueError, ["3 rows for 4"], bootstrap_test, KEY, X[:3], 3)
    raises(TypeError, ["cov2", "unexpected"], bootstrap_test, KEY, X, 1, cov2="full")
    raises(TypeError, ["outside jit"], jax.jit(lambda X: bootstrap_test(KEY, X, 2).p_value), X)


# The bootstrap test: all data sets have one shape, so that one program serves

TEST = {"cov": "spherical", "init": "random_points", "num_init": 2, "race": ((2, 1),), "max_steps": 60}


def test_the_statistic_is_that_of_the_two_fits_and_a_clear_alternative_is_found():
    rows = np.concatenate([np.random.default_rng(0).normal(size=(25, 1)) + c for c in (-4.0, 4.0)])
    test = bootstrap_test(KEY, rows, 1, num_resamples=19, **TEST)
    assert test.null_statistics.shape == (19,)
    assert test.status.shape == (20, 2)
    one = scipy.stats.norm.logpdf(rows, rows.mean(), rows.std()).sum()
    two = jgmm.fit(KEY, rows, 2, **TEST).stats.log_prob
    close(test.statistic, 2 * (float(two) - one), "float64", loss=1e7)
    assert test.p_value == 0.05
    assert str(test).startswith("1 component against 2: LR = ")
    moved = bootstrap_test(KEY, rows * 1e-3 + 7, 1, num_resamples=19, **TEST)
    close(moved.statistic, test.statistic, "float64", loss=1e8)


def p_values(draw, k, sets, resamples, **options):
    """Of so many data sets, by one program."""
    rng = np.random.default_rng(5)
    keys = jax.random.split(jax.random.key(7), sets)
    return np.array([bootstrap_test(key, draw(rng), k, num_resamples=resamples, **options).p_value for key in keys])


def uniformity(values, resamples):
    """The p-value of a chi-squared test that these are uniform on 1 / (r + 1), ..., 1, in five bins."""
    counts = np.bincount(np.ceil(values * 5 - 1e-9).astype(int) - 1, minlength=5)
    assert (resamples + 1) % 5 == 0
    return scipy.stats.chisquare(counts).pvalue


def test_p_values_are_uniform_where_the_null_is_true():
    """For k = 1 exactly so: LR is the same in all units, and from all origins."""
    values = p_values(lambda rng: rng.normal(3, 2, (50, 1)), 1, 60, 19, **TEST)
    assert set(np.round(values * 20, 6)) <= set(range(1, 21))
    assert uniformity(values, 19) > 0.01
    assert abs(values.mean() - 0.525) < 3 * (values.std() / 60**0.5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_p_values_are_uniform_in_a_larger_simulation():
    def two(rng):
        return rng.normal(size=(100, 2)) + 3 * rng.integers(2, size=(100, 1))

    one = p_values(lambda rng: rng.normal(size=(100, 2)), 1, 200, 39, cov="full", num_init=8)
    assert uniformity(one, 39) > 0.001
    assert uniformity(p_values(two, 2, 150, 39, cov="spherical", num_init=8), 39) > 0.001
