"""The closed algebra of Gaussian mixtures: what is a mixture again, and its moments.

Marginals, conditionals, affine images, sums with independent noise, products of densities and merged
components of a mixture are mixtures, in closed form:

    x_r | x_g ~ sum_k pi_k(x_g) N(mu_r + B_k (x_g - mu_g), Sigma_rr - B_k Sigma_gr),   B_k = Sigma_rg Sigma_gg^-1

Pure functions, differentiable, for ``vmap`` over mixtures. A result keeps the covariance family where that can
hold it, and is `Full` otherwise.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.arrays import as_array, is_concrete
from jgmm._base.options import check_count
from jgmm._base.programs import program
from jgmm._base.types import ArrayLike, where
from jgmm._covariance.factor import HIGHEST, TriangularFactor, by_feature, matmul, symmetrised
from jgmm._covariance.families import Full
from jgmm._covariance.family import check_additive
from jgmm._mixture.gmm import GMM, log_components, mix, residuals
from jgmm._mixture.validity import check_shapes


def _as_params(params: GMM) -> GMM:
    """The mixture with its numbers as float arrays of one dtype."""
    check_shapes(params)
    return params.astype(as_array("means", params.means).dtype)


def _as_dims(dims: ArrayLike, num_features: int) -> tuple[np.ndarray, np.ndarray]:
    """The features named, as an array of places 0..d-1, and those not named."""
    try:
        given = np.atleast_1d(np.asarray(dims))
    except (jax.errors.TracerArrayConversionError, ValueError):
        given = np.empty(0)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
        raise TypeError(f"dims must be Python integers, the features meant, got {dims!r}. Inside jit, close over them.")
    if given.min() < -num_features or given.max() >= num_features or np.unique(given % num_features).size < given.size:
        raise ValueError(f"dims must be different features of 0..{num_features - 1}, got {given.tolist()}.")
    given = np.mod(given, num_features)
    return given, np.setdiff1d(np.arange(num_features), given)


def _as_map(name, A, dtype, num_features):
    """``A`` as an array (), (d,) or (q, d)."""
    A = as_array(name, A).astype(dtype)
    if A.ndim > 2 or (A.ndim and A.shape[-1] != num_features):
        raise ValueError(
            f"{name} must be a number, one for each of the {num_features} features, or a matrix with "
            f"{num_features} columns, got shape {A.shape}."
        )
    return A


def _held(params, operation):
    """The covariance ``operation(cov)``: of the family where that can hold it, and else of `Full`."""
    cov = operation(params.cov)
    return operation(Full(params.covariances)) if cov is NotImplemented else cov


def to_full(params: GMM) -> GMM:
    """The same mixture with a covariance matrix for each component.

    Args:
        params: a mixture of any family.

    Returns:
        `GMM` with `Full` covariances (k, d, d).

    Raises:
        ValueError, TypeError: no mixture, or shapes that do not belong together.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> print(jgmm.to_full(params).cov.cov)
        [[[1. 0.]
          [0. 1.]]]
    """
    params = _as_params(params)
    return GMM(params.weights, params.means, Full(params.covariances))


@program("dims")
def _marginal(params, dims):
    dims = np.array(dims)
    return GMM(params.weights, params.means[:, dims], _held(params, lambda cov: cov.marginal(dims)))


def marginal(params: GMM, dims: ArrayLike) -> GMM:
    """The density of some of the features, the others integrated out (Bishop 2006, eq. 2.98).

    Args:
        params: the mixture.
        dims: the features kept, in this order: integers (static), negative ones from the end.

    Returns:
        `GMM` in ``len(dims)`` features, of the same family; of the next that holds it where components share a
        volume or axes: `Diag` for `EVI`, `Full` for `EVV`, `EVE`, `VVE`, `EEV`, `VEV`.

    Raises:
        ValueError, TypeError: ``dims`` are not different features of the mixture.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.array([[1.0, 2.0]]), jgmm.Diag(jnp.array([[3.0, 4.0]])))
        >>> print(jgmm.marginal(params, [1]).means, jgmm.marginal(params, [1]).cov.var)
        [[2.]] [[4.]]
    """
    params = _as_params(params)
    dims, _ = _as_dims(dims, params.num_features)
    return _marginal(params, tuple(dims.tolist()))


@program("dims", "others")
def _condition(params, values, dims, others):
    given, rest = np.array(dims), np.array(others)
    if params.cov.marginal(given) is NotImplemented:
        params = to_full(params)
    known = GMM(params.weights, params.means[:, given], params.cov.marginal(given))
    factor = known.cov.factor()
    diff = residuals(known, values[None])
    resp = mix(params.weights, log_components(known, factor, diff))[1][:, 0]
    conditional = params.cov.conditional(factor, given, rest)
    if conditional is NotImplemented:
        return _condition(to_full(params), values, dims, others)
    slopes, cov = conditional
    shift = matmul(slopes, diff)[..., 0]
    return GMM(resp, params.means[:, rest] + shift, cov)


def condition(params: GMM, dims: ArrayLike, values: ArrayLike) -> GMM:
    """The density of the other features where those in ``dims`` are known (Bishop 2006, eqs. 2.81, 2.82).

    With `moments` this is Gaussian mixture regression. For a batch of values, ``vmap`` over them: the
    covariances, which do not depend on the values, are then computed once.

    Args:
        params: the mixture.
        dims: the features known: integers (static), negative ones from the end; not all of them.
        values: (len(dims),) their values, data units.

    Returns:
        `GMM` in the features not in ``dims``, in ascending order, of the family of `marginal`.
        NaN where the covariance of the known features is not positive definite.

    Raises:
        ValueError, TypeError: ``dims`` are not different features, or all of them; ``values`` of another shape.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> cov = jnp.array([[[1.0, 0.5], [0.5, 1.0]]])
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Full(cov))
        >>> line = lambda x: jgmm.moments(jgmm.condition(params, 0, x))[0]
        >>> print(jax.vmap(line)(jnp.array([[1.0], [2.0]])).ravel())
        [0.5 1. ]
    """
    params = _as_params(params)
    given, rest = _as_dims(dims, params.num_features)
    if not rest.size:
        raise ValueError(f"dims must leave at least one feature, got all {params.num_features}.")
    values = as_array("values", values).astype(params.means.dtype)
    if values.shape != given.shape:
        raise ValueError(
            f"values must have shape ({len(given)},), one for each of dims, got {values.shape}. "
            "For a batch use jax.vmap."
        )
    return _condition(params, values, tuple(given.tolist()), tuple(rest.tolist()))


@program()
def _affine(params, A, b):
    means = matmul(params.means, A.T) if A.ndim == 2 else params.means * by_feature(A)
    return GMM(params.weights, means + by_feature(b), _held(params, lambda cov: cov.transformed(A)))


def affine(params: GMM, A: ArrayLike, b: ArrayLike = 0.0) -> GMM:
    """The density of A x + b (Bishop 2006, eq. 2.115 without noise).

    Args:
        params: the mixture of x.
        A: a factor (), one per feature (d,), or a matrix (q, d) of full row rank.
        b: a number or (q,), data units of the result.

    Returns:
        `GMM` in q features: the family of ``params``, with `Diag` (`EEI` for `EII`) for a spherical mixture scaled
        feature by feature, and `Full` for a diagonal or spherical one under a matrix. Of the families with axes, and
        of `EVV`, scaled by a number alone; else `Full`.

    Raises:
        ValueError, TypeError: ``A`` or ``b`` is not numeric or of another shape.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> print(jgmm.affine(params, jnp.array([[1.0, 1.0]]), 3.0).means)
        [[3.]]
    """
    params = _as_params(params)
    A = _as_map("A", A, params.means.dtype, params.num_features)
    shape = A.shape[:1] if A.ndim == 2 else params.means.shape[1:]
    b = as_array("b", b).astype(A.dtype)
    if b.shape not in ((), shape):
        raise ValueError(f"b must be a number or have shape {shape}, got shape {b.shape}.")
    return _affine(params, A, b)


def convolve(params: GMM, noise: ArrayLike) -> GMM:
    """The density of x + e, with independent Gaussian noise e of mean zero: what a noisy instrument sees.

    Args:
        params: the mixture of x.
        noise: the covariance of e, squared data units: a variance (), one per feature (d,), or a matrix (d, d).

    Returns:
        `GMM`: the family of ``params``, with `Diag` (`EEI` for `EII`) for a spherical mixture and variances per
        feature, and `Full` for a diagonal or spherical one and a matrix. For `VEI` and `EVI` `Diag`;
        for the families of matrices in between `Full`.

    Raises:
        ValueError, TypeError: ``noise`` is not numeric or of another shape.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> print(jgmm.convolve(params, 0.5).cov.var)
        [1.5]
    """
    params = _as_params(params)
    d = params.num_features
    noise = _as_map("noise", noise, params.means.dtype, d)
    if noise.ndim == 2 and noise.shape != (d, d):
        raise ValueError(f"noise must be a number, ({d},) variances or a ({d}, {d}) matrix, got shape {noise.shape}.")
    return GMM(params.weights, params.means, _held(params, lambda cov: cov.plus(noise)))


def pairs(p: GMM, q: GMM):
    """log N(mu_i | nu_j, S_i + T_j) (k_p, k_q), the sums' inverse factors and residuals: one factorisation for all."""
    k, d = p.num_components * q.num_components, p.num_features
    both = (p.covariances[:, None] + q.covariances[None]).reshape(k, d, d)
    diff = (p.means[:, None] - q.means[None]).reshape(k, d)
    factor = TriangularFactor.of(both)
    joint = GMM(jnp.ones(k, diff.dtype), jnp.zeros_like(diff), Full(both))
    log_overlap = log_components(joint, factor, diff[:, :, None])[:, 0]
    return log_overlap.reshape(p.num_components, -1), factor, diff


def as_pair(p: GMM, q: GMM) -> tuple[GMM, GMM]:
    """Two mixtures of the same features, in the dtype of the first."""
    p = _as_params(p)
    check_shapes(q)
    if p.num_features != q.num_features:
        raise ValueError(f"Both mixtures must have the same features, got {p.num_features} and {q.num_features}.")
    return p, q.astype(p.means.dtype)


@program()
def _product(p, q):
    k, d = p.num_components * q.num_components, p.num_features
    log_overlap, factor, diff = pairs(p, q)
    first = jnp.broadcast_to(p.covariances[:, None], (p.num_components, q.num_components, d, d)).reshape(k, d, d)
    second = jnp.broadcast_to(q.covariances[None], (p.num_components, q.num_components, d, d)).reshape(k, d, d)
    left, right = (matmul(factor.inverse, cov) for cov in (first, second))
    whitened = matmul(factor.inverse, diff[:, :, None])
    # From the mean of p: m - S (S + T)^-1 (m - n).
    step = matmul(jnp.swapaxes(left, -1, -2), whitened)[..., 0]
    means = jnp.repeat(p.means, q.num_components, axis=0) - step
    cov = symmetrised(matmul(jnp.swapaxes(left, -1, -2), right))
    prior = (p.weights[:, None] * q.weights[None]).ravel()
    log_z, weights = mix(prior, log_overlap.reshape(-1, 1))
    return GMM(weights[:, 0], means, Full(cov)), log_z[0]


def product(p: GMM, q: GMM) -> tuple[GMM, jax.Array]:
    """The normalised product of two densities, p(x) q(x) / Z: two sources of knowledge about one x.

    N(x | m, S) N(x | n, T) = N(m | n, S + T) N(x | C (S^-1 m + T^-1 n), C),   C = S (S + T)^-1 T

    (Petersen & Pedersen 2012, sec. 8.1.8.)

    Args:
        p: a mixture of k components.
        q: a mixture of l components in the same features.

    Returns:
        `GMM` with k l `Full` components, the pairs in row-major order, and log Z () in nats,
        the logarithm of the integral of p(x) q(x).

    Raises:
        ValueError, TypeError: the mixtures do not have the same features.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> p = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Spherical(jnp.ones(1)))
        >>> both, log_z = jgmm.product(p, jgmm.affine(p, 1.0, 2.0))
        >>> print(both.means.round(3), both.cov.cov.round(3))
        [[1.]] [[[0.5]]]
    """
    return _product(*as_pair(p, q))


def moments(params: GMM) -> tuple[jax.Array, jax.Array]:
    """The mean and the covariance matrix of a row drawn from the mixture.

    E x = sum_k pi_k mu_k,   Cov x = sum_k pi_k (Sigma_k + (mu_k - E x)(mu_k - E x)^T)     (Bishop 2006, eq. 9.49, 9.50)

    Args:
        params: the mixture.

    Returns:
        Mean (d,), data units, and covariance (d, d), squared data units.

    Raises:
        ValueError, TypeError: no mixture, or shapes that do not belong together.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[-1.0], [1.0]]), jgmm.Spherical(jnp.ones(2)))
        >>> mean, cov = jgmm.moments(params)
        >>> print(mean, cov)
        [0.] [[2.]]
    """
    whole = collapse(to_full(params))
    return whole.means.squeeze(0), whole.covariances.squeeze(0)


@program("num_groups")
def _collapse(params, groups, num_groups):
    member = (groups.astype(int)[None] == jnp.arange(num_groups)[:, None]).astype(params.means.dtype)
    share = member * params.weights[None]
    weights = share.sum(1)
    share = share / where(weights > 0, weights, 1)[:, None]
    means = matmul(share, params.means)
    diff = params.means - means[groups]
    spread = params.covariances + diff[:, :, None] * diff[:, None]
    scatter = jnp.einsum("gk,kij->gij", weights[:, None] * share, spread, precision=HIGHEST)
    nothing = jnp.zeros(params.num_features, params.means.dtype)
    return GMM(weights, means, type(params.cov).learn(scatter, weights, nothing))


def collapse(params: GMM, groups: ArrayLike | None = None, num_groups: int | None = None) -> GMM:
    """Merge the components of each group into one with their mean and covariance (Runnalls 2007, eqs. 2 to 4).

    Of all mixtures of the family with a component for each group, this one is the nearest in the
    Kullback-Leibler divergence of the labelled rows: the M-step of the mixture's own moments.

    Args:
        params: the mixture.
        groups: (k,) integers 0..num_groups-1, the group of each component; ``None`` for one group of all.
        num_groups: how many groups (static); ``None`` for the largest of ``groups`` and one.

    Returns:
        `GMM` of ``num_groups`` components of the same family. A group without weight has covariance zero.

    Raises:
        ValueError, TypeError: ``groups`` are not k integers, or inside ``jit`` without ``num_groups``.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[-1.0], [1.0]]), jgmm.Spherical(jnp.ones(2)))
        >>> one = jgmm.collapse(params)
        >>> print(one.weights, one.means, one.cov.var)
        [1.] [[0.]] [2.]
    """
    params = _as_params(params)
    k = params.num_components
    groups, num_groups = (np.zeros(k, np.int32), 1) if groups is None else (groups, num_groups)
    groups = jnp.asarray(groups if isinstance(groups, jax.Array) else np.asarray(groups))
    if groups.shape != (k,) or not jnp.issubdtype(groups.dtype, jnp.integer):
        raise ValueError(f"groups must be {k} integers, one for each component, got {groups.dtype}{groups.shape}.")
    if num_groups is None:
        if not is_concrete(groups):
            raise TypeError("num_groups must be given inside jit: it sets a shape.")
        num_groups = int(groups.max()) + 1
    num_groups = check_count("num_groups", num_groups, least=1)
    if is_concrete(groups) and not ((np.asarray(groups) >= 0) & (np.asarray(groups) < num_groups)).all():
        raise ValueError(f"groups must lie in 0..{num_groups - 1}, got {np.asarray(groups).tolist()}.")
    check_additive(type(params.cov), "collapse")
    return _collapse(params, groups, num_groups)
