"""The covariance families: what a covariance structure is, and all that the library asks of one.

A family is a small pytree (`Full`, `Tied`, `Diag`, `Spherical`) with the same methods in the same
order. Its type sits in the pytree structure, so ``jit`` specialises on it and no code elsewhere asks
"which family is this?". A new family is a new class here and one line in `FAMILIES`.

The *scatter* that a family learns from keeps its dimensions (as ``keepdims`` does), so that each
form says by its shape what it is and a richer form can be reduced to a poorer one:

    full (k, d, d)  ->  tied (1, d, d)  |  diag (k, d)  ->  spherical (k, 1)

A `Factor` is a square root of the covariances with its inverse: Sigma_k = L_k L_k^T. It whitens
residuals, gives determinants and draws samples; one factorisation serves them all.
"""

import jax
import jax.numpy as jnp

from jgmm._pytree import pytree

HIGHEST = jax.lax.Precision.HIGHEST  # TF32 and bfloat16 products lose small variances


@pytree
class TriangularFactor:
    """Cholesky factors and their inverses; a leading axis of 1 is shared by all components."""

    lower: jax.Array  # (k, d, d) or (1, d, d)
    inverse: jax.Array  # the same shape

    def whiten(self, diff):
        """z = L^-1 diff, for diff (k, d, m)."""
        return jnp.einsum("kij,kjm->kim", self.inverse, diff, precision=HIGHEST)

    def color(self, noise, component):
        """L_component noise, for one row of noise (d,)."""
        lower = jnp.take(self.lower, component, axis=0, mode="clip")
        return jnp.matmul(lower, noise, precision=HIGHEST)

    def pivots(self):
        """L_jj^2 (k or 1, d): the variance of feature j that features before j do not explain."""
        return jnp.diagonal(self.lower, axis1=-2, axis2=-1) ** 2

    def half_log_det(self, num_features):
        """log det(Sigma) / 2, (k,) or (1,)."""
        return jnp.log(jnp.diagonal(self.lower, axis1=-2, axis2=-1)).sum(-1)

    def relative_change(self, old, new, num_features):
        """||L^-1 (new - old) L^-T||^2 (k,) or (1,), for covariances old = L L^T and new."""
        left = jnp.matmul(self.inverse, new - old, precision=HIGHEST)
        whitened = jnp.matmul(left, jnp.swapaxes(self.inverse, -1, -2), precision=HIGHEST)
        return (whitened**2).sum((-2, -1))

    def largest_share(self, variances):
        """The largest share of the variance along any direction, (k,) or (1,), that an independent part
        with these ``variances`` (k, d) has in it: the top eigenvalue of L^-1 diag(variances) L^-T."""
        part = self.inverse * variances[: self.inverse.shape[0], None, :]
        return jnp.linalg.eigvalsh(jnp.matmul(part, jnp.swapaxes(self.inverse, -1, -2), precision=HIGHEST))[:, -1]


@pytree
class ScaleFactor:
    """Standard deviations per feature (k, d), or one for all features (k, 1)."""

    std: jax.Array

    def whiten(self, diff):
        """z = diff / std, for diff (k, d, m)."""
        return diff / self.std[:, :, None]

    def color(self, noise, component):
        """std_component * noise, for one row of noise (d,)."""
        return self.std[component] * noise

    def pivots(self):
        """The variances (k, d) or (k, 1)."""
        return self.std**2

    def half_log_det(self, num_features):
        """log det(Sigma) / 2, (k,)."""
        return jnp.log(self.std).sum(-1) * (num_features / self.std.shape[-1])

    def relative_change(self, old, new, num_features):
        """||Sigma^-1/2 (new - old) Sigma^-1/2||^2 (k,), for variances old and new like std."""
        repeat = num_features / self.std.shape[-1]
        return (((new - old) / self.std**2) ** 2).sum(-1) * repeat

    def largest_share(self, variances):
        """The largest share of the variance of any feature (k,) that ``variances`` (k, d) have in it."""
        return (variances / self.std**2).max(-1)


def _triangular(cov):
    lower = jnp.linalg.cholesky(cov)
    identity = jnp.broadcast_to(jnp.eye(cov.shape[-1], dtype=cov.dtype), cov.shape)
    inverse = jax.lax.linalg.triangular_solve(lower, identity, left_side=True, lower=True)
    return TriangularFactor(lower, inverse)


def _symmetric(matrix):
    # Products of rounded factors differ in the last bit across the diagonal.
    return (matrix + jnp.swapaxes(matrix, -1, -2)) / 2


def _std_products(cov):
    std = jnp.sqrt(jnp.diagonal(cov, axis1=-2, axis2=-1))
    return std[..., :, None] * std[..., None, :]


def _variances_of(scatter):
    """The scatter per feature (k, d) of a full scatter, or a diagonal one as it is."""
    return jnp.diagonal(scatter, axis1=-2, axis2=-1) if scatter.ndim == 3 else scatter


def _divisor(weight):
    return jnp.where(weight > 0, weight, 1)  # an empty component divides zeros


def _need(family, enough, scatter):
    """Raise unless a scatter of this shape is ``enough`` for the family."""
    if not enough:
        raise ValueError(
            f"Too poor a scatter for a {family} covariance, got shape {scatter.shape}: collect the statistics with a "
            "mixture of that family, or of a richer one (full; tied holds one matrix for all components)."
        )


@pytree
class Full:
    """A covariance matrix for each component.

    Args:
        cov: (k, d, d) symmetric positive definite, squared data units.
    """

    cov: jax.Array

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        """Sigma_k = S_k / N_k + diag(ridge), for scatter (k, d, d), weight (k,), ridge (d,)."""
        _need("full", scatter.ndim == 3 and scatter.shape[0] == weight.shape[0], scatter)
        return cls(_symmetric(scatter / _divisor(weight)[:, None, None]) + jnp.diag(ridge))

    @staticmethod
    def scatter(weighted, diff):
        """sum_n weighted_n diff_n^T (k, d, d), for two arrays (k, d, m)."""
        return jnp.einsum("kim,kjm->kij", weighted, diff, precision=HIGHEST)

    def factor(self):
        """The Cholesky factors, NaN where a matrix is not positive definite."""
        return _triangular(self.cov)

    def rows(self):
        """The values with the component (or a shared 1) as first axis."""
        return self.cov

    @classmethod
    def from_rows(cls, rows):
        """The inverse of `rows`."""
        return cls(rows)

    def scale(self):
        """sigma_i sigma_j of each entry, a `Full` of scales."""
        return Full(_std_products(self.cov))

    def dense(self, num_components, num_features):
        """(k, d, d)."""
        return self.cov

    def variances(self, num_components, num_features):
        """(k, d)."""
        return jnp.diagonal(self.cov, axis1=-2, axis2=-1)

    @staticmethod
    def shape(num_components, num_features):
        """The shape of the values."""
        return (num_components, num_features, num_features)

    @staticmethod
    def num_parameters(num_components, num_features):
        """k d (d + 1) / 2."""
        return num_components * num_features * (num_features + 1) // 2


@pytree
class Tied:
    """One covariance matrix for all components.

    Args:
        cov: (d, d) symmetric positive definite, squared data units.
    """

    cov: jax.Array

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        """Sigma = sum_k S_k / sum_k N_k + diag(ridge), for scatter (k or 1, d, d)."""
        _need("tied", scatter.ndim == 3, scatter)
        return cls(_symmetric(scatter.sum(0) / _divisor(weight.sum())) + jnp.diag(ridge))

    @staticmethod
    def scatter(weighted, diff):
        """sum_k sum_n weighted_kn diff_kn^T (1, d, d), for two arrays (k, d, m)."""
        return jnp.einsum("kim,kjm->ij", weighted, diff, precision=HIGHEST)[None]

    def factor(self):
        """The Cholesky factor (1, d, d), NaN where the matrix is not positive definite."""
        return _triangular(self.cov[None])

    def rows(self):
        """The value with a first axis of 1 for the components."""
        return self.cov[None]

    @classmethod
    def from_rows(cls, rows):
        """The inverse of `rows`."""
        return cls(rows[0])

    def scale(self):
        """sigma_i sigma_j of each entry, a `Tied` of scales."""
        return Tied(_std_products(self.cov))

    def dense(self, num_components, num_features):
        """(k, d, d)."""
        return jnp.broadcast_to(self.cov, (num_components, num_features, num_features))

    def variances(self, num_components, num_features):
        """(k, d)."""
        return jnp.broadcast_to(jnp.diagonal(self.cov), (num_components, num_features))

    @staticmethod
    def shape(num_components, num_features):
        """The shape of the value."""
        return (num_features, num_features)

    @staticmethod
    def num_parameters(num_components, num_features):
        """d (d + 1) / 2."""
        return num_features * (num_features + 1) // 2


@pytree
class Diag:
    """A variance for each component and feature; features are independent within a component.

    Args:
        var: (k, d) positive, squared data units.
    """

    var: jax.Array

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        """var_kj = S_kj / N_k + ridge_j, for scatter (k, d) or (k, d, d)."""
        _need("diag", scatter.shape[0] == weight.shape[0] and scatter.shape[1] == ridge.shape[0], scatter)
        return cls(_variances_of(scatter) / _divisor(weight)[:, None] + ridge)

    @staticmethod
    def scatter(weighted, diff):
        """sum_n weighted_n diff_n by feature (k, d), for two arrays (k, d, m)."""
        return (weighted * diff).sum(-1)

    def factor(self):
        """The standard deviations."""
        return ScaleFactor(jnp.sqrt(self.var))

    def rows(self):
        """The values, the component as first axis."""
        return self.var

    @classmethod
    def from_rows(cls, rows):
        """The inverse of `rows`."""
        return cls(rows)

    def scale(self):
        """The variances themselves."""
        return self

    def dense(self, num_components, num_features):
        """(k, d, d)."""
        return self.var[:, :, None] * jnp.eye(num_features, dtype=self.var.dtype)

    def variances(self, num_components, num_features):
        """(k, d)."""
        return self.var

    @staticmethod
    def shape(num_components, num_features):
        """The shape of the values."""
        return (num_components, num_features)

    @staticmethod
    def num_parameters(num_components, num_features):
        """k d."""
        return num_components * num_features


@pytree
class Spherical:
    """One variance for each component, the same for every feature.

    Args:
        var: (k,) positive, squared data units.
    """

    var: jax.Array

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        """var_k = sum_j S_kj / (N_k d) + mean(ridge), for scatter (k, 1), (k, d) or (k, d, d)."""
        _need("spherical", scatter.shape[0] == weight.shape[0], scatter)
        total = _variances_of(scatter).sum(-1)
        return cls(total / (_divisor(weight) * ridge.shape[0]) + ridge.mean())

    @staticmethod
    def scatter(weighted, diff):
        """sum_n <weighted_n, diff_n> (k, 1), for two arrays (k, d, m)."""
        return (weighted * diff).sum((-2, -1))[:, None]

    def factor(self):
        """The standard deviations (k, 1)."""
        return ScaleFactor(jnp.sqrt(self.var)[:, None])

    def rows(self):
        """The values (k, 1), the component as first axis."""
        return self.var[:, None]

    @classmethod
    def from_rows(cls, rows):
        """The inverse of `rows`."""
        return cls(rows[:, 0])

    def scale(self):
        """The variances themselves."""
        return self

    def dense(self, num_components, num_features):
        """(k, d, d)."""
        return self.var[:, None, None] * jnp.eye(num_features, dtype=self.var.dtype)

    def variances(self, num_components, num_features):
        """(k, d)."""
        return jnp.broadcast_to(self.var[:, None], (num_components, num_features))

    @staticmethod
    def shape(num_components, num_features):
        """The shape of the values."""
        return (num_components,)

    @staticmethod
    def num_parameters(num_components, num_features):
        """k."""
        return num_components


Covariance = Full | Tied | Diag | Spherical

FAMILIES = {"full": Full, "tied": Tied, "diag": Diag, "spherical": Spherical}
