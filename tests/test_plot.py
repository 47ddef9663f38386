"""What jgmm.plot draws is right: shares, integrals, colours, names, what is absent, and whose axes they are."""

import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import raises, random_gmm
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from pictures import columns, mixture, result, rows

import jgmm
import jgmm.plot

mpl.use("agg")


@pytest.fixture
def ax():
    return Figure().subplots()


# What is drawn, in numbers.


@pytest.mark.parametrize("cov", ["full", "tied", "diag", "spherical"])
def test_an_ellipse_holds_its_share_of_the_component(cov, ax):
    params, levels, n = random_gmm(1, 3, 3, cov), (0.1, 0.5, 0.95), 20_000
    drawn = jgmm.plot.ellipses(params, features=(2, 0), levels=levels, ax=ax)
    rng = np.random.default_rng(0)
    for k, share in itertools.product(range(3), levels):
        ellipse = drawn[3 * k + levels.index(share)]
        X = rng.multivariate_normal(params.means[k], params.covariances[k], n)[:, [2, 0]]
        outline = ellipse.get_path().transformed(ellipse.get_patch_transform())
        inside = outline.contains_points(X).mean()
        assert abs(inside - share) < 5 * np.sqrt(share * (1 - share) / n)


def test_levels_come_from_the_smallest_up(ax):
    widths = [ellipse.width for ellipse in jgmm.plot.ellipses(mixture(), levels=(0.9, 0.2, 0.5), ax=ax)]
    assert widths[:3] == sorted(widths[:3])


@pytest.mark.parametrize("narrow", [1.0, 1e-3], ids=["wide", "tilted and narrow"])
def test_a_contour_holds_its_share_of_the_mixture(narrow, ax):
    tilted = jnp.array([[1.0, 1.0 - narrow], [1.0 - narrow, 1.0]])
    params = jgmm.GMM(
        jnp.array([0.6, 0.4]), jnp.array([[0.0, 0.0], [9.0, 1.0]]), jgmm.Full(jnp.stack([tilted, jnp.eye(2)]))
    )
    levels, n = (0.2, 0.5, 0.9), 20_000
    drawn = jgmm.plot.contours(params, levels=levels, ax=ax)
    density = np.exp(jgmm.log_prob(params, jgmm.sample(jax.random.key(0), params, n)[0]))
    for share, border in zip(levels, drawn.lines.levels[::-1], strict=True):
        assert abs((density >= border).mean() - share) < 5 * np.sqrt(share * (1 - share) / n) + 0.01


def test_the_area_in_a_contour_is_that_of_the_ellipse(ax):
    params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Diag(jnp.array([[1.0, 4.0]])))
    drawn = jgmm.plot.contours(params, levels=0.5, ax=ax)
    [x, y] = drawn.lines.get_paths()[0].vertices.T
    area = abs(np.dot(x[:-1], np.diff(y)) - np.dot(y[:-1], np.diff(x))) / 2
    assert area == pytest.approx(np.pi * 2 * -2 * np.log(0.5), rel=0.01)


@pytest.mark.parametrize("feature", [0, 2])
def test_a_density_curve_integrates_to_one_and_is_the_density(feature, ax):
    params = mixture()
    drawn = jgmm.plot.curves(params, feature=feature, ax=ax)
    x, y = drawn.total.get_data()
    assert np.trapezoid(y, x) == pytest.approx(1, abs=3e-4)
    np.testing.assert_allclose(y, np.exp(jgmm.log_prob(jgmm.marginal(params, [feature]), x[:, None])), atol=1e-12)
    for part, weight in zip(drawn.parts, params.weights, strict=True):
        assert np.trapezoid(part.get_ydata(), x) == pytest.approx(float(weight), abs=3e-4)
    np.testing.assert_allclose(np.sum([part.get_ydata() for part in drawn.parts], 0), y, atol=1e-12)


def test_a_curve_follows_a_narrow_component(ax):
    params = jgmm.GMM(jnp.full(2, 0.5), jnp.array([[0.0], [3.3]]), jgmm.Spherical(jnp.array([1.0, 1e-10])))
    x, y = jgmm.plot.curves(params, ax=ax).total.get_data()
    assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-3)


def test_a_histogram_has_area_one(ax):
    drawn = jgmm.plot.curves(mixture(), rows(), bins=7, ax=ax).histogram.get_data()
    assert len(drawn.values) == 7
    assert np.sum(drawn.values * np.diff(drawn.edges)) == pytest.approx(1)


def test_ellipses_are_those_of_the_marginal(ax):
    one = jgmm.plot.ellipses(mixture(), features=(2, -2), ax=ax)
    other = jgmm.plot.ellipses(jgmm.marginal(mixture(), [2, 1]), ax=ax)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose([*a.center, a.width, a.height, a.angle], [*b.center, b.width, b.height, b.angle])


def test_rows_have_the_colour_of_their_component_and_are_fainter_in_doubt(ax):
    params, X = mixture(), rows()
    drawn = jgmm.plot.clusters(params, X, ax=ax)
    labels, resp = jgmm.predict(params, X), np.asarray(jgmm.responsibilities(params, X)).max(1)
    for k, artist in enumerate(drawn.points):
        np.testing.assert_allclose(artist.get_offsets(), X[labels == k][:, :2])
        assert to_hex(artist.get_facecolors()[0][:3]) == jgmm.plot.colors(3)[k]
        order = np.argsort(resp[labels == k])
        assert (np.diff(artist.get_alpha()[order]) >= 0).all()
    alike = jgmm.plot.clusters(params, X, fade=False, ax=ax).points[0].get_alpha()
    assert np.ptp(alike) == 0


def test_rows_in_doubt_are_drawn_last_and_largest(ax):
    params, X = mixture(), rows()
    drawn = jgmm.plot.uncertainty(params, X, ax=ax)
    doubt = 1 - np.asarray(jgmm.responsibilities(params, X)).max(1)
    np.testing.assert_allclose(drawn.get_array(), np.sort(doubt), atol=1e-12)
    np.testing.assert_allclose(drawn.get_offsets()[-1], X[doubt.argmax(), :2])
    assert (np.diff(drawn.get_sizes()) >= 0).all()
    alone = jgmm.plot.uncertainty(params, X, features=[1], ax=Figure().subplots())
    np.testing.assert_allclose(alone.get_offsets()[-1], [X[doubt.argmax(), 1], doubt.max()])


# Components: absent ones, and how the others look.


def test_absent_components_are_not_drawn_and_the_others_look_the_same(ax):
    params, shifted = mixture(absent=True), jgmm.GMM(*jax.tree.leaves(mixture())[:2], mixture().cov)
    first = jgmm.GMM(jnp.array([0.0, 0.6, 0.4]), shifted.means, shifted.cov)
    drawn = jgmm.plot.clusters(params, rows(), ax=ax)
    assert (len(drawn.ellipses), len(drawn.centers)) == (6, 3)
    assert ax.dataLim.x1 < 20  # the absent one has its mean at 40
    drawn = jgmm.plot.clusters(first, ax=Figure().subplots())
    assert [text.get_text() for text in drawn.numbers] == ["1", "2"]
    assert [to_hex(line.get_color()) for line in drawn.centers] == jgmm.plot.colors(3)[1:]
    assert len(jgmm.plot.curves(params, ax=Figure().subplots()).parts) == 3
    whole, padded = (jgmm.plot.contours(p, ax=Figure().subplots()) for p in (mixture(), params))
    np.testing.assert_allclose(padded.lines.levels, whole.lines.levels)
    assert jgmm.plot.pairs(params, figure=Figure())[0, -1].get_legend().get_texts()[-1].get_text() == "2: 0.20"


# Machado, Oliveira & Fernandes 2009, severity 1: how linear RGB looks to those without one kind of cones.
EYES = {
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colors, eyes="normal"):
    """CIELAB (k, 3) of colours as these eyes see them."""
    rgb = np.array([to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(EYES[eyes]), 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    x, y, z = np.cbrt((seen @ np.transpose(to_xyz)) / [0.95047, 1, 1.08883]).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def nearest(points):
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(points, 2))


# The least distance of any two of the first k colours. One that is just noticed is 2.3 (Mahy et al. 1994); in grey it
# is one of lightness, of which white and black are 100 apart.
@pytest.mark.parametrize(("k", "by_eye", "in_grey"), [(3, 35, 16), (5, 28, 9), (8, 19, 4.9), (20, 9.5, 2.2)])
def test_colours_differ_to_all_eyes_and_in_grey(k, by_eye, in_grey):
    colors = jgmm.plot.colors(k)
    for eyes in EYES:
        assert nearest(lab(colors, eyes)) > by_eye, eyes
    assert nearest(lab(colors)[:, :1]) > in_grey
    assert lab(colors)[:, 0].max() < 82  # seen on white


def test_the_test_of_colours_can_fail():
    assert nearest(lab(["#d62728", "#2ca02c"])) > 100
    assert nearest(lab(["#d62728", "#2ca02c"], "deuteranopia")) < 40
    assert nearest(lab(["#e69f00", "#56b4e9"])[:, :1]) < 2  # of a well-known list, alike in grey


def test_colour_and_shape_name_a_component(ax):
    drawn = jgmm.plot.points(np.zeros((180, 2)), np.arange(180), ax=ax)
    looks = {(tuple(a.get_facecolors()[0]), a.get_paths()[0].vertices.tobytes()) for a in drawn}
    assert len(looks) == 180


# Names.


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_columns_name_the_axes_and_choose_the_features(frame):
    X = frame(dict(zip(["width", "height", "age"], rows().T, strict=True)))
    by_name, by_place = (Figure().subplots() for _ in range(2))
    first = jgmm.plot.clusters(mixture(), X, features=("age", "width"), ax=by_name)
    other = jgmm.plot.clusters(mixture(), rows(), features=(2, 0), ax=by_place)
    assert (by_name.get_xlabel(), by_name.get_ylabel()) == ("age", "width")
    assert (by_place.get_xlabel(), by_place.get_ylabel()) == ("feature 2", "feature 0")
    for a, b in zip(first.points, other.points, strict=True):
        np.testing.assert_allclose(a.get_offsets(), b.get_offsets())
    grid = jgmm.plot.pairs(mixture(), X, features=["age", "height"], figure=Figure())
    assert (grid[1, 0].get_xlabel(), grid[1, 0].get_ylabel()) == ("age", "height")
    for function, chosen in ((jgmm.plot.curves, {"feature": "age"}), (jgmm.plot.uncertainty, {"features": "age"})):
        function(mixture(), X, **chosen, ax=(axes := Figure().subplots()))
        assert axes.get_xlabel() == "age"


def test_labels_that_are_there_stay(ax):
    ax.set_xlabel("mine")
    jgmm.plot.ellipses(mixture(), ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("mine", "feature 1")


def test_panels_of_a_column_and_of_a_row_share_their_limits():
    grid = jgmm.plot.pairs(mixture(), rows(), figure=Figure())
    for i, j in itertools.product(range(3), repeat=2):
        if j < i:
            assert grid[i, j].get_xlim() == grid[j, j].get_xlim()
            assert grid[i, j].get_ylim() == grid[i, 0].get_ylim() == grid[i, i].get_xlim()
        assert grid[i, j].axison == (j <= i)


# Fits.


def test_histories_end_with_their_last_step(ax):
    long, short = jgmm.plot.history(result(), ax=ax)
    assert (len(long.get_xdata()), len(short.get_xdata())) == (12, 9)
    left, _ = jgmm.plot.history(result(), remaining=True, ax=Figure().subplots())
    values = np.asarray(result().history[0])
    np.testing.assert_allclose(left.get_ydata(), (values.max() - values)[:-1])
    assert left.axes.get_yscale() == "log"


def test_a_history_of_nothing_is_an_empty_line(ax):
    lost = jgmm.Result(*jax.tree.leaves(result())[:0], mixture(), result().stats, 0, 0, 0, np.full(4, np.nan))
    for remaining in (False, True):
        [line] = jgmm.plot.history(lost, remaining=remaining, ax=ax)
        assert not len(line.get_xdata())


def test_starts_are_drawn_from_the_best_and_by_how_they_ended(ax):
    drawn = {artist.get_label(): artist.get_offsets() for artist in jgmm.plot.restarts(result(history=False), ax=ax)}
    np.testing.assert_allclose(drawn["converged"], [[1, -1.0], [2, -1.0], [4, -1.2]])
    np.testing.assert_allclose(drawn["not converged"], [[3, -1.1]])
    np.testing.assert_allclose(drawn["left behind in the race"], [[6, -1.5], [7, -1.7], [8, -1.8]])
    np.testing.assert_allclose(drawn["failed, no number"], [[5, 0]])  # on the lower edge


@pytest.mark.parametrize(
    "table", [columns, lambda: pd.DataFrame(columns()), lambda: pl.DataFrame(columns(), strict=False)]
)
def test_the_best_sound_model_is_marked_and_degenerate_ones_are(table, ax):
    drawn = jgmm.plot.sweep(table(), ax=ax)
    assert [line.get_label() for line in drawn.lines] == ["full", "diag"]
    np.testing.assert_allclose(drawn.best.get_offsets(), [[2, 600]])
    np.testing.assert_allclose(drawn.degenerate.get_offsets(), [[4, 500]])
    assert drawn.label.get_text() == "full, 2 components"


def test_a_degenerate_model_is_the_best_where_there_is_no_other_and_higher_may_be_better(ax):
    table = {"num_components": [1, 2], "cov": ["full", "full"], "log_prob": [-3.0, -2.0], "status": [3, 4]}
    drawn = jgmm.plot.sweep(table, criterion="log_prob", lower_is_better=False, ax=ax)
    np.testing.assert_allclose(drawn.best.get_offsets(), [[2, -2]])
    assert len(drawn.degenerate.get_offsets()) == 2
    sound = {name: values for name, values in table.items() if name != "status"}
    assert jgmm.plot.sweep(sound, criterion="log_prob", ax=ax).degenerate is None


# Whose axes.

DRAW_ALL = """
import sys
import matplotlib
import jgmm.plot
from matplotlib.figure import Figure
from pictures import PICTURES

def settings():
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}  # which loads pyplot


before = settings()
for draw in PICTURES.values():
    draw(Figure().subplots())
assert settings() == before
assert "matplotlib.pyplot" not in sys.modules
"""
WITHOUT = """
import sys
sys.modules["matplotlib"] = None
import jgmm
try:
    import jgmm.plot
except ImportError as error:
    print(error)
"""


def run(program):
    path = [str(folder) for folder in sys.path]
    program = f"import sys; sys.path[:] = {path!r}\n{program}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_on_given_axes_pyplot_is_not_even_imported():
    run(DRAW_ALL)


def test_without_matplotlib_the_error_says_what_to_install():
    assert 'pip install "jgmm[plot]"' in run(WITHOUT)


def test_without_axes_the_current_ones_of_pyplot_are_used():
    from matplotlib import pyplot

    try:
        _, (first, second) = pyplot.subplots(1, 2)
        pyplot.sca(first)
        assert {ellipse.axes for ellipse in jgmm.plot.ellipses(mixture())} == {first}
        assert not second.patches
        count = len(pyplot.get_fignums())
        grid = jgmm.plot.pairs(mixture())
        assert len(pyplot.get_fignums()) == count + 1
        assert grid[0, 0].figure is pyplot.gcf()
    finally:
        pyplot.close("all")


BAD = {
    "a result": ((jgmm.plot.clusters, result()), {}, TypeError, ["Pass its .params"]),
    "axes": ((jgmm.plot.ellipses, mixture()), {"ax": [1]}, TypeError, ["ax must be", "got list", "Pass one"]),
    "figure": ((jgmm.plot.pairs, mixture()), {"figure": 3}, TypeError, ["figure must be", "got int"]),
    "level": ((jgmm.plot.ellipses, mixture()), {"levels": (0.5, 1.0)}, ValueError, ["between 0 and 1", "(0.5, 1.0)"]),
    "no level": ((jgmm.plot.contours, mixture()), {"levels": ()}, ValueError, ["between 0 and 1"]),
    "far feature": ((jgmm.plot.curves, mixture()), {"feature": 3}, ValueError, ["0..2", "got 3"]),
    "unknown name": ((jgmm.plot.curves, mixture()), {"feature": "age"}, ValueError, ["'age'", "'feature 2'"]),
    "no feature": ((jgmm.plot.curves, mixture()), {"feature": 0.5}, TypeError, ["integer or the name", "0.5"]),
    "one feature": ((jgmm.plot.clusters, mixture()), {"features": 1}, ValueError, ["2 different features of 3"]),
    "same feature": ((jgmm.plot.clusters, mixture()), {"features": (1, -2)}, ValueError, ["2 different features"]),
    "three": ((jgmm.plot.uncertainty, mixture(), rows()), {"features": (0, 1, 2)}, ValueError, ["one or two"]),
    "one panel": ((jgmm.plot.pairs, mixture()), {"features": [1]}, ValueError, ["2 to 12", "got 1"]),
    "labels": ((jgmm.plot.points, rows(), [0.5]), {}, ValueError, ["150 integers from 0", "jgmm.predict"]),
    "confidence": (
        (jgmm.plot.points, [[0.0, 1.0]], [0]),
        {"confidence": [2.0]},
        ValueError,
        ["1 numbers between 0 and 1"],
    ),
    "a point": ((jgmm.plot.points, [0.0, 1.0], [0]), {}, ValueError, ["2-D", "(2,)"]),
    "other rows": ((jgmm.plot.clusters, mixture(), rows()[:, :2]), {}, ValueError, ["3 features"]),
    "no history": ((jgmm.plot.history, result(history=False)), {}, ValueError, ["history=N"]),
    "a mixture": ((jgmm.plot.history, mixture()), {}, TypeError, ["jgmm.Result", "got GMM"]),
    "no restarts": ((jgmm.plot.restarts, result()), {}, ValueError, ["jgmm.fit"]),
    "no result": ((jgmm.plot.restarts, mixture()), {}, TypeError, ["jgmm.Result", "got GMM"]),
    "column": ((jgmm.plot.sweep, columns()), {"criterion": "icl"}, ValueError, ["no column 'icl'"]),
    "lengths": ((jgmm.plot.sweep, columns() | {"cov": ["full"]}), {}, ValueError, ["one length", "(1,)", "(8,)"]),
    "status": ((jgmm.plot.sweep, columns() | {"status": ["fine"] * 8}), {}, ValueError, ["jgmm.Status", "'fine'"]),
    "nothing": ((jgmm.plot.sweep, columns() | {"bic": [np.nan] * 8}), {}, ValueError, ["no finite number"]),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_refused(bad, ax):
    (function, *arguments), options, error, parts = BAD[bad]
    place = {} if function is jgmm.plot.pairs else {"ax": ax}
    raises(error, parts, function, *arguments, **(place | options))


def test_many_features_need_a_choice():
    params = random_gmm(0, 2, 13, "diag")
    raises(ValueError, ["13 features", "at most 12"], jgmm.plot.pairs, params, figure=Figure())
    assert jgmm.plot.pairs(params, features=(0, 12), figure=Figure()).shape == (2, 2)
