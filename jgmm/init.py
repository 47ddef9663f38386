"""Where EM starts: six initialisers of one signature, and the tree of groups behind one of them.

    init(key, X, num_components, *, cov="full", sample_weight=None) -> GMM

Each is pure JAX, weighted, and can be jitted and mapped over keys. Distances are taken in units of
each feature's standard deviation, so that a feature of large numbers does not decide alone; where the
features share one unit, as principal components do, ``scale=1.0`` keeps it. Rows are drawn by inverting
the cumulative weights, so that a row of weight zero is never drawn and one of weight two is drawn like
the same row twice. A group too small for a covariance takes the pooled one.
"""

from functools import partial

import jax

from jgmm._base.arrays import as_data, as_scale
from jgmm._base.lengths import padded
from jgmm._base.options import check_count, check_key
from jgmm._base.programs import program
from jgmm._base.sweep import on_automatic_axes
from jgmm._base.types import ArrayLike
from jgmm._covariance.families import as_family
from jgmm._covariance.family import Covariance
from jgmm._em.steps import m_step
from jgmm._expectation.moments import mean_and_variance
from jgmm._expectation.ridge import FRACTION, ridge_of
from jgmm._expectation.stats import Stats
from jgmm._mixture.gmm import GMM
from jgmm._starts.hierarchical import Tree, tree
from jgmm._starts.makers import STARTS, draws, of_partition

__all__ = ["Tree", "hierarchical", "kmeans", "kmeans_plusplus", "mixed", "random_points", "random_resp", "tree"]


def _start(name, k, family, key, X, sample_weight, *scale):
    moments = mean_and_variance(X, sample_weight)
    u = jax.random.uniform(key, draws(name, X.shape[0], k), X.dtype)
    start = STARTS[name](u, X, sample_weight, moments, k, family, None, *scale)
    return m_step(start, family, ridge=ridge_of(moments, FRACTION)) if isinstance(start, Stats) else start


@program("name", "k", "family")
def _run(name, k, family, *arrays):
    return on_automatic_axes(partial(_start, name, k, family))(*arrays)


def _checked(name, key, X, num_components, cov, sample_weight, *scale):
    check_key(key)
    k = check_count("num_components", num_components, least=1)
    X, sample_weight = as_data(X, sample_weight, num_components=k)
    scale = [as_scale(value, X) for value in scale]
    return _run(name, k, as_family("cov", cov), key, X, sample_weight, *scale)


def random_resp(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
) -> GMM:
    """Assign the rows to components at random, in groups of equal size, and take one M-step.

    The simplest start, and a poor one: all components begin close to the same place, near a saddle.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k (static).
        cov: "full", "tied", "diag", "spherical", a name of mclust's such as "VEV", or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> params = jgmm.init.random_resp(jax.random.key(0), jnp.arange(6.0)[:, None], 3)
        >>> params.means.shape, params.covariances.shape
        ((3, 1), (3, 1, 1))
    """
    return _checked("random_resp", key, X, num_components, cov, sample_weight)


def random_points(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
) -> GMM:
    """Take k rows of different values as means, the data's covariance for all, and equal weights.

    (McLachlan & Peel 2000, sec. 2.12.2.) Rows are drawn in proportion to their weights.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k (static).
        cov: "full", "tied", "diag", "spherical", a name of mclust's such as "VEV", or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> params = jgmm.init.random_points(jax.random.key(0), jnp.arange(3.0)[:, None], 3)
        >>> sorted(params.means[:, 0].tolist())
        [0.0, 1.0, 2.0]
    """
    return _checked("random_points", key, X, num_components, cov, sample_weight)


def kmeans_plusplus(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> GMM:
    """Draw k rows far from each other, group the rows by the nearest, and take one M-step.

    Greedy k-means++ (Arthur & Vassilvitskii 2007, sec. 2.2 and 5): of 2 + log k candidates, drawn in
    proportion to weight times squared distance, the one that lowers the sum of squares most. Of many such starts some
    lead further up than those that k-means makes alike.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k (static).
        cov: "full", "tied", "diag", "spherical", a name of mclust's such as "VEV", or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.
        scale: of distances, data units: a number or (d,), positive; ``None`` for the standard deviations.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.array([[0.0], [1.0], [100.0], [101.0]])
        >>> params = jgmm.init.kmeans_plusplus(jax.random.key(0), X, 2)
        >>> sorted(params.means[:, 0].tolist())
        [0.5, 100.5]
    """
    return _checked("kmeans_plusplus", key, X, num_components, cov, sample_weight, scale)


def kmeans(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> GMM:
    """Group the rows by k-means (Lloyd 1982, from greedy k-means++ seeds) and take one M-step.

    Lloyd's iteration stops when the centres move by less than 0.01 standard deviations in all, or
    after 100 steps. For `fit`, ``init=functools.partial(jgmm.init.kmeans, scale=1.0)``.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k (static).
        cov: "full", "tied", "diag", "spherical", a name of mclust's such as "VEV", or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.
        scale: of distances, data units: a number or (d,), positive; ``None`` for the standard deviations.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.array([[0.0], [1.0], [100.0], [101.0]])
        >>> params = jgmm.init.kmeans(jax.random.key(0), X, 2)
        >>> sorted(params.means[:, 0].tolist())
        [0.5, 100.5]
    """
    return _checked("kmeans", key, X, num_components, cov, sample_weight, scale)


def mixed(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> GMM:
    """Draw k rows in one of three ways, group the rows by the nearest, and take one M-step. `fit` starts here.

    The way is drawn too: greedy k-means++ (35 %; see `kmeans_plusplus`), k-means++ without a choice among candidates
    (25 %), or any rows of different values (40 %). Where groups lie apart the first finds them all; where they overlap
    it spends its rows on what is far out, and the others lead further up. No one way is best for all data.

    Args:
        key: a JAX random key.
        X: (n, d) rows, data units.
        num_components: k (static).
        cov: "full", "tied", "diag", "spherical" or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.
        scale: of distances, data units: a number or (d,), positive; ``None`` for the standard deviations.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.array([[0.0], [1.0], [100.0], [101.0]])
        >>> params = jgmm.init.mixed(jax.random.key(0), X, 2)
        >>> params.means.shape
        (2, 1)
    """
    return _checked("mixed", key, X, num_components, cov, sample_weight, scale)


def _start_of_labels(k, family, labels, X, sample_weight):
    moments = mean_and_variance(X, sample_weight)
    stats = of_partition(jax.nn.one_hot(labels, k, dtype=X.dtype), X, sample_weight, moments, family)
    return m_step(stats, family, ridge=ridge_of(moments, FRACTION))


@program("k", "family")
def _of_labels(k, family, *arrays):
    return on_automatic_axes(partial(_start_of_labels, k, family))(*arrays)


def hierarchical(
    key: jax.Array,
    X: ArrayLike,
    num_components: int,
    *,
    cov: str | type[Covariance] = "full",
    sample_weight: ArrayLike | None = None,
) -> GMM:
    """Join the rows to k groups by model-based agglomeration, as R mclust does (Fraley 1998), and take one M-step.

    It is deterministic: one start, and often a good one. Made on the host, in seconds for 2,000 rows; of more rows a
    sample is joined. `tree` makes the groups for every k at once.

    Args:
        key: a JAX random key, which draws the sample of more than 2,000 rows.
        X: (n, d) rows, data units; values, so outside ``jit``.
        num_components: k (static); components of more than there are distinct rows are empty, of weight zero.
        cov: "full", "tied", "diag", "spherical" or the family's class (static).
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones.

    Returns:
        `GMM` in the dtype of ``X``.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here, or the data are traced.

    Example:
        >>> import jax, jax.numpy as jnp, jgmm
        >>> X = jnp.array([[0.0], [1.0], [100.0], [101.0]])
        >>> params = jgmm.init.hierarchical(jax.random.key(0), X, 2, cov="tied")
        >>> sorted(params.means[:, 0].round(2).tolist())
        [0.5, 100.5]
    """
    check_key(key)
    k = check_count("num_components", num_components, least=1)
    family = as_family("cov", cov)
    X, sample_weight = as_data(X, sample_weight, num_components=k, pad=False)
    groups = tree(X, sample_weight, key=key)
    labels = groups.labels(min(k, groups.num_groups))
    return _of_labels(k, family, *padded(jax.numpy.asarray(labels), X, sample_weight))
