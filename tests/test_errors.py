"""Bad input at the public edge: the type of the exception, what was expected, what came, what to do."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from helpers import FAMILIES, close, raises, random_data, random_gmm

import jgmm

N, D, K = 20, 2, 2
KEY = jax.random.key(0)
X = np.asarray(random_data(0, N, D, K)[0])
PARAMS = random_gmm(0, K, D, "full")
STARTS = [name for name in jgmm.init.__all__ if inspect.isfunction(getattr(jgmm.init, name))]
INITS = [name for name in STARTS if name != "tree"]


def call_init(name):
    return lambda X, w=None: getattr(jgmm.init, name)(KEY, X, K, sample_weight=w)


WEIGHTED = {
    "fit": lambda X, w=None: jgmm.fit(KEY, X, K, num_init=2, max_steps=2, sample_weight=w).params,
    "em": lambda X, w=None: jgmm.em(PARAMS, X, w, max_steps=2),
    "fit_gradient": lambda X, w=None: jgmm.fit_gradient(PARAMS, X, w, max_steps=2),
    "e_step": lambda X, w=None: jgmm.e_step(PARAMS, X, w),
    "step": lambda X, w=None: jgmm.step(PARAMS, X, w),
    "online_step": lambda X, w=None: jgmm.online_step(PARAMS, None, X, 0.5, sample_weight=w),
    "bic": lambda X, w=None: jgmm.bic(PARAMS, X, w),
    "aic": lambda X, w=None: jgmm.aic(PARAMS, X, w),
    "icl": lambda X, w=None: jgmm.icl(PARAMS, X, w),
    "relative_ridge": lambda X, w=None: jgmm.relative_ridge(X, 1e-6, w),
    "standard_errors": lambda X, w=None: jgmm.standard_errors(PARAMS, X, w),
    **{name: call_init(name) for name in INITS},
    "tree": lambda X, w=None: jnp.asarray(jgmm.init.tree(X, w).rises),
}
POINTWISE = {
    "log_prob": lambda X: jgmm.log_prob(PARAMS, X),
    "responsibilities": lambda X: jgmm.responsibilities(PARAMS, X),
    "predict": lambda X: jgmm.predict(PARAMS, X),
    "uncertainty": lambda X: jgmm.uncertainty(PARAMS, X),
}
CALLS = WEIGHTED | POINTWISE
WITH_PARAMS = [
    *("em", "fit_gradient", "e_step", "step", "standard_errors"),
    *("log_prob", "responsibilities", "predict", "uncertainty", "bic", "aic", "icl"),
]


def test_the_table_covers_every_public_function_that_takes_rows():
    public = {name: getattr(jgmm, name) for name in jgmm.__all__} | {n: getattr(jgmm.init, n) for n in STARTS}
    del public["spread"]  # what is fitted to the rows that it has spread looks at their values
    takes_rows = {n for n, f in public.items() if inspect.isfunction(f) and "X" in inspect.signature(f).parameters}
    weighs = {n for n in takes_rows if "sample_weight" in inspect.signature(public[n]).parameters}
    assert takes_rows == set(CALLS)
    assert weighs == set(WEIGHTED)


def with_values(where, value):
    bad = X.copy()
    bad[where] = value
    return bad


BAD_X = {
    "3-D": (
        X[None],
        ValueError,
        ["(rows, features)", "(1, 20, 2)", "jax.vmap for a", "(-1, X.shape[-1])"],
    ),
    "0-D": (np.float64(1.0), ValueError, ["(rows, features)", "got shape ()"]),
    "no rows": (X[:0], ValueError, ["at least one row", "(0, 2)"]),
    "one NaN": (with_values((3, 1), np.nan), ValueError, ["finite", "got 1 NaN", "column(s) 1.", "Remove or impute"]),
    "inf": (with_values(0, np.inf), ValueError, ["finite", "got 2 NaN or infinite", "column(s) 0, 1.", "Remove"]),
    "None": (None, TypeError, ["hold numbers, got None", "Pass a number or an array"]),
    "complex": (X.astype(complex), TypeError, ["float32, float64 or integer", "complex128", ".real part"]),
    "object": (X.astype(object), TypeError, ["float32, float64 or integer", "object", "np.asarray(..., 'float64')"]),
    "strings": (X.astype(str), TypeError, ["float32, float64 or integer", "<U", "np.asarray(..., 'float64')"]),
    "list of strings": ([["a", "b"]] * N, TypeError, ["float32, float64 or integer", "<U", "Convert"]),
    "float8": (
        jnp.asarray(X, jnp.float8_e4m3fn),
        TypeError,
        ["float64 or integer", "float8_e4m3fn", "'float32'"],
    ),
    "sparse": (scipy.sparse.csr_matrix(X), TypeError, ["a dense array, got csr_matrix", "X.toarray()"]),
    "masked": (np.ma.masked_greater(X, 1), TypeError, ["without a mask", "masked values", "X.filled(value)"]),
    "ragged list": ([[1.0, 2.0], [3.0]], ValueError, ["X must be a rectangular array"]),
    "no features": (X[:, :0], ValueError, ["feature", "(20, 0)"]),
}


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("bad", BAD_X)
def test_bad_rows_are_refused(function, bad):
    X, error, parts = BAD_X[bad]
    raises(error, ["X must", *parts], CALLS[function], X)


@pytest.mark.parametrize("function", WEIGHTED)
def test_a_vector_of_data_is_refused_with_the_way_to_make_it_rows(function):
    raises(ValueError, ["(rows, features)", "(20,)", "reshape"], CALLS[function], X[:, 0])


@pytest.mark.parametrize("function", POINTWISE)
def test_a_vector_that_is_no_point_is_refused_with_the_way_to_make_it_rows(function):
    raises(ValueError, ["features", "(20,)", "reshape"], CALLS[function], X[:, 0])


def test_many_bad_columns_are_not_all_listed():
    wide = np.full((3, 12), np.nan)
    raises(ValueError, ["got 36 NaN", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."], jgmm.relative_ridge, wide)


@pytest.mark.parametrize("function", ["fit", *INITS])
def test_fewer_rows_than_components_are_refused(function):
    parts = ["at least as many rows as components", "1 rows for 2 components", "fewer components or more rows"]
    raises(ValueError, parts, CALLS[function], X[:1])


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("function", WITH_PARAMS)
def test_rows_of_other_features_than_the_parameters_are_refused(function, width):
    parts = ["2 features of the parameters", f"got {width} (shape (20, {width}))"]
    raises(ValueError, parts, CALLS[function], np.ones((N, width)))


BAD_WEIGHTS = {
    "negative": (np.array([-1.0, -2.0] + [1.0] * 18), ValueError, ["not negative", "got 2 values", "Use zero"]),
    "NaN": (np.array([np.nan] + [1.0] * 19), ValueError, ["finite", "got 1 values", "Use zero"]),
    "inf": (np.array([np.inf] + [1.0] * 19), ValueError, ["finite", "got 1 values", "Use zero"]),
    "all zero": (np.zeros(N), ValueError, ["positive sum", "only zeros"]),
    "short": (np.ones(3), ValueError, ["each of the 20 rows", "shape (20,)", "got shape (3,)"]),
    "column": (np.ones((N, 1)), ValueError, ["each of the 20 rows", "shape (20,)", "got shape (20, 1)"]),
    "scalar": (2.0, ValueError, ["each of the 20 rows", "shape (20,)", "got shape ()"]),
    "complex": (np.ones(N, complex), TypeError, ["float32, float64 or integer", "complex128", "Convert"]),
    "strings": (["a"] * N, TypeError, ["float32, float64 or integer", "<U1", "Convert"]),
}


@pytest.mark.parametrize("function", WEIGHTED)
@pytest.mark.parametrize("bad", BAD_WEIGHTS)
def test_bad_sample_weights_are_refused(function, bad):
    weight, error, parts = BAD_WEIGHTS[bad]
    raises(error, ["sample_weight must", *parts], WEIGHTED[function], X, weight)


def initialise(name):
    return lambda num_components=K, **options: getattr(jgmm.init, name)(KEY, X, num_components, **options)


def fit(num_components=K, **options):
    return jgmm.fit(KEY, X, num_components, **{"num_init": 1, "max_steps": 1} | options)


def m_step(cov="full", family="full", **options):
    return jgmm.m_step(jgmm.e_step(random_gmm(0, K, D, family), X), cov, **options)


COUNTED = {"fit": fit, **{name: initialise(name) for name in INITS}}
OPTIONS = COUNTED | {
    "m_step": m_step,
    "em": lambda **options: jgmm.em(PARAMS, X, **{"max_steps": 1} | options),
    "step": lambda **options: jgmm.step(PARAMS, X, **options),
    "fit_gradient": lambda **options: jgmm.fit_gradient(PARAMS, X, **options),
    "e_step": lambda **options: jgmm.e_step(PARAMS, X, **options),
    "standard_errors": lambda **options: jgmm.standard_errors(PARAMS, X, **options),
    "log_prob": lambda **options: jgmm.log_prob(PARAMS, X, **options),
    "responsibilities": lambda **options: jgmm.responsibilities(PARAMS, X, **options),
    "predict": lambda **options: jgmm.predict(PARAMS, X, **options),
    "uncertainty": lambda **options: jgmm.uncertainty(PARAMS, X, **options),
}
BAD_COUNTS = [*[(count, ValueError) for count in (0, -1)], *[(count, TypeError) for count in (2.0, "2", None, True)]]


@pytest.mark.parametrize("function", COUNTED)
@pytest.mark.parametrize(("count", "error"), BAD_COUNTS)
def test_bad_numbers_of_components_are_refused(function, count, error):
    expected = "at least 1" if error is ValueError else "Python integer"
    raises(error, ["num_components must be", expected, f"got {count!r}"], COUNTED[function], count)


@pytest.mark.parametrize("function", COUNTED)
def test_a_traced_number_of_components_is_refused(function):
    raises(TypeError, ["num_components must be a Python integer", "static_argnames"], jax.jit(COUNTED[function]), K)


TAKE_COV = " ".join([*COUNTED, "m_step"])
FAMILY_NAMES = "cov must be one of 'full', 'tied', 'diag', 'spherical'"
INIT_NAMES = "init must be one of 'kmeans', 'kmeans_plusplus', 'mixed', 'random_points', 'random_resp', 'hierarchical'"
BAD_OPTIONS = [  # functions, option, value, exception, parts of the message
    ("fit", "num_init", 0, ValueError, ["num_init must be at least 1", "got 0"]),
    ("fit", "num_init", 2.5, TypeError, ["num_init must be a Python integer", "got 2.5"]),
    ("fit", "num_init", True, TypeError, ["num_init must be a Python integer", "got True"]),
    (TAKE_COV, "cov", "ful", ValueError, [FAMILY_NAMES, "got 'ful'"]),
    (TAKE_COV, "cov", None, ValueError, [FAMILY_NAMES, "got None"]),
    ("fit m_step", "cov", np.eye(2), ValueError, [FAMILY_NAMES]),
    ("m_step", "cov", random_gmm(0, 3, D, "full").cov, ValueError, ["2 components in 2 features", "got (3, 2, 2)"]),
    ("fit", "init", "kmean", ValueError, [INIT_NAMES, "got 'kmean'"]),
    ("fit", "init", 3, ValueError, [INIT_NAMES, "got 3"]),
    ("fit em", "history", 0, ValueError, ["history must be at least 1", "got 0"]),
    ("fit em", "history", 2.5, TypeError, ["history must be a Python integer", "got 2.5"]),
    ("fit em", "max_steps", -1, ValueError, ["max_steps", "nonnegative integer", "got -1"]),
    ("fit em", "max_steps", 2.5, ValueError, ["max_steps", "nonnegative integer", "got 2.5"]),
    *[("em", "max_steps", bad, (TypeError, ValueError), ["max_steps"]) for bad in ("a", None, np.inf, np.nan, 10**12)],
    ("fit em", "stop", jgmm.LogProbStop(-1), ValueError, ["must not be negative", "LogProbStop(tol=-1)"]),
    ("fit em", "stop", jgmm.ParamStop(-1.0), ValueError, ["must not be negative", "rtol=-1"]),
    ("fit em", "stop", jgmm.ParamStop(1e-5, -1.0), ValueError, ["must not be negative", "atol=-1"]),
    ("fit em", "stop", jgmm.LogProbStop("a"), TypeError, ["A bound of a stop rule must hold", "got dtype <U1"]),
    ("fit em", "stop", jgmm.LogProbStop(None), TypeError, ["A bound of a stop rule must hold numbers, got None"]),
    ("fit em", "stop", jgmm.LogProbStop([1, 2]), ValueError, ["must be one number", "LogProbStop(tol=[1, 2])", "vmap"]),
    ("fit em", "stop", jgmm.ParamStop(1e-5, np.ones(2)), ValueError, ["must be one number", "atol=[1., 1.]"]),
    *[("fit em", "stop", bad, TypeError, ["stop must be a stop rule such as jgmm."]) for bad in (1e-6, None, "tol")],
    ("em", "stop", jgmm.LogProbStop, TypeError, ["stop must be a stop rule such as jgmm."]),
    ("fit em step m_step", "ridge", -1.0, ValueError, ["ridge must be", "not negative", "got -1.0"]),
    ("fit em step m_step", "ridge", np.nan, ValueError, ["ridge must be finite", "got nan"]),
    ("fit em step m_step", "ridge", [1, 2, 3], ValueError, ["ridge must be", "each of the 2 features", "(3,)"]),
    ("fit em step m_step", "ridge", [[1, 2]], ValueError, ["ridge must be", "each of the 2 features", "(1, 2)"]),
    ("fit em step m_step", "ridge", "a", TypeError, ["ridge must hold", "<U1"]),
    ("kmeans kmeans_plusplus mixed", "scale", 0.0, ValueError, ["scale must be", "positive", "got 0.0"]),
    ("kmeans kmeans_plusplus mixed", "scale", [1, np.nan], ValueError, ["scale must be finite and positive", "nan"]),
    (
        "kmeans kmeans_plusplus mixed",
        "scale",
        [1, 2, 3],
        ValueError,
        ["scale must be", "each of the 2 features", "(3,)"],
    ),
    ("kmeans kmeans_plusplus mixed", "scale", "a", TypeError, ["scale must hold", "<U1"]),
    *[
        ("em step fit_gradient", "frozen", bad, ValueError, ["frozen must be a collection of 'weights'", '("means",)'])
        for bad in ("means", None, 3, ["mean"], ("means", "covariances"))
    ],
    (
        "em step fit_gradient",
        "frozen",
        ("weights", "means", "cov"),
        ValueError,
        ["nothing is left to fit", "Leave one"],
    ),
    ("step m_step", "ridge", None, TypeError, ["ridge must hold numbers, got None"]),
    *[
        (f"fit em step e_step standard_errors {' '.join(POINTWISE)}", "chunk_size", size, error, ["chunk_size must be"])
        for size, error in ((0, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError))
    ],
]


@pytest.mark.parametrize(
    ("function", "option", "value", "error", "parts"),
    [
        pytest.param(name, option, *rest, id=f"{name}-{option}={str(rest[0])[:20]}")
        for names, option, *rest in BAD_OPTIONS
        for name in names.split()
    ],
)
def test_bad_options_are_refused(function, option, value, error, parts):
    raises(error, parts, OPTIONS[function], **{option: value})


@pytest.mark.parametrize(("n", "error"), [(-1, ValueError), (2.0, TypeError), ("3", TypeError), ((2, 3), TypeError)])
def test_bad_numbers_of_draws_are_refused(n, error):
    expected = "at least 0" if error is ValueError else "Python integer"
    raises(error, ["n must be", expected, f"got {n!r}"], jgmm.sample, KEY, PARAMS, n)


POOR = {
    "full": ["tied", "diag", "spherical"],
    "tied": ["diag", "spherical"],
    "diag": ["tied", "spherical"],
    "spherical": ["tied"],
}


@pytest.mark.parametrize(("target", "source"), [(target, source) for target, poor in POOR.items() for source in poor])
def test_statistics_too_poor_for_a_family_are_refused(target, source):
    shape = {"tied": (1, D, D), "diag": (K, D), "spherical": (K, 1)}[source]
    raises(ValueError, [target, f"got shape {shape}", "collect the statistics with a"], m_step, target, source)


@pytest.mark.parametrize("bad", [PARAMS, X, None, jgmm.Stats], ids=["GMM", "rows", "None", "the class"])
def test_no_statistics_are_refused(bad):
    raises(TypeError, ["stats must be the jgmm.Stats", f"got {type(bad).__name__}"], jgmm.m_step, bad, "full")


@pytest.mark.parametrize("value", [-1.0, np.nan, [1.0, 2.0, 3.0]])
def test_a_bad_fraction_of_the_variance_is_refused(value):
    raises(ValueError, ["fraction"], jgmm.relative_ridge, X, value)


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("kind", ["list", "int32", "uint8", "bool"])
def test_integers_become_the_default_float(function, kind):
    whole = np.round(X).astype(int) % 2 if kind == "bool" else np.abs(np.round(X)).astype(int)
    given = whole.tolist() if kind == "list" else whole.astype(kind)
    expected, actual = CALLS[function](whole.astype("float64")), CALLS[function](given)
    assert [a.dtype for a in jax.tree.leaves(actual)] == [e.dtype for e in jax.tree.leaves(expected)]
    close(actual, expected, "float64")


OTHERS = {  # rows as other libraries hold them, and those that they stand for
    "big-endian": (X.astype(">f8"), X),
    "float16": (X.astype("float16"), X.astype("float16").astype("float32")),
    "bfloat16": (jnp.asarray(X, jnp.bfloat16), jnp.asarray(X, jnp.bfloat16).astype("float32")),
    "no mask": (np.ma.masked_greater(X, 1e9), X),
    "a frame": (pd.DataFrame(X, columns=["a", "b"]), X),
    "nullable columns": (pd.DataFrame({"a": pd.array(X[:, 0]), "b": X[:, 1]}), X),
    "a boolean column": (pd.DataFrame({"a": X[:, 0], "b": X[:, 1] > 0}), np.stack([X[:, 0], X[:, 1] > 0], 1)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_rows_as_other_libraries_hold_them(kind):
    given, meant = OTHERS[kind]
    for function in (jgmm.log_prob, jgmm.e_step):
        found, expected = function(PARAMS, given), function(PARAMS, meant)
        assert [x.dtype for x in jax.tree.leaves(found)] == [x.dtype for x in jax.tree.leaves(expected)]
        close(found, expected, "float64")


def test_a_frame_that_lacks_values_is_refused_as_rows_that_do():
    frame = pd.DataFrame({"a": pd.array([1, None, 3]), "b": [1.0, 2.0, 3.0]})
    raises(ValueError, ["got 1 NaN or infinite values in column(s) 0"], jgmm.log_prob, PARAMS, frame)
    raises(ValueError, ["a rectangular array of numbers"], jgmm.log_prob, PARAMS, frame.assign(a="x"))


KEYED = {
    "fit": lambda key: jgmm.fit(key, X, K, num_init=1, max_steps=1),
    "fit_gradient": lambda key: jgmm.fit_gradient(PARAMS, X, batch_size=5, key=key, max_steps=1),
    "sample": lambda key: jgmm.sample(key, PARAMS, 3),
    "kl_divergence": lambda key: jgmm.kl_divergence(key, PARAMS, PARAMS, 3),
    "bootstrap": lambda key: jgmm.resample.bootstrap(key, 3, 2),
    "cross_validation": lambda key: jgmm.resample.cross_validation(key, 4, 2),
    **{name: lambda key, name=name: getattr(jgmm.init, name)(key, X, K) for name in INITS},
}


@pytest.mark.parametrize("function", KEYED)
def test_a_key_that_is_none_is_refused(function):
    for bad in (0, 0.5, np.zeros(2), "a"):
        raises(TypeError, ["key must be a JAX random key such as jax.random.key(0)", repr(bad)], KEYED[function], bad)
    raises(ValueError, ["one random key", "shape (2,)", "jax.vmap"], KEYED[function], jax.random.split(KEY))


@pytest.mark.parametrize("function", ["sample", "bootstrap", "random_points"])
def test_a_key_of_the_old_kind_is_taken(function):
    close(KEYED[function](jax.random.PRNGKey(0)), KEYED[function](jax.random.key(0)), "float64")


@pytest.mark.parametrize("function", WITH_PARAMS)
def test_a_result_in_place_of_its_mixture_is_refused(function):
    result = jgmm.em(PARAMS, X, max_steps=1)
    raises(TypeError, ["must be a jgmm.GMM", "got Result", "Pass its .params"], getattr(jgmm, function), result, X)


@pytest.mark.parametrize("kind", ["list", "int32", "bool"])
@pytest.mark.parametrize("function", WEIGHTED)
def test_integer_sample_weights_are_accepted(function, kind):
    whole = np.arange(N) % 2 if kind == "bool" else np.arange(N)
    given = whole.tolist() if kind == "list" else whole.astype(kind)
    close(WEIGHTED[function](X, given), WEIGHTED[function](X, whole.astype("float64")), "float64")


# random_resp deals the rows out at random, and so deals differently where there is one row more.
@pytest.mark.parametrize("function", [name for name in WEIGHTED if name != "random_resp"])
def test_a_row_of_weight_zero_is_absent_whatever_it_holds(function):
    weight = np.linspace(1, 2, N)
    weight[[0, 7]] = 0
    keep = weight > 0
    expected = WEIGHTED[function](X[keep], weight[keep])
    for value in (np.nan, np.inf):
        close(WEIGHTED[function](with_values([0, 7], value), weight), expected, "float64")


@pytest.mark.parametrize("cov", FAMILIES)
def test_random_resp_leaves_rows_of_weight_zero_out(cov):
    weight = np.isin(np.arange(N), [0, 7], invert=True).astype(float)

    def deal(X):
        return jgmm.init.random_resp(KEY, X, K, cov=cov, sample_weight=weight)

    close(deal(with_values([0, 7], np.nan)), deal(X), "float64")
    close(18 * deal(with_values([0, 7], 1e3)).weights, np.array([9.0, 9.0]), "float64")


SECONDS = 1_790_000_000 + np.arange(60.0) * 5  # since 1970, of five minutes


@pytest.mark.parametrize("values", [SECONDS, SECONDS.astype("int64"), 2**62 + np.arange(60) * 2**20])
def test_a_cast_that_moves_rows_by_more_than_a_thousandth_of_their_spread_is_an_error(values):
    rows = np.stack([np.arange(60), values], 1)
    with jax.enable_x64(False):
        raises(ValueError, ["cast to float32", "column 1", "Subtract an origin", "x64"], jgmm.fit, KEY, rows, 1)
        jgmm.relative_ridge(rows - rows[0])
        jgmm.relative_ridge(rows, sample_weight=np.arange(60) == 3)  # one row has no spread to lose
    jgmm.relative_ridge(rows)
