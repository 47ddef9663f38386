"""A tree of groups of rows, off which a start with any number of components is read.

Rows of equal values are one group from the beginning. Features are centred, divided by their standard deviations and
rotated to their principal axes, each of which is divided by the square root of its singular value:

    z = V^T (x - mean) / sd / sqrt(s),    X = U diag(s) V^T for the standardised rows

(Scrucca & Raftery 2015: mclust's "SVD"). That is halfway between principal components and whitened ones.
`agglomerate` then joins the groups.
"""

from dataclasses import dataclass

import jax
import numpy as np

from jgmm._base.arrays import as_data, is_concrete
from jgmm._base.options import check_count, check_key
from jgmm._base.pytree import at_hand, short_repr
from jgmm._base.types import ArrayLike
from jgmm._starts.agglomerate import EPS, agglomerate, cut

MAX_ROWS = 2000  # 32 MB of costs, and seconds
CHUNK = 128  # rows whose distances to all that are in the tree are held at once: 2 MB, which a cache holds


@dataclass(frozen=True, eq=False, repr=False)
class Tree:
    """How groups of rows were joined, two at a time; made by `tree`.

    Args:
        merges: (m - 1, 2) the two groups that each step joined, of m distinct rows (`num_groups`): each group by the
            least number in it, which the joint group keeps.
        rises: (m - 1,) by how much each step raised the criterion of `tree`.
        group: (n,) which of the m distinct rows each row of the data equals, or is nearest to.
    """

    merges: np.ndarray
    rises: np.ndarray
    group: np.ndarray

    def __repr__(self):
        return short_repr(self)

    @property
    def num_groups(self) -> int:
        """How many distinct rows were joined: the most groups that can be read off."""
        return len(self.merges) + 1

    def labels(self, num_components: int) -> np.ndarray:
        """The partition into k groups that the tree passes through.

        Args:
            num_components: k, at most `num_groups`.

        Returns:
            (n,) int32 labels 0 to k - 1, in the order of the groups' first rows. Those of k groups are those
            of k + 1 with two of them joined.

        Raises:
            ValueError, TypeError: k is no count, or the data have fewer distinct rows.
        """
        k = check_count("num_components", num_components, least=1)
        if k > self.num_groups:
            raise ValueError(
                f"num_components must be at most the {self.num_groups} distinct rows that the tree joins, got {k}. "
                "Use fewer components or more rows; rows of equal values are one, and rows of weight zero none."
            )
        return cut(self.merges, k)[self.group].astype(np.int32)


def tree(
    X: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    max_rows: int = MAX_ROWS,
    key: jax.Array | None = None,
) -> Tree:
    """Join the rows to groups by model-based agglomeration (Fraley 1998), as R mclust does by default.

    Each step joins the two groups that raise least the sum over groups of n log(|W / n| + (tr W + a) / n), for weight
    n and scatter W of a group in scaled coordinates. Of equal pairs the later one is joined. Runs on the host, in
    O(m^2) memory and about that time: 2,000 rows take a few seconds.

    A weight says how often a row is there, in units of the median weight of the distinct rows: weights that are
    all multiplied by one number give the same tree.

    Of more rows than ``max_rows`` a sample in proportion to the weights is joined, and the others follow the row of the
    sample that is nearest in scaled coordinates. (So partitions stay nested, which a Gaussian for each group would
    not give, and groups of one row need no covariance.)

    A constant feature counts for nothing, and one that is a combination of others adds no axis.

    Args:
        X: (n, d) rows, data units.
        sample_weight: (n,) nonnegative weights of the rows, or ``None`` for ones. A row of weight zero joins
            nothing; its label is that of the nearest row.
        max_rows: the most rows that are joined.
        key: a JAX random key that draws the sample; ``None`` takes evenly spaced rows.

    Returns:
        `Tree`, whose ``labels(k)`` are the groups for any k.

    Raises:
        ValueError, TypeError: the data or an option is not what is described here, or the data are traced.

    Example:
        >>> from jgmm._starts.hierarchical import tree
        >>> tree([[0.0], [1.0], [50.0], [51.0], [50.0]]).labels(2)
        array([0, 0, 1, 1, 1], dtype=int32)
    """
    max_rows = check_count("max_rows", max_rows, least=2)
    if key is not None:
        check_key(key)
    if not is_concrete((X, sample_weight, key)):
        raise TypeError(
            "X must hold values, got one that JAX traces. The tree is made on the host: call it outside jit, vmap "
            "and grad, and hand its labels in."
        )
    if not at_hand([part for part in (X, sample_weight) if isinstance(part, jax.Array)]):
        raise TypeError(
            "X must lie whole in this process, got rows that other processes hold. The tree is made on the host: "
            "choose another start."
        )
    data, weight = as_data(X, sample_weight, pad=False)
    rows, weight = np.asarray(data, np.float64), np.asarray(weight, np.float64)
    sample, sampled_weight = _sample(weight, max_rows, key)
    first, number = _distinct(rows[sample])
    distinct = rows[sample][first]
    weight = np.bincount(number, sampled_weight)
    weight = weight / np.median(weight)
    scaled = _scaling(distinct, weight)
    merges, rises = agglomerate(scaled(distinct), weight)
    group = np.full(len(rows), -1)
    group[sample] = number
    others = np.flatnonzero(group < 0)
    group[others] = _nearest(rows[others], distinct, scaled)
    return Tree(merges, rises, group)


def _sample(weight, most, key):
    """The rows that are joined, and their weights: all that are there, or one of each of ``most`` equal shares."""
    there = np.flatnonzero(weight > 0)
    if len(there) <= most:
        return there, weight[there]
    u = 0.5 if key is None else np.asarray(jax.random.uniform(key, (most,)), np.float64)
    cumulative = np.cumsum(weight[there])
    place = (np.arange(most) + u) / most * cumulative[-1]
    taken = np.minimum(np.searchsorted(cumulative, place, side="right"), len(there) - 1)
    return there[taken], np.ones(most)


def _distinct(rows):
    """Where each distinct row comes first (m,), and which of them every row equals (n,)."""
    _, first, number = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # by value until here
    return first[order], np.argsort(order)[number.reshape(-1)]


def _scaling(rows, weight):
    """The map of rows (n, d) to scaled coordinates (n, p)."""
    origin = rows[0]
    size = np.abs(rows - origin).max(0)
    varies = size > 0
    total = weight.sum()

    def shifted(rows):
        return (rows - origin)[:, varies] / size[varies]  # whose squares neither over- nor underflow

    mean = weight @ shifted(rows) / total
    standard = shifted(rows) - mean
    deviation = np.sqrt(weight @ standard**2 / (total - 1))
    _, singular, axes = np.linalg.svd(np.sqrt(weight)[:, None] * standard / deviation, full_matrices=False)
    kept = singular > singular.max(initial=0) * max(rows.shape) * EPS
    turn = axes[kept].T / np.sqrt(singular[kept])
    return lambda rows: (shifted(rows) - mean) / deviation @ turn


def _nearest(rows, distinct, scaled):
    """Which of the distinct rows is nearest to each row in scaled coordinates; the first to one that is not finite."""
    rows = np.where(np.isfinite(rows).all(1)[:, None], rows, distinct[0])
    targets = scaled(distinct)
    # Half of |z - t|^2, less |z|^2 / 2 that is the same for all, as one product: it takes a fifth of the time of a sum.
    product = np.vstack([-targets.T, (targets**2).sum(1) / 2])
    nearest = np.empty(len(rows), int)
    for start in range(0, len(rows), CHUNK):
        chunk = scaled(rows[start : start + CHUNK])
        nearest[start : start + CHUNK] = np.argmin(np.hstack([chunk, np.ones((len(chunk), 1))]) @ product, axis=1)
    return nearest
