"""What a covariance family is: `Covariance`, which says what a family must give and makes the rest of it.

A family is a small frozen pytree. It names its form (`_covariance.forms`), which says what moments of the rows it
learns from, and how its numbers follow from them. Its type sits in the pytree structure, so ``jit`` specialises on it
and no code elsewhere asks "which family is this?".
"""

import abc
import functools
from typing import Any, ClassVar, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jgmm._base.pytree import public
from jgmm._base.types import where
from jgmm._covariance.factor import Factor, symmetrised


def divisor(weight: jax.Array) -> jax.Array:
    """The weights, or one where there is none."""
    return where(weight > 0, weight, 1)  # an empty component divides zeros


def component_covariances(scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> tuple[jax.Array, jax.Array]:
    """C_k = S_k / N_k + diag(ridge), like the scatter (k, d, d) or (k, d), and the shares N_k / N (k,).

    What families start from whose components have numbers in common. An absent component has no share in these, and
    for C_k that of all rows, so that its own numbers are sound: a covariance that is not would keep all the others.
    """
    total = divisor(weight.sum())
    rows = weight.reshape(-1, *(1,) * (scatter.ndim - 1))
    covs = where(rows > 0, scatter / divisor(rows), scatter.sum(0, keepdims=True) / total)
    covs = covs + ridge[None] if scatter.ndim == 2 else symmetrised(covs) + diagonal_matrix(ridge)[None]
    return covs, weight / total


def diagonal_matrix(ridge: jax.Array) -> jax.Array:
    """diag(ridge), elementwise, so that it costs no kernel of its own."""
    return where(np.eye(ridge.size, dtype=bool), ridge[None], 0)


@public
class Covariance(abc.ABC):
    """The covariances of a mixture's components: the base class of every family here, and of your own.

    A family gives its ``form`` and the four methods marked below; the others are made from these, and a family has
    its own only where that is faster, or a result stays within the family. Numbers are leaves of a pytree:

        @jax.tree_util.register_dataclass
        @dataclasses.dataclass(frozen=True, eq=False)
        class Family(jgmm.Covariance): ...

    The class is then a choice of ``cov`` wherever "full" is one. Under ``jit`` its methods see traced numbers.

    ``form`` is that of a family here, by the scatter that it needs: ``jgmm.Full.form`` (k, d, d), ``jgmm.Tied.form``
    (1, d, d), the sum over components, ``jgmm.Diag.form`` (k, d), ``jgmm.Spherical.form`` (k, 1), that over features.
    """

    form: ClassVar[Any]

    # Whether features scaled one by one leave the family: then `jgmm._mixture.units` gives all of them one unit.
    shares_units: ClassVar[bool] = True

    # Whether the statistics that an E-step collects are of its mixture alone, so that those of others do not add.
    own_statistics: ClassVar[bool] = False

    # What every family gives.

    @classmethod
    @abc.abstractmethod
    def estimate(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """The covariances of highest expected likelihood: the M-step. A family gives this.

        Args:
            scatter: sum_n r_nk (x_n - mu_k)(x_n - mu_k)^T, in the shape of the form, squared data units times rows.
            weight: (k,) sum_n r_nk; a component of weight zero has a scatter of zeros, and its covariance is not used.
            ridge: (d,) squared data units, added to the variances.
        """

    @abc.abstractmethod
    def factor(self) -> Factor:
        """The square roots of the covariances, NaN where one is not positive definite. A family gives this.

        They are those that another family makes: ``jgmm.Full(matrices).factor()`` for a form of matrices, with
        `jgmm.Tied` for one matrix, ``jgmm.Diag(variances).factor()`` or `jgmm.Spherical` for forms of variances.
        """

    @abc.abstractmethod
    def dense(self, num_components: int, num_features: int) -> jax.Array:
        """The matrices (k, d, d). A family gives this."""

    @staticmethod
    @abc.abstractmethod
    def num_parameters(num_components: int, num_features: int) -> int:
        """How many free numbers the covariances are. A family gives this."""

    # What follows from it: learning.

    def update(self, scatter: jax.Array, weight: jax.Array, ridge: jax.Array) -> Self:
        """The M-step where these covariances are the last: `estimate`, unless that has no closed form and iterates."""
        return self.estimate(scatter, weight, ridge)

    @classmethod
    def learn(cls, scatter: jax.Array, weight: jax.Array, ridge: jax.Array, old: Self | None = None) -> Self:
        """The M-step from a scatter of the form or a richer one; ``old`` covariances are the last."""
        scatter = cls.form.reduced(scatter, *weight.shape, *ridge.shape)
        return _registered((cls.estimate if old is None else old.update)(scatter, weight, ridge))

    def collects(self, factor: Any) -> Any:
        """The form of the scatter that an E-step under these covariances collects, given their factor."""
        return self.form

    def settled(self) -> "Covariance":
        """The same covariances in a family whose M-step is the maximum, of the same leaves: for derivatives of it."""
        return self

    @classmethod
    def by_component(cls, num_components: int, num_features: int) -> bool:
        """Whether each component has numbers of its own, and shares none: only then may one alone be replaced."""
        return all(jax.tree.leaves(_of_components(cls, num_features)))

    @classmethod
    def least_rows(cls, num_features: int) -> int:
        """Rows (a weight) on which a component's covariance is no matter of chance.

        d + 1: on fewer a matrix is singular, and the likelihood whatever the ridge lets it be. 1 for what the
        components share: the rows of the others serve it too.
        """
        shared = cls.num_parameters(2, num_features) == cls.num_parameters(1, num_features)
        return 1 if shared else num_features + 1

    def repeated(self, num_components: int, num_features: int) -> Self:
        """For k components the covariance of one."""

        def repeat(own, leaf):
            return jnp.broadcast_to(leaf, (num_components, *leaf.shape[1:])) if own else leaf

        return jax.tree.map(repeat, _of_components(type(self), num_features), self)

    def reordered(self, order: jax.Array, num_features: int) -> Self:
        """The covariances of the components ``order`` (any number of places 0..k-1)."""

        def chosen(own, leaf):
            return leaf[order] if own else leaf

        return jax.tree.map(chosen, _of_components(type(self), num_features), self)

    # Values: the covariances in the shape of the form.

    def values(self, num_components: int, num_features: int) -> jax.Array:
        """The covariances in the shape of the form: (k, d, d), (1, d, d), (k, d) or (k, 1)."""
        return self.form.values(self.dense(num_components, num_features))

    @classmethod
    def from_values(cls, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The covariances of these `values`: of the nearest in the family, for rows of this ``weight`` (k,)."""
        return cls.estimate(*statistics(values, weight, num_features))

    def near(self, values: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """`from_values`, where a family has several sets of numbers for one covariance: the set next to these."""
        return self.from_values(values, weight, num_features)

    def variances(self, num_components: int, num_features: int) -> jax.Array:
        """The variance of each feature (k, d)."""
        variances = self.form.diagonal(self.values(num_components, num_features))
        return jnp.broadcast_to(variances, (num_components, num_features))

    def tangent(self, change: Self, num_components: int, num_features: int) -> jax.Array:
        """The change of `values` that a ``change`` of these covariances makes, a pytree of derivatives like them."""
        return jax.jvp(lambda cov: cov.values(num_components, num_features), (self,), (change,))[1]

    def from_tangent(self, change: jax.Array, weight: jax.Array, num_features: int) -> Self:
        """The inverse of `tangent`; of a change that leaves the family, the part along it.

        An M-step takes the nearest covariances in the divergence of the complete data, so its derivative is
        the projection in their information: of components of this ``weight`` (k,).
        """
        values = self.values(len(weight), num_features)
        weight = jnp.maximum(weight, jnp.finfo(weight.dtype).eps)  # what is absent must not divide by zero
        return jax.jvp(lambda values: self.near(values, weight, num_features), (values,), (change,))[1]

    def coordinates(self, factor: Factor, num_components: int, num_features: int) -> jax.Array:
        """Real numbers without any condition on them: as many as the free ones of `values`."""
        return self.form.coordinates(self.values(num_components, num_features), factor)

    @classmethod
    def from_coordinates(cls, coordinates: jax.Array, num_components: int, num_features: int) -> Self:
        """The inverse of `coordinates`, and for any other numbers the covariances nearest to what they say."""
        values = cls.form.from_coordinates(coordinates)
        return cls.from_values(values, jnp.ones(num_components, values.dtype), num_features)

    # Operations: what NotImplemented says cannot be done within the family is done with `Full`.

    def marginal(self, dims) -> Any:
        """The covariance of the features ``dims`` alone."""
        return NotImplemented

    def conditional(self, factor: Any, given, rest) -> Any:
        """Slopes (k or 1, |rest|, |given|) and covariance of the features ``rest`` where ``given`` are known.

        Args:
            factor: of the `marginal` of ``given``.
            given, rest: places of features.
        """
        return NotImplemented

    def plus(self, noise: jax.Array) -> Any:
        """The covariance with independent noise added: a variance (), one per feature (d,), or a matrix (d, d)."""
        return NotImplemented

    def transformed(self, A: jax.Array) -> Any:
        """The covariance of A x: A a factor (), one per feature (d,), or a matrix (q, d)."""
        return NotImplemented


Cov = TypeVar("Cov")


def statistics(values, weight, num_features):
    """Scatter, weight and ridge of rows that have these `values` for covariances."""
    if len(values) < len(weight):
        weight = weight.sum(keepdims=True)
    rows = weight.reshape(-1, *(1,) * (values.ndim - 1))
    scatter = rows * values * (num_features / values.shape[-1])
    return scatter, weight, jnp.zeros(num_features, values.dtype)


@functools.lru_cache(1024)
def shapes(family, num_components, num_features):
    """The numbers of a family's covariances, as a pytree of `jax.ShapeDtypeStruct`: what an M-step would return."""
    given = family.form.shape(num_components, num_features), (num_components,), (num_features,)
    return jax.eval_shape(family.learn, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in given))


@functools.lru_cache(1024)
def _of_components(family, num_features):
    """Which of the numbers of a family have the components as first axis."""
    two, three = (shapes(family, k, num_features) for k in (2, 3))
    return jax.tree.map(lambda a, b: a.shape != b.shape, two, three)


def _registered(cov: Cov) -> Cov:
    """The covariance, if it is a pytree of arrays; it raises otherwise."""
    if jax.tree_util.all_leaves([cov]):
        raise TypeError(
            f"{type(cov).__name__} must be a JAX pytree: decorate the class with @jax.tree_util.register_dataclass "
            "above @dataclasses.dataclass(frozen=True, eq=False)."
        )
    return cov


def check_additive(family, what):
    """Raise unless the statistics of several mixtures of the family add, as ``what`` needs."""
    if family.own_statistics:
        raise TypeError(
            f"{what} does not work with {family.__name__} covariances, whose statistics serve an M-step of one mixture "
            "alone. Use jgmm.lowrank without wide=True, or jgmm.to_full(params)."
        )


def check_array(name, x):
    """Raise unless ``x`` is an array."""
    # Lists, too, pass through a constructor that checks nothing, and to JAX each is many leaves.
    if not hasattr(x, "shape"):
        raise TypeError(f"{name} must be an array, got {type(x).__name__}. Use jnp.array(...).")


def check_covariance(cov, num_components, num_features):
    """Raise unless ``cov`` is a covariance of these components and features."""
    if not isinstance(cov, Covariance):
        raise TypeError(
            "The covariance must be a jgmm.Full, Tied, Diag, Spherical or of another family of jgmm.Covariance, got "
            f"{type(cov).__name__}."
        )
    template = shapes(type(cov), num_components, num_features)
    for path, values in jax.tree_util.tree_leaves_with_path(_registered(cov), is_leaf=lambda x: x is not cov):
        name = getattr(path[0], "name", path[0])
        part, owner = getattr(template, str(name), None), f"{type(cov).__name__}.{name}"
        if not isinstance(part, Covariance):
            check_array(owner, values)
        elif type(values) is not type(part):
            raise TypeError(f"{owner} must be a jgmm.{type(part).__name__}, got {type(values).__name__}.")
    wanted, got = ([jnp.shape(x) for x in jax.tree.leaves(tree)] for tree in (template, cov))
    if got != wanted:
        wanted, got = (", ".join(map(str, shape)) for shape in (wanted, got))
        raise ValueError(
            f"{type(cov).__name__} covariances of {num_components} components in {num_features} features "
            f"need shape {wanted}, got {got}."
        )
