"""Covariance families without correlations: a variance for each feature (`Diag`), or one for all (`Spherical`).

What a family is, and what its methods mean, says `jgmm._cov`.
"""

import jax
import jax.numpy as jnp

from jgmm._base.pytree import public, pytree
from jgmm._covariance.factor import ScaleFactor


def variances_of(scatter):
    """The scatter per feature (k, d) of a full scatter, or a diagonal one as it is."""
    return jnp.diagonal(scatter, axis1=-2, axis2=-1) if scatter.ndim == 3 else scatter


def divisor(weight):
    """The weights, or one where there is none."""
    return jnp.where(weight > 0, weight, 1)  # an empty component divides zeros


def need(family, enough, scatter):
    """Raise unless a scatter of this shape is ``enough`` for the family."""
    if not enough:
        raise ValueError(
            f"Too poor a scatter for a {family} covariance, got shape {scatter.shape}: collect the statistics with a "
            "mixture of that family, or of a richer one (full; tied holds one matrix for all components)."
        )


def _blocks(squares, linear):
    """Both, or one of both side by side: of up to three squares two products would take longer than one."""
    joined = squares.shape[-1] == linear.shape[-1] <= 3
    return (jnp.concatenate([squares, linear], -1),) if joined else (squares, linear)


class Separate:
    """What the families have in common whose components share no covariance."""

    @staticmethod
    def frame():
        """The family whose scatter of all rows an E-step can use; only `Tied` needs more than a diagonal."""
        return Diag

    @staticmethod
    def common_log_prob(precision, frame_scatter):
        """What all components have in common and `features` leave out: nothing."""
        return 0


class Independent(Separate):
    """What the families of variances have in common; their features are squares (q, m) and the rows (d, m)."""

    rows_last = False

    @staticmethod
    def natural(precision, linear):
        """((k, q), (k, d)), for a precision (k, q)."""
        return _blocks(-precision / 2, linear)

    @staticmethod
    def moments(sums, frame_scatter):
        """Scatter (k, q) and shift (k, d): the sums of the features are these."""
        sums, d = jnp.concatenate(sums, -1), frame_scatter.shape[-1]
        return sums[:, :-d], sums[:, -d:]

    def coordinates(self, factor):
        """(k, d) or (k,) unconstrained: the logarithms of the variances."""
        return jnp.log(self.var)

    @classmethod
    def from_coordinates(cls, coordinates):
        """The inverse of `coordinates`."""
        return cls(jnp.exp(coordinates))

    def scale(self):
        """The variances themselves."""
        return self

    def conditional(self, factor, given, rest):
        """Slopes (1, |rest|, |given|), zeros, and the variances of the features ``rest``: the others say nothing."""
        return jnp.zeros((1, len(rest), len(given)), self.var.dtype), self.marginal(rest)


@pytree
@public
class Diag(Independent):
    """A variance for each component and feature; features are independent within a component.

    Args:
        var: (k, d) positive, squared data units.
    """

    var: jax.Array

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        """var_kj = S_kj / N_k + ridge_j, for scatter (k, d) or (k, d, d)."""
        need("diag", scatter.shape[0] == weight.shape[0] and scatter.shape[1] == ridge.shape[0], scatter)
        return cls(variances_of(scatter) / divisor(weight)[:, None] + ridge)

    @staticmethod
    def scatter(weighted, diff):
        """sum_n weighted_n diff_n by feature (k, d), for two arrays (k, d, m)."""
        return (weighted * diff).sum(-1)

    @staticmethod
    def features(Z):
        """z_j^2 and z (d, m)."""
        return [T.T for T in _blocks(Z**2, Z)]

    def marginal(self, dims):
        """The variances of the features ``dims`` alone."""
        return Diag(self.var[:, dims])

    def plus(self, noise):
        """The variances with independent noise added: a variance () or one per feature (d,); no matrix."""
        return NotImplemented if noise.ndim == 2 else Diag(self.var + noise)

    def transformed(self, A):
        """The variances of A x: A a factor () or one per feature (d,); no matrix."""
        return NotImplemented if A.ndim == 2 else Diag(self.var * A**2)

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
    def least_rows(num_features):
        """3: on fewer rows the variances are a matter of chance."""
        return 3

    @staticmethod
    def num_parameters(num_components, num_features):
        """k d."""
        return num_components * num_features


@pytree
@public
class Spherical(Independent):
    """One variance for each component, the same for every feature.

    Args:
        var: (k,) positive, squared data units.
    """

    var: jax.Array

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        """var_k = sum_j S_kj / (N_k d) + mean(ridge), for scatter (k, 1), (k, d) or (k, d, d)."""
        need("spherical", scatter.shape[0] == weight.shape[0], scatter)
        total = variances_of(scatter).sum(-1)
        return cls(total / (divisor(weight) * ridge.shape[0]) + ridge.mean())

    @staticmethod
    def scatter(weighted, diff):
        """sum_n <weighted_n, diff_n> (k, 1), for two arrays (k, d, m)."""
        return (weighted * diff).sum((-2, -1))[:, None]

    @staticmethod
    def features(Z):
        """|z|^2 (1, m) and z (d, m)."""
        return [T.T for T in _blocks((Z**2).sum(1, keepdims=True), Z)]

    def marginal(self, dims):
        """The variances as they are: one for all features is one for some."""
        return self

    def plus(self, noise):
        """The variances with independent noise added: a variance (), or, as `Diag`, one per feature; no matrix."""
        return NotImplemented if noise.ndim == 2 else self._with(lambda var: var + noise, noise.ndim)

    def transformed(self, A):
        """The variances of A x: A a factor (), or, as `Diag`, one per feature; no matrix."""
        return NotImplemented if A.ndim == 2 else self._with(lambda var: var * A**2, A.ndim)

    def _with(self, change, ndim):
        return Diag(change(self.var[:, None])) if ndim else Spherical(change(self.var))

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
    def least_rows(num_features):
        """3: on fewer rows the variance is a matter of chance."""
        return 3

    @staticmethod
    def num_parameters(num_components, num_features):
        """k."""
        return num_components
