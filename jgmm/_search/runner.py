"""Where a start stands in a race, and what takes it a step further."""

import jax
import jax.numpy as jnp

from jgmm._base.pytree import pytree
from jgmm._base.status import ComponentStatus
from jgmm._base.types import where
from jgmm._em.components import NOTABLE
from jgmm._em.steps import maximisation
from jgmm._expectation.kernels import expectation
from jgmm._expectation.moments import moments_of
from jgmm._expectation.stats import Stats
from jgmm._mixture.gmm import GMM


def supported(params, weight):
    """(k,) bool: which components have the weight (k,) of the rows that their covariance needs, or are absent."""
    return (weight >= params.cov.least_rows(params.num_features)) | (params.weights == 0)


def begin(start, family, rows, ridge, sweep, present):
    """The state before the first round: `Stats`, the mixture that they were collected with, and its codes."""
    if not isinstance(start, Stats):
        factor, code = start.cov.factor(), jnp.full(start.weights.shape, ComponentStatus.OK, jnp.int32)
        return collected(start, factor, rows, sweep), start, code
    # A partition: until a group has a sound covariance of its own, it has the variances of all rows.
    broad = moments_of(rows[-1])[1] + ridge
    cov = family.learn(jnp.zeros_like(start.scatter), jnp.ones_like(start.weight), broad)
    sound = start.weight > 0 if present is None else (start.weight > 0) | ~present
    code = where(sound, ComponentStatus.OK, ComponentStatus.EMPTY).astype(jnp.int32)
    params = GMM(start.weight / start.total, start.center, cov)
    if not family.own_statistics:
        return start, params, code
    params, factor, code = maximisation(start, params, cov.factor(), ridge, old_code=code)
    return collected(params, factor, rows, sweep), params, code


def collected(params, factor, rows, sweep):
    X, sample_weight, frame = rows
    return expectation(params, factor, frame, X, sample_weight, sweep)


@pytree
class Runner:
    """Where a start stands: a mixture, its component statuses, and its statistics but for what is known otherwise.

    The factor of its covariances, twice as large, is made again where a start goes on.
    """

    params: GMM
    code: jax.Array  # of the dtype of the others, with which it lies in one vector
    sums: tuple  # weight, shift, scatter, log_prob

    @classmethod
    def at(cls, stats, params, code):
        """The runner with these `Stats` about the means."""
        return cls(params, code.astype(params.means.dtype), (stats.weight, stats.shift, stats.scatter, stats.log_prob))

    def ahead(self, factor, ridge, total):
        """The M-step: a mixture, its factor and the statuses of its components."""
        weight, shift, scatter, log_prob = self.sums
        stats = Stats(self.params.means, weight, shift, scatter, total, log_prob)
        return maximisation(stats, self.params, factor, ridge, old_code=self.code.astype(jnp.int32))

    def ready(self):
        """A mixture and the statuses of its components, as it stands; its factor is made where it is used."""
        return self.params, None, self.code.astype(jnp.int32)

    def by_component(self, family):
        """A tree of the same kind: which of the arrays have a row for each component."""
        k, d = self.params.means.shape
        scatter = [len(leaf) == k for leaf in jax.tree.leaves(self.sums[2])]
        cov = jax.tree.map(lambda _: family.by_component(k, d), self.params.cov)
        params = jax.tree.unflatten(jax.tree.structure(self.params), [True, True, *jax.tree.leaves(cov)])
        leaves = [*jax.tree.leaves(params), True, True, True, *scatter, False]
        return jax.tree.unflatten(jax.tree.structure(self), leaves)

    def spurious(self, factor, floor):
        """(k,) bool: which components lack support, or are shaped by the ridge."""
        weight, *_ = self.sums
        shaped = (factor.feature_share(floor) > NOTABLE) & (self.params.weights != 0)
        return shaped | ~supported(self.params, weight) | (self.code != ComponentStatus.OK)
