"""Forms: which moments of the rows a family learns from, and how the kernels of the E-step make them.

The scatter of a form keeps its dimensions (as ``keepdims`` does), so that each form says by its shape what it is, and
a richer scatter can be reduced to a poorer one; covariances in that shape are its *values*:

    full (k, d, d)  ->  tied (1, d, d)  |  diag (k, d)  ->  spherical (k, 1)

As an exponential family, log N(x | mu_k, Sigma_k) = eta_k . T(z) + constant, z = x - c:
`features` are the T that the form needs, in blocks (q, m), `natural` makes eta but for its constant, `moments` reads
sums (k, q) of r_nk T(z_n). `rows_last` says whether the blocks lie in memory so, or are a transposed view of rows that
stay as they are: products take either, and a copy would cost as much as a product.
"""

import jax.numpy as jnp
import numpy as np

from jgmm._covariance.factor import HIGHEST, diagonal, from_log_cholesky, log_cholesky
from jgmm._covariance.projection import Projection


def need(form, enough, scatter):
    """Raise unless a scatter of this shape is ``enough`` for the form."""
    if not enough:
        raise ValueError(
            f"Too poor a scatter for a {form} covariance, got shape {scatter.shape}: collect the statistics with a "
            "mixture of that family, or of a richer one (full; tied holds one matrix for all components)."
        )


def _variances(scatter):
    """The scatter per feature (k, d) of a richer scatter, or a diagonal one as it is."""
    if isinstance(scatter, Projection):
        return scatter.squares
    return diagonal(scatter) if scatter.ndim == 3 else scatter


def _pairs(d):
    """The pairs i <= j of d features and, for j = d, a constant; not the constant with itself."""
    return np.triu_indices(d + 1)[0][:-1], np.triu_indices(d + 1)[1][:-1]


def _blocks(squares, linear):
    """Both, or one of both side by side: of up to three squares two products would take longer than one."""
    joined = squares.shape[-1] == linear.shape[-1] <= 3
    return (jnp.concatenate([squares, linear], -1),) if joined else (squares, linear)


def over_rows(weight, values):
    """sum_m weight_km values_kjm (k, j): a product, which costs no compilation, where a sum of rows is two kernels."""
    return jnp.einsum("km,kjm->kj", weight, values, precision=HIGHEST)


class _Linear:
    """What the forms have in common: log densities and sums are linear in the features."""

    rows_last = False

    @staticmethod
    def whole(sums):
        """The scatter of these sums over all rows: the sums."""
        return sums

    @staticmethod
    def log_terms(products):
        """The log densities (k, m) but for their constants, from the products of `natural` with `features`."""
        return sum(products)

    @staticmethod
    def shares(resp, products):
        """By what each block of features is weighed in the sums over rows: by resp (k, m)."""
        return [resp] * len(products)


class _Matrices(_Linear):
    """What the forms of matrices have in common."""

    @staticmethod
    def diagonal(values):
        """The variances (k or 1, d) among the values."""
        return diagonal(values)

    @staticmethod
    def scale(values):
        """sigma_i sigma_j of each of the values."""
        std = jnp.sqrt(diagonal(values))
        return std[..., :, None] * std[..., None, :]

    @staticmethod
    def coordinates(values, factor):
        """(k, d (d + 1) / 2) unconstrained: log L_jj, then L_ij for j < i, of the Cholesky factors."""
        return log_cholesky(jnp.broadcast_to(factor.lower, values.shape))

    @staticmethod
    def from_coordinates(coordinates):
        """The values: the inverse of `coordinates`."""
        return from_log_cholesky(coordinates)


class _Variances(_Linear):
    """What the forms of variances have in common; their features are squares (q, m) and the rows (d, m)."""

    @staticmethod
    def natural(precision, linear):
        """((k, q), (k, d)), for a precision (k or 1, q)."""
        return _blocks(jnp.broadcast_to(-precision / 2, (len(linear), precision.shape[1])), linear)

    @staticmethod
    def moments(sums, frame_scatter):
        """Scatter (k, q) and shift (k, d): the sums of the features are these."""
        sums, d = jnp.concatenate(sums, -1), frame_scatter.shape[-1]
        return sums[:, :-d], sums[:, -d:]

    @staticmethod
    def diagonal(values):
        """The variances (k, d or 1): the values."""
        return values

    @staticmethod
    def scale(values):
        """The variances themselves."""
        return values

    @staticmethod
    def coordinates(values, factor):
        """(k, d) unconstrained: the logarithms of the variances."""
        return jnp.log(values)

    @staticmethod
    def from_coordinates(coordinates):
        """The values: the inverse of `coordinates`."""
        return jnp.exp(coordinates)


class _Separate:
    """What the forms have in common whose components share no scatter."""

    @property
    def frame(self):
        """The form whose scatter of all rows an E-step can use; only `tied` needs more than a diagonal."""
        return diag

    @staticmethod
    def common_log_prob(precision, frame_scatter):
        """What all components have in common and `features` leave out: nothing."""
        return 0


class Full(_Matrices, _Separate):
    """A matrix for each component."""

    rows_last = True

    @staticmethod
    def shape(num_components, num_features):
        """Of scatter and values."""
        return (num_components, num_features, num_features)

    @staticmethod
    def reduced(scatter, num_components, num_features):
        """The scatter (k, d, d) in that of a form as rich."""
        need("full", scatter.ndim == 3 and scatter.shape[0] == num_components, scatter)
        return scatter

    @staticmethod
    def scatter(weight, diff):
        """sum_m weight_km diff_km diff_km^T (k, d, d), for weights (k, m) and residuals (k, d, m)."""
        return jnp.einsum("kim,kjm->kij", weight[:, None] * diff, diff, precision=HIGHEST)

    @staticmethod
    def features(Z):
        """z_i z_j for i <= j and z_i, from y = (z, 1): ((d (d + 3) / 2, m),)."""
        i, j = _pairs(Z.shape[-1])
        # A concatenation is written to memory, so that the products read it as it stands.
        y = jnp.concatenate([Z.T, jnp.ones_like(Z[:, 0])[None]])
        return (y.at[i].get(mode="promise_in_bounds") * y.at[j].get(mode="promise_in_bounds"),)

    @staticmethod
    def natural(precision, linear):
        """((k, d (d + 3) / 2),): the upper triangle of [[-P / 2, b / 2], [., .]], what lies off its diagonal twice."""
        i, j = _pairs(linear.shape[-1])
        precision = jnp.broadcast_to(precision, (len(linear), *precision.shape[1:]))
        above = jnp.concatenate([-precision / 2, linear[:, :, None] / 2], axis=-1)
        return (above[:, i, j] * np.where(i == j, 1, 2).astype(linear.dtype)[None],)

    @staticmethod
    def moments(sums, frame_scatter):
        """Scatter (k, d, d) and shift (k, d), from sums (k, d (d + 3) / 2) of features."""
        d = frame_scatter.shape[-1]
        i, j = _pairs(d)
        place = np.zeros((d + 1, d + 1), int)
        place[i, j] = place[j, i] = np.arange(len(i))
        whole = sums[0][:, place[:d]]
        return whole[:, :, :d], whole[:, :, d]

    @staticmethod
    def values(dense):
        """The covariances (k, d, d) as they are."""
        return dense


class Tied(_Matrices):
    """The sum of all components' matrices."""

    @property
    def frame(self):
        """The form whose scatter of all rows every E-step can use: it is constant, and so taken once."""
        return self

    @staticmethod
    def shape(num_components, num_features):
        """Of scatter and values."""
        return (1, num_features, num_features)

    @staticmethod
    def reduced(scatter, num_components, num_features):
        """The scatter (1, d, d) in that of a form as rich."""
        need("tied", scatter.ndim == 3, scatter)
        return scatter if len(scatter) == 1 else scatter.sum(0, keepdims=True)

    @staticmethod
    def scatter(weight, diff):
        """sum_km weight_km diff_km diff_km^T (1, d, d), for weights (k, m) and residuals (k, d, m)."""
        return jnp.einsum("kim,kjm->ij", weight[:, None] * diff, diff, precision=HIGHEST)[None]

    @staticmethod
    def features(Z):
        """((d, m),), the rows themselves: z^T P z is the same for all components."""
        return (Z.T,)

    @staticmethod
    def natural(precision, linear):
        """((k, d),)."""
        return (linear,)

    @staticmethod
    def moments(sums, frame_scatter):
        """Scatter (1, d, d) and shift (k, d), from sums (k, d) of features."""
        return frame_scatter, sums[0]

    @staticmethod
    def common_log_prob(precision, frame_scatter):
        """-sum_n s_n x_n^T P x_n / 2, from the scatter of all rows."""
        return -(precision * frame_scatter).sum() / 2

    @staticmethod
    def values(dense):
        """The covariance (1, d, d) that all share."""
        return dense[:1]

    @staticmethod
    def coordinates(values, factor):
        """(d (d + 1) / 2,) unconstrained, as those of `Full`."""
        return log_cholesky(factor.lower[0])

    @staticmethod
    def from_coordinates(coordinates):
        """The values: the inverse of `coordinates`."""
        return from_log_cholesky(coordinates)[None]


class Diag(_Variances, _Separate):
    """A variance for each component and feature."""

    @staticmethod
    def shape(num_components, num_features):
        """Of scatter and values."""
        return (num_components, num_features)

    @staticmethod
    def reduced(scatter, num_components, num_features):
        """The scatter (k, d) in that of a form as rich."""
        need("diag", scatter.shape[:2] == (num_components, num_features), scatter)
        return _variances(scatter)

    @staticmethod
    def scatter(weight, diff):
        """sum_m weight_km diff_km^2 (k, d), for weights (k, m) and residuals (k, d, m)."""
        return over_rows(weight, diff**2)

    @staticmethod
    def features(Z):
        """z_j^2 and z (d, m)."""
        return [T.T for T in _blocks(Z**2, Z)]

    @staticmethod
    def values(dense):
        """The variances (k, d)."""
        return _variances(dense)


class Spherical(_Variances, _Separate):
    """The sum of each component's variances."""

    @staticmethod
    def shape(num_components, num_features):
        """Of scatter and values."""
        return (num_components, 1)

    @staticmethod
    def reduced(scatter, num_components, num_features):
        """The scatter (k, 1) in that of a form as rich."""
        need("spherical", scatter.shape[0] == num_components, scatter)
        return scatter if scatter.shape[1:] == (1,) else _variances(scatter).sum(-1, keepdims=True)

    @staticmethod
    def scatter(weight, diff):
        """sum_m weight_km |diff_km|^2 (k, 1), for weights (k, m) and residuals (k, d, m)."""
        return over_rows(weight, (diff**2).sum(1, keepdims=True))

    @staticmethod
    def features(Z):
        """|z|^2 (1, m) and z (d, m)."""
        return [T.T for T in _blocks((Z**2).sum(1, keepdims=True), Z)]

    @staticmethod
    def values(dense):
        """The variance (k, 1) that all features share."""
        return _variances(dense)[:, :1]

    @staticmethod
    def coordinates(values, factor):
        """(k,) unconstrained: the logarithms of the variances."""
        return jnp.log(values[:, 0])

    @staticmethod
    def from_coordinates(coordinates):
        """The values: the inverse of `coordinates`."""
        return jnp.exp(coordinates)[:, None]


full, tied, diag, spherical = Full(), Tied(), Diag(), Spherical()
