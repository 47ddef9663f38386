"""Covariances of a few factors and noise: `LowRank`, a class for each number of factors, which `lowrank` makes.

    Sigma_k = W_k W_k^T + Psi_k,    x = mu_k + W_k z + noise,  z ~ N(0, I) of q factors

Noise of each feature makes mixtures of factor analysers (Ghahramani & Hinton 1996; McLachlan & Peel 2000, chapter 8),
the same noise of all features mixtures of probabilistic principal components (Tipping & Bishop 1999).
"""

import abc
import copyreg
import functools
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from jgmm._base.options import check_count
from jgmm._base.pytree import public, pytree, static
from jgmm._covariance import forms
from jgmm._covariance.diagonal import Diag, Spherical
from jgmm._covariance.factor import Factor, TriangularFactor, matmul, symmetrised
from jgmm._covariance.family import Covariance, check_array, component_covariances, statistics
from jgmm._covariance.full import Full
from jgmm._covariance.loadings import loadings_and_noise
from jgmm._covariance.wide import Factors, Wide, check_features

NOISE: dict[str, type] = {"diag": Diag, "spherical": Spherical}


class _MadeByCall(abc.ABCMeta):
    """The class of classes that a call makes: ``made_by`` (a function and its arguments) is what a pickle keeps."""


copyreg.pickle(_MadeByCall, lambda cls: vars(cls).get("made_by", cls.__qualname__))


@pytree
@public
class LowRank(Covariance, metaclass=_MadeByCall):
    """Covariances of q factors and noise: Sigma_k = W_k W_k^T + Psi_k.

    ``LowRank(loadings, noise, wide)`` is of the family ``lowrank(q, noise, wide)`` of its loadings and noise. A fit is
    given that family: ``cov=jgmm.lowrank(8)``. Loadings are determined up to a rotation of the factors; of an M-step
    they are near the old ones.

    Args:
        loadings: (k, d, q) W_k, data units.
        noise: `Diag` or `Spherical` variances Psi_k.
        wide: `bool`, whether the family is that for many features (static).

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> cov = jgmm.LowRank(jnp.ones((1, 3, 1)), jgmm.Spherical(jnp.ones(1)))
        >>> print(type(cov).__name__, cov.dense(1, 3)[0, 0])
        lowrank(1, 'spherical') [2. 1. 1.]
    """

    loadings: jax.Array
    noise: Any
    wide: bool = static(default=False, repr=False)

    form = forms.full
    family: ClassVar[Any]
    num_factors: ClassVar[int]

    def __new__(cls, loadings: Any = None, noise: Any = None, wide: bool = False):
        """An instance of the family of these loadings and this noise, if the class is of none itself."""
        if cls is LowRank:
            check_array("LowRank.loadings", loadings)
            cls = lowrank(loadings.shape[-1], _kind_of(noise), wide)
        return object.__new__(cls)

    @classmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """The loadings and noise nearest to S_k / N_k + diag(ridge): maximum likelihood factor analysis."""
        return cls._nearest(component_covariances(scatter, weight, ridge)[0])

    def update(self, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """The same from the old noise, so that the likelihood cannot fall."""
        if len(self.loadings) != len(weight):  # one for all the rows, where there was no last step
            return self.estimate(scatter, weight, ridge)
        covs, _ = component_covariances(scatter, weight, ridge)
        return self._nearest(covs, (self.loadings, self.noise.values(*covs.shape[:2])))

    @classmethod
    def _nearest(cls, covs, old=None) -> Self:
        check_features(cls, covs.shape[-1])
        nearest = functools.partial(loadings_and_noise, num_factors=cls.num_factors, shared=cls.family is Spherical)
        loadings, noise = jax.vmap(lambda cov, old: nearest(cov, old=old))(covs, old)
        made: Any = cls
        return made(loadings, cls.family.from_values(noise, noise, covs.shape[-1]))

    def near(self, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The numbers next to these: the factors turned towards the old ones."""
        return self.update(*statistics(values, weight, num_features))

    def factor(self) -> Factor:
        """The Cholesky factors, NaN where a matrix is not positive definite."""
        return TriangularFactor.of(self.dense(*self.loadings.shape[:2]))

    def dense(self, num_components: int, num_features: int) -> jax.Array:
        """(k, d, d)."""
        products = matmul(self.loadings, jnp.swapaxes(self.loadings, -1, -2))
        return symmetrised(products) + self.noise.dense(num_components, num_features)

    @classmethod
    def num_parameters(  # pyright: ignore[reportIncompatibleMethodOverride] (it is called on the class, as all are)
        cls, num_components: int, num_features: int
    ) -> int:
        """k (d q - q (q - 1) / 2) for the loadings, and those of the noise; at most those of `Full`."""
        q = cls.num_factors
        free = num_features * q - q * (q - 1) // 2 + cls.family.num_parameters(1, num_features)
        return num_components * min(free, Full.num_parameters(1, num_features))

    @classmethod
    def least_rows(cls, num_features: int) -> int:
        """q + 2: q + 1 rows lie in the plane of q factors, and the likelihood has no bound."""
        return cls.num_factors + 2

    def marginal(self, dims) -> Any:
        """The loadings and noise of the features ``dims``, where these are more than the factors."""
        if len(dims) <= self.num_factors:
            return NotImplemented
        return self._with(self.loadings[:, dims], self.noise.marginal(dims))

    def plus(self, noise: jax.Array) -> Any:
        """With independent noise added: a variance (), or, with `Diag` noise, one per feature (d,); no matrix."""
        return self._with(self.loadings, self.noise.plus(noise))

    def transformed(self, A: jax.Array) -> Any:
        """Of A x: A a factor (), or, with `Diag` noise, one per feature (d,); no matrix."""
        loadings = self.loadings if A.ndim == 2 else self.loadings * (A[None, :, None] if A.ndim else A)
        return self._with(loadings, self.noise.transformed(A))

    def _with(self, loadings, noise):
        """The covariances of as many factors with these numbers."""
        return noise if noise is NotImplemented else LowRank(loadings, noise, self.wide)


def _kind_of(noise):
    """The name of a kind of noise, of a value of it."""
    for name, family in NOISE.items():
        if type(noise) is family:
            return name
    raise TypeError(f"LowRank.noise must be a jgmm.Diag or jgmm.Spherical, got {type(noise).__name__}.")


def lowrank(num_factors: int, noise: str = "diag", wide: bool = False) -> type[LowRank]:
    """The covariance family of a few factors and noise: Sigma_k = W_k W_k^T + Psi_k, W_k of q columns.

    A choice of ``cov`` wherever "full" is one. It has k (d q - q (q - 1) / 2) free numbers for loadings (at most
    k d (d + 1) / 2 in all), where `Full` has k d (d + 1) / 2: for many features and few rows. The same call gives the
    same class.

    Args:
        num_factors: q, at least 1 and less than the features (static).
        noise: "diag", a variance for each feature and component (mixtures of factor analysers, Ghahramani & Hinton
            1996), or "spherical", one for each component (mixtures of probabilistic principal component analysers,
            Tipping & Bishop 1999).
        wide: for many features, from about 100 on (static). No matrix (d, d) is made: an iteration takes time and
            statistics take memory in proportion to d q and not d^2. The M-step is a step of EM in the factors
            (Ghahramani & Hinton 1996, eq. 5-8; with parameter expansion, Liu, Rubin & Wu 1998) and not the maximum, so
            fits take more iterations to the same optima. The noise of a feature is at least the root of rounding, or
            2 d roundings, of its variance. `Stats` of one mixture add; added to those of another they are NaN, but for
            `online_step`, which carries its own from mixture to mixture. From statistics of other families an M-step
            takes the variances alone, and makes a start. `standard_errors` and derivatives of a fit make matrices
            (d, d). `adapt` and `collapse` raise a TypeError: they learn from covariances of other mixtures, of which
            such statistics hold too little.

    Returns:
        A class derived from `LowRank`, of loadings (k, d, q).

    Raises:
        ValueError, TypeError: ``num_factors`` is no positive integer, ``noise`` another word, or ``wide`` no bool.

    Example:
        >>> import jax, jgmm
        >>> X = jax.random.normal(jax.random.key(0), (100, 6))
        >>> result = jgmm.fit(jax.random.key(1), X, 1, cov=jgmm.lowrank(2), num_init=1, race=())
        >>> result.params.cov.loadings.shape, result.params.cov.noise.var.shape
        ((1, 6, 2), (1, 6))
    """
    if noise not in NOISE:
        raise ValueError(f"noise must be 'diag' or 'spherical', got {noise!r}.")
    if not isinstance(wide, bool):
        raise TypeError(f"wide must be True or False, got {wide!r}.")
    return _family(check_count("num_factors", num_factors, least=1), noise, wide)


lowrank.__module__ = "jgmm"  # what is pickled outlives a move of this file


@functools.cache
def _family(size, kind, for_many) -> type[LowRank]:
    bases: Any = (Wide, LowRank) if for_many else (LowRank,)

    class Family(*bases):
        __doc__ = LowRank.__doc__
        made_by = lowrank, (size, kind, for_many)
        num_factors, family = size, NOISE[kind]
        narrow = _family(size, kind, False) if for_many else None
        shares_units = family.shares_units
        form = Factors(size) if for_many else LowRank.form
        wide: bool = static(default=for_many, repr=False)

    options = [repr(kind)] * (kind != "diag") + ["wide=True"] * for_many
    Family.__name__ = Family.__qualname__ = f"lowrank({', '.join([str(size), *options])})"
    Family.__module__ = LowRank.__module__
    return pytree(Family)
