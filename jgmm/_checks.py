"""Bad input gets an exception at the public edge: what was expected, what came, what to do.

Shapes and dtypes are always known and always checked. Values are checked when they are there, that
is outside ``jit``, ``vmap`` and ``grad``; inside, the same trouble ends in a `Status`.
"""

import operator

import jax
import jax.numpy as jnp
import numpy as np

RESHAPE = "Use X.reshape(-1, 1) for a single feature, X.reshape(1, -1) for a single row."


def is_concrete(tree) -> bool:
    """Whether every leaf has values, and none is being traced."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _backend(x):
    # Arrays on a device are looked at there; everything else by NumPy, which compiles nothing.
    return jnp if isinstance(x, jax.Array) and x.devices() != {jax.devices("cpu")[0]} else np


def as_array(name, x):
    """``x`` as a float array: float32 and float64 as they are, integers as the default float."""
    if x is None:
        raise TypeError(f"{name} must hold numbers, got None. Pass a number or an array.")
    if not isinstance(x, (jax.Array, np.ndarray)):
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{name} must be a rectangular array of numbers: {error}.") from None
    if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool:
        return jnp.asarray(x, dtype=jnp.result_type(float))
    if x.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(
            f"{name} must hold float32, float64 or integer numbers, got dtype {x.dtype}. {_conversion(x.dtype)}"
        )
    return jnp.asarray(x)


def _conversion(dtype):
    # How to make numbers of what is none of ours.
    if jnp.issubdtype(dtype, jnp.floating):
        return "Convert it with .astype('float32')."
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return "Convert it: take the .real part, or the real and imaginary parts as features of their own."
    return "Convert numbers in text or objects with np.asarray(..., 'float64'); code categories as numbers first."


def as_data(X, sample_weight=None, *, num_components: int = 1):
    """The rows (n, d) as a float array and their weights (n,) in its dtype; ones for ``None``.

    Raises:
        ValueError: not 2-D, empty, fewer rows than components, NaN or infinite values in rows of
            positive weight; or weights of another shape, negative, not finite, or all zero.
        TypeError: not real numbers.
    """
    X = as_array("X", X)
    if X.ndim != 2:
        raise ValueError(f"X must be 2-D, (rows, features), got shape {X.shape}. {RESHAPE}")
    n, d = X.shape
    if n == 0 or d == 0:
        raise ValueError(f"X must hold at least one row and one feature, got shape {X.shape}.")
    if n < num_components:
        raise ValueError(
            f"X must hold at least as many rows as components, got {n} rows for {num_components} "
            "components. Use fewer components or more rows."
        )
    weighted = sample_weight is not None
    sample_weight = as_weights(sample_weight, X)
    if is_concrete((X, sample_weight)):
        _check_finite(X, sample_weight if weighted else None)
    return X, sample_weight


def as_weights(sample_weight, X):
    """The weights (n,) of the rows X in its dtype; ones for ``None``."""
    if sample_weight is None:
        return jnp.ones(X.shape[0], X.dtype)
    weight = as_array("sample_weight", sample_weight)
    if weight.shape != X.shape[:1]:
        raise ValueError(
            f"sample_weight must have one number for each of the {X.shape[0]} rows, shape "
            f"({X.shape[0]},), got shape {weight.shape}."
        )
    if is_concrete(weight):
        values = np.asarray(weight)
        bad = int(np.sum(~(np.isfinite(values) & (values >= 0))))
        if bad:
            raise ValueError(
                f"sample_weight must be finite and not negative, got {bad} values that are not. "
                "Use zero for rows that are to be left out."
            )
        if not values.sum() > 0:
            raise ValueError("sample_weight must have a positive sum, got only zeros.")
    return weight.astype(X.dtype)


def _check_finite(X, sample_weight=None):
    xp = _backend(X)
    with jax.ensure_compile_time_eval():  # known values stay known, inside jit too
        bad = ~xp.isfinite(xp.asarray(X))
        if sample_weight is not None:
            bad &= xp.asarray(sample_weight)[:, None] > 0
        by_column = np.asarray(bad.reshape(-1, bad.shape[-1]).sum(0))
    if by_column.any():
        columns = np.flatnonzero(by_column)
        shown = ", ".join(map(str, columns[:10])) + (", ..." if len(columns) > 10 else "")
        raise ValueError(
            f"X must be finite, got {by_column.sum()} NaN or infinite values in column(s) {shown}. "
            "Remove or impute those rows, or give them sample_weight 0 in a fit."
        )


def as_query(params, X):
    """Parameters and rows (n, d), or one point (d,), of one dtype, that belong together."""
    check_shapes(params)
    X = as_array("X", X)
    if X.ndim not in (1, 2):
        raise ValueError(f"X must have shape (rows, features) or (features,), got shape {X.shape}. {RESHAPE}")
    if X.ndim == 2 and X.shape[0] == 0:
        raise ValueError(f"X must hold at least one row, got shape {X.shape}.")
    check_features(params, X)
    if is_concrete(X):
        _check_finite(X)
    return params.astype(X.dtype), X


def check_features(params, X):
    """Raise unless the rows have the features of the parameters."""
    if X.shape[-1] != params.num_features:
        hint = f" {RESHAPE}" if X.ndim == 1 else ""
        raise ValueError(
            f"X must have the {params.num_features} features of the parameters, got "
            f"{X.shape[-1]} (shape {X.shape}).{hint}"
        )


def check_count(name, value, *, least: int) -> int:
    """``value`` as a Python int of at least ``least``."""
    try:
        if isinstance(value, bool):
            raise TypeError  # an index for Python, 0 or 1, but never meant as a count
        count = operator.index(value)
    except (TypeError, jax.errors.TracerIntegerConversionError):
        raise TypeError(
            f"{name} must be a Python integer (it sets a shape), got {value!r}. Inside jit, name it in static_argnames."
        ) from None
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {count}.")
    return count


def check_optional_count(name, value):
    """``None``, or ``value`` as a Python int of at least 1."""
    return None if value is None else check_count(name, value, least=1)


def as_rounds(race):
    """The rounds of a race as a hashable tuple of pairs (steps, survivors)."""
    try:
        rounds = tuple((steps, survivors) for steps, survivors in race)
    except (TypeError, ValueError):
        raise TypeError(f"race must be pairs (steps, survivors) such as ((10, 2),), or (), got {race!r}.") from None
    return tuple(
        (check_count("race's steps", s, least=1), check_count("race's survivors", r, least=1)) for s, r in rounds
    )


def check_choice(name, value, choices: dict):
    """The entry of ``choices`` that the string ``value`` names, or ``value`` if it is one of them."""
    if isinstance(value, str) and value in choices:
        return choices[value]
    if any(value is choice for choice in choices.values()):
        return value
    raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def _per_feature(name, value, X):
    """``value`` as an array: a number, or one for each feature of ``X``."""
    value, d = as_array(name, value), X.shape[-1]
    if value.shape not in ((), (d,)):
        raise ValueError(f"{name} must be a number or one for each of the {d} features, got shape {value.shape}.")
    return value


def as_axes(axis_name):
    """The names of mesh axes, as a tuple."""
    axes = (axis_name,) if isinstance(axis_name, str) else axis_name
    if not isinstance(axes, tuple) or not axes or not all(isinstance(axis, str) and axis for axis in axes):
        raise TypeError(f"axis_name must be the name of a mesh axis or a tuple of names, got {axis_name!r}.")
    return axes


PARTS = ("weights", "means", "cov")


def as_frozen(frozen):
    """The parts of a mixture that are not fitted, as a hashable tuple in their own order."""
    names = ", ".join(map(repr, PARTS))
    given = None if isinstance(frozen, str) or not hasattr(frozen, "__iter__") else list(frozen)
    if given is None or any(part not in PARTS for part in given):
        raise ValueError(f'frozen must be a collection of {names}, such as ("means",), got {frozen!r}.')
    if set(given) == set(PARTS):
        raise ValueError(f"frozen names every part, {names}: nothing is left to fit. Leave one out, or call e_step.")
    return tuple(part for part in PARTS if part in given)


def as_ridge(ridge, X):
    """The ridge (d,) in squared data units, from a number or one for each feature."""
    ridge = _per_feature("ridge", ridge, X)
    if is_concrete(ridge) and not np.all(np.isfinite(np.asarray(ridge)) & (np.asarray(ridge) >= 0)):
        raise ValueError(f"ridge must be finite and not negative, got {ridge}.")
    return jnp.broadcast_to(ridge.astype(X.dtype), X.shape[-1:])


def as_scale(scale, X):
    """The scale of distances (d,) in data units, from a number or one for each feature; or ``None``."""
    if scale is None:
        return None
    scale = _per_feature("scale", scale, X)
    if is_concrete(scale) and not np.all(np.isfinite(np.asarray(scale)) & (np.asarray(scale) > 0)):
        raise ValueError(f"scale must be finite and positive, got {scale}.")
    return jnp.broadcast_to(scale.astype(X.dtype), X.shape[-1:])


def as_limit(max_steps):
    """The step limit as a traced int32, so that a new one does not recompile."""
    most = np.iinfo(np.int32).max
    if is_concrete(max_steps):
        value = np.asarray(max_steps)
        if value.ndim or value.dtype.kind not in "iuf" or not 0 <= value <= most or value % 1:
            raise ValueError(f"max_steps must be a nonnegative integer up to {most}, got {max_steps!r}.")
    return jnp.asarray(max_steps, jnp.int32)


def as_rule(stop, dtype):
    """The stop rule with its numbers as arrays, so that a new tolerance does not recompile."""
    if isinstance(stop, type) or not (hasattr(stop, "init") and hasattr(stop, "update")):
        raise TypeError(f"stop must be a stop rule such as jgmm.LogProbStop(tol=1e-8), got {stop!r}.")

    def bound(value):
        number = as_array("A bound of a stop rule", value)
        if number.ndim:
            raise ValueError(f"A bound of a stop rule must be one number, got {stop!r}. Use jax.vmap over several.")
        if is_concrete(value) and not np.asarray(value) >= 0:
            raise ValueError(f"The bounds of a stop rule must not be negative, got {stop!r}.")
        return number.astype(dtype)

    # To JAX None is no leaf and a list many: here each is one bad bound.
    return jax.tree.map(bound, stop, is_leaf=lambda x: x is None or isinstance(x, (list, tuple)))


def _check_array(name, x):
    # Lists, too, pass through a constructor that checks nothing, and to JAX each is many leaves.
    if not hasattr(x, "shape"):
        raise TypeError(f"{name} must be an array, got {type(x).__name__}. Use jnp.array(...).")


def check_covariance(cov, num_components, num_features):
    """Raise unless ``cov`` is a covariance of these components and features."""
    if isinstance(cov, type) or not hasattr(cov, "factor"):
        raise TypeError(f"The covariance must be a jgmm.Full, Tied, Diag or Spherical, got {type(cov).__name__}.")
    for name, values in vars(cov).items():
        _check_array(f"{type(cov).__name__}.{name}", values)
    wanted, got = cov.shape(num_components, num_features), [jnp.shape(x) for x in jax.tree.leaves(cov)]
    if got != [wanted]:
        raise ValueError(
            f"{type(cov).__name__} covariances of {num_components} components in {num_features} features "
            f"need shape {wanted}, got {', '.join(map(str, got))}."
        )


def check_shapes(params):
    """Raise unless this is a mixture whose shapes belong together."""
    if not all(hasattr(params, name) for name in ("weights", "means", "cov")):
        raise TypeError(f"The parameters must be a jgmm.GMM(weights, means, cov), got {type(params).__name__}.")
    _check_array("weights", params.weights)
    _check_array("means", params.means)
    weights, means = jnp.shape(params.weights), jnp.shape(params.means)
    if len(means) != 2 or weights != means[:1] or 0 in means:
        raise ValueError(
            f"A mixture needs weights (k,) and means (k, d), got shapes {weights} and {means}. "
            "For a batch of mixtures use jax.vmap."
        )
    check_covariance(params.cov, *means)


def check_values(params, finite, symmetric, definite):
    """Raise unless weights are proportions, means finite, covariances symmetric and positive definite."""
    weights = np.asarray(params.weights, np.float64)
    if not (weights >= 0).all() or not abs(weights.sum() - 1) <= 1e-4:
        raise ValueError(
            f"weights must be nonnegative and sum to one, got {weights} with sum {weights.sum():.6g}. "
            "Divide them by their sum."
        )
    for what, good, remedy in (
        ("means must be finite", finite, "Replace the NaN or infinite entries."),
        ("covariances must be symmetric", symmetric, "Symmetrise them with (cov + cov.mT) / 2."),
        (
            "covariances must be finite and positive definite",
            definite,
            "Add a ridge to the diagonal, and replace NaN or infinite entries.",
        ),
    ):
        if not np.asarray(good).all():
            raise ValueError(
                f"{what}, got others for component(s) {np.flatnonzero(~np.asarray(good)).tolist()}. {remedy}"
            )
