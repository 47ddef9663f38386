"""What can be asked of a mixture without learning anything.

`log_prob`, `responsibilities`, `predict`, `uncertainty`, `sample`, `bic`, `aic`, `icl`: each checks its input
when it is called with values, and answers with NaN where the same trouble comes up inside ``jit``.
"""

import jax
import jax.numpy as jnp

from jgmm._base.arrays import as_array, as_data, on_device
from jgmm._base.lengths import first_rows, padded
from jgmm._base.options import check_count, check_key
from jgmm._base.programs import program
from jgmm._base.rows import chunk_rows, map_rows
from jgmm._base.sweep import as_sweep
from jgmm._base.types import ArrayLike, where
from jgmm._mixture.gmm import GMM, log_components, mix, residuals
from jgmm._mixture.validity import as_query, check_features, check_mixture


def _of_rows(answer, params, X, sweep):
    """``answer(log_prob, resp)``, made of the log density (m,) and responsibilities (k, m) of a chunk, for all rows."""

    def on_shard(X, params):
        factor = params.cov.factor()

        def rows(X):
            return answer(*mix(params.weights, log_components(params, factor, residuals(params, X))))

        return map_rows(rows, X, sweep.chunk_size or chunk_rows(params.num_components, params.num_features))

    return sweep.on_shards(on_shard, by_row=True)(X, params)


@program("sweep")
def _log_prob(params, X, sweep):
    return _of_rows(lambda log_prob, resp: log_prob, params, X, sweep)


@program("sweep")
def _responsibilities(params, X, sweep):
    return _of_rows(lambda log_prob, resp: resp.T, params, X, sweep)


@program("sweep")
def _predict(params, X, sweep):
    # argmax inside the chunk: the (n, k) responsibilities are never held
    return _of_rows(lambda log_prob, resp: resp.argmax(0), params, X, sweep)


def _by_rows(function, params, X, chunk_size):
    """Check, then apply a function of rows (n, d) to them or to a single point (d,)."""
    params, X = as_query(params, X)
    if X.ndim == 1:
        return function(params, X[None], as_sweep(None, chunk_size)).squeeze(0)
    [rows] = padded(X)
    return first_rows(function(params, rows, as_sweep(X, chunk_size)), X.shape[0])


def log_prob(params: GMM, X: ArrayLike, *, chunk_size: int | None = None) -> jax.Array:
    """The log density of each row: log sum_k pi_k N(x | mu_k, Sigma_k) (Bishop 2006, eq. 9.7).

    Args:
        params: the mixture.
        X: (n, d) rows, or one point (d,), data units. Its dtype is the result's.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.

    Returns:
        (n,) nats, or () for one point. Differentiable with respect to every leaf and to ``X``.

    Raises:
        ValueError, TypeError: ``params`` are no mixture, or ``X`` is not numeric, finite, one- or two-dimensional with
            d features.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> print(round(float(jgmm.log_prob(params, jnp.zeros(2))), 4))
        -1.8379
    """
    return _by_rows(_log_prob, params, X, chunk_size)


def responsibilities(params: GMM, X: ArrayLike, *, chunk_size: int | None = None) -> jax.Array:
    """The posterior probability of each component given each row (Bishop 2006, eq. 9.13).

    Args:
        params: the mixture.
        X: (n, d) rows, or one point (d,), data units.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.

    Returns:
        (n, k) probabilities, each row summing to one; (k,) for one point.

    Raises:
        ValueError, TypeError: as `log_prob`.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[-1.0], [1.0]]), jgmm.Spherical(jnp.ones(2)))
        >>> print(jgmm.responsibilities(params, jnp.zeros((1, 1))))
        [[0.5 0.5]]
    """
    return _by_rows(_responsibilities, params, X, chunk_size)


def predict(params: GMM, X: ArrayLike, *, chunk_size: int | None = None) -> jax.Array:
    """The most probable component of each row, argmax of `responsibilities`.

    Args:
        params: the mixture.
        X: (n, d) rows, or one point (d,), data units.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.

    Returns:
        (n,) integers in 0..k-1, or () for one point.

    Raises:
        ValueError, TypeError: as `log_prob`.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[-1.0], [1.0]]), jgmm.Spherical(jnp.ones(2)))
        >>> print(jgmm.predict(params, jnp.array([[-3.0], [3.0]])))
        [0 1]
    """
    return _by_rows(_predict, params, X, chunk_size)


@program("sweep")
def _uncertainty(params, X, sweep):
    def others(log_prob, resp):
        # 0 * resp is NaN where that is, also of one component, which has no others
        is_largest = jnp.arange(len(resp))[:, None] == resp.argmax(0)[None]
        return where(is_largest, 0 * resp, resp).sum(0)

    return _of_rows(others, params, X, sweep)


def uncertainty(params: GMM, X: ArrayLike, *, chunk_size: int | None = None) -> jax.Array:
    """How likely `predict` is wrong of each row: one minus the largest of its `responsibilities`.

    It is the sum of the others, so that small ones keep their digits: 1e-20 is not rounded to zero.

    Args:
        params: the mixture.
        X: (n, d) rows, or one point (d,), data units.
        chunk_size: rows worked on at a time (static); ``None`` fits the cache of the backend.

    Returns:
        (n,) probabilities, from 0 to 1 - 1 / k, or () for one point.

    Raises:
        ValueError, TypeError: as `log_prob`.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.array([[-1.0], [1.0]]), jgmm.Spherical(jnp.ones(2)))
        >>> for row in jgmm.uncertainty(params, jnp.array([[0.0], [1.0], [30.0]])):
        ...     print(f"{row:.4g}")
        0.5
        0.1192
        8.757e-27
    """
    return _by_rows(_uncertainty, params, X, chunk_size)


@program("n")
def _sample(key, params, n):
    label_key, noise_key = jax.random.split(key)
    labels = jax.random.categorical(label_key, jnp.log(params.weights), shape=(n,))
    noise = jax.random.normal(noise_key, (n, params.num_features), params.means.dtype)
    factor = params.cov.factor()
    one = jax.vmap(lambda z, e: params.means[z] + factor.color(e, z))
    return map_rows(lambda rows: one(*rows), (labels, noise), chunk_rows(1, params.num_features**2)), labels


def sample(key: jax.Array, params: GMM, n: int) -> tuple[jax.Array, jax.Array]:
    """Draw rows from the mixture: a component z from the weights, then x = mu_z + L_z e, with e ~ N(0, I).

    X is differentiable by means and covariances, given the components drawn (the reparameterisation of Kingma &
    Welling 2014, sec. 2.4): the derivative of a mean over X is an unbiased estimate of that of the expectation.
    By the weights it is zero, for they only decide which component is drawn; the derivative of an expectation of f by
    a weight is the mean over X, held fixed, of f times that of `log_prob` (the score function).

    Args:
        key: a JAX random key.
        params: the mixture.
        n: how many rows (static).

    Returns:
        X (n, d), data units and dtype of the means, and labels (n,), the components drawn.

    Raises:
        ValueError, TypeError: ``n`` is negative, ``key`` is no random key, or ``params`` are no mixture.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 2)), jgmm.Spherical(jnp.ones(1)))
        >>> X, labels = jgmm.sample(jax.random.key(0), params, 5)
        >>> X.shape, labels.shape
        ((5, 2), (5,))
    """
    check_key(key)
    check_count("n", n, least=0)
    check_mixture(params)
    return _sample(key, params.astype(as_array("means", params.means).dtype), n)


@program("sweep", "entropy")
def _criteria(params, X, sample_weight, num_parameters, sweep, entropy=False):
    """BIC and AIC, () each, and with ``entropy`` ICL: one program."""

    def on_shard(rows, params):
        factor = params.cov.factor()

        def weighted(rows):
            X, weight = rows
            X = where(weight[:, None] > 0, X, params.means[0])  # absent, whatever the row holds
            log_prob, resp = mix(params.weights, log_components(params, factor, residuals(params, X)))
            return weight * log_prob, weight * _entropy(resp) if entropy else ()

        log_prob, doubt = map_rows(weighted, rows, chunk_rows(params.num_components, params.num_features))
        return sweep.total((log_prob.sum(), rows[1].sum(), jax.tree.map(jnp.sum, doubt)))

    log_prob, total, doubt = sweep.on_shards(on_shard)((X, sample_weight), params)
    bic, aic = -2 * log_prob + num_parameters * jnp.log(total), -2 * log_prob + num_parameters * 2
    return (bic, aic, bic + 2 * doubt) if entropy else (bic, aic)


def _entropy(resp):
    """The entropy of each row's assignment (m,), nats, from its responsibilities (k, m)."""
    some = resp != 0  # 0 log 0 = 0, whose derivative is not asked for; NaN stays
    return -where(some, resp * jnp.log(where(some, resp, 1)), 0).sum(0)


def _checked_criteria(params, X, sample_weight, entropy=False):
    check_mixture(params)
    X, sample_weight = as_data(X, sample_weight)
    check_features(params, X)
    num_parameters = on_device(params.num_parameters, X.dtype)
    return _criteria(params.astype(X.dtype), X, sample_weight, num_parameters, as_sweep(X), entropy)


def bic(params: GMM, X: ArrayLike, sample_weight: ArrayLike | None = None) -> jax.Array:
    """The Bayesian information criterion -2 log L + p log n: the lower, the better (Schwarz 1978).

    The sign and the count p of free parameters are scikit-learn's; mclust reports the negative.

    Args:
        params: the mixture.
        X: (n, d) rows, data units.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones; n is their sum.

    Returns:
        () nats, twice.

    Raises:
        ValueError, TypeError: ``params``, ``X`` or ``sample_weight`` is not what is described here.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Spherical(jnp.ones(1)))
        >>> print(round(float(jgmm.bic(params, jnp.zeros((4, 1)))), 3))
        10.124
    """
    return _checked_criteria(params, X, sample_weight)[0]


def aic(params: GMM, X: ArrayLike, sample_weight: ArrayLike | None = None) -> jax.Array:
    """Akaike's information criterion -2 log L + 2 p: the lower, the better (Akaike 1974).

    Args:
        params: the mixture.
        X: (n, d) rows, data units.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.

    Returns:
        () nats, twice.

    Raises:
        ValueError, TypeError: as `bic`.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.ones(1), jnp.zeros((1, 1)), jgmm.Spherical(jnp.ones(1)))
        >>> print(round(float(jgmm.aic(params, jnp.zeros((4, 1)))), 3))
        11.352
    """
    return _checked_criteria(params, X, sample_weight)[1]


def icl(params: GMM, X: ArrayLike, sample_weight: ArrayLike | None = None) -> jax.Array:
    """The integrated completed likelihood: `bic` plus twice the entropy of the assignments, the lower, the better.

        ICL = BIC - 2 sum_n s_n sum_k r_nk log r_nk,   r the `responsibilities`, s the ``sample_weight``

    It asks for clusters and not for a density: components that overlap cost, so that it prefers fewer of them, well
    apart (Biernacki, Celeux & Govaert 2000, eq. 9; of the entropy McLachlan & Peel 2000, sec. 6.10.3). mclust reports
    the negative, and of each row counts 2 log r of the most probable component alone.

    Args:
        params: the mixture.
        X: (n, d) rows, data units.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones; n is their sum.

    Returns:
        () nats, twice.

    Raises:
        ValueError, TypeError: as `bic`.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> params = jgmm.GMM(jnp.array([0.5, 0.5]), jnp.zeros((2, 1)), jgmm.Spherical(jnp.ones(2)))  # twice the same
        >>> X = jnp.zeros((4, 1))
        >>> print(round(float(jgmm.icl(params, X) - jgmm.bic(params, X)), 3))  # 8 log 2
        5.545
    """
    return _checked_criteria(params, X, sample_weight, entropy=True)[2]
