"""Covariance families that a user writes outside the package, registered with JAX and nothing else."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, raises, random_data
from jax.flatten_util import ravel_pytree

import jgmm

K, D, N = 2, 3, 120


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class UnitVolume(jgmm.Covariance):
    """A matrix of determinant one for each component: clusters of one volume and any shape."""

    cov: jax.Array  # (k, d, d)

    form = jgmm.Full.form

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        matrix = scatter / jnp.where(weight > 0, weight, 1)[:, None, None] + jnp.diag(ridge)[None]
        return cls(matrix / jnp.linalg.det(matrix)[:, None, None] ** (1 / len(ridge)))

    def factor(self):
        return jgmm.Full(self.cov).factor()

    def dense(self, num_components, num_features):
        return self.cov

    @staticmethod
    def num_parameters(num_components, num_features):
        return num_components * (num_features * (num_features + 1) // 2 - 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Equicorrelated(jgmm.Covariance):
    """A variance for all features of a component, and a correlation for all pairs of them."""

    var: jax.Array  # (k,)
    corr: jax.Array  # (k,)
    num_features: int = dataclasses.field(metadata={"static": True})

    form = jgmm.Full.form

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        d = len(ridge)
        matrix = scatter / jnp.where(weight > 0, weight, 1)[:, None, None] + jnp.diag(ridge)[None]
        var = jnp.trace(matrix, axis1=1, axis2=2) / d
        return cls(var, (matrix.sum((1, 2)) / d / var - 1) / (d - 1), d)

    def factor(self):
        return jgmm.Full(self.dense(len(self.var), self.num_features)).factor()

    def dense(self, num_components, num_features):
        one, corr = jnp.eye(num_features, dtype=self.var.dtype)[None], self.corr[:, None, None]
        return self.var[:, None, None] * (corr + (1 - corr) * one)

    @staticmethod
    def num_parameters(num_components, num_features):
        return 2 * num_components


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class SameVariances(jgmm.Covariance):
    """A variance for each feature, the same in all components."""

    var: jax.Array  # (d,)

    form = jgmm.Diag.form

    @classmethod
    def estimate(cls, scatter, weight, ridge):
        return cls(scatter.sum(0) / weight.sum() + ridge)

    def factor(self):
        return jgmm.Diag(self.var[None]).factor()

    def dense(self, num_components, num_features):
        return jnp.broadcast_to(jnp.diag(self.var), (num_components, num_features, num_features))

    @staticmethod
    def num_parameters(num_components, num_features):
        return num_features


def unit_volume(scatter, weight):
    return [S / np.linalg.det(S) ** (1 / D) for S in scatter]


def equicorrelated(scatter, weight):
    covs = []
    for S, N in zip(scatter, weight, strict=True):
        diagonal = np.eye(D, dtype=bool)
        var, covariance = S[diagonal].mean() / N, S[~diagonal].mean() / N
        covs.append(np.where(diagonal, var, covariance))
    return covs


def same_variances(scatter, weight):
    return [np.diag(np.diag(sum(scatter))) / sum(weight)] * len(weight)


ORACLES = {UnitVolume: unit_volume, Equicorrelated: equicorrelated, SameVariances: same_variances}
X = random_data(0, N, D, K, separation=1.2)[0]


@pytest.fixture(params=ORACLES, ids=lambda family: family.__name__)
def family(request):
    return request.param


def start(family, X=X):
    return jgmm.init.kmeans_plusplus(jax.random.key(1), X, K, cov=family)


def numpy_em(params, X, steps, m_step):
    """So many steps of EM, row by row."""
    weights, means, covs = (np.asarray(x, np.float64) for x in (params.weights, params.means, params.covariances))
    X = np.asarray(X, np.float64)
    for _ in range(steps):
        density = np.zeros((len(X), K))
        for k in range(K):
            diff = X - means[k]
            quadratic = (diff @ np.linalg.inv(covs[k]) * diff).sum(1)
            density[:, k] = np.exp(-quadratic / 2) / np.sqrt(np.linalg.det(2 * np.pi * covs[k]))
        resp = weights * density
        resp /= resp.sum(1, keepdims=True)
        weight = resp.sum(0)
        weights, means = weight / len(X), resp.T @ X / weight[:, None]
        scatter = [(resp[:, k, None] * (X - means[k])).T @ (X - means[k]) for k in range(K)]
        covs = np.array(m_step(scatter, weight))
    return weights, means, covs


@functools.cache
def optimum(family):
    """Where the obvious loop ends from `start`."""
    weights, means, covs = map(jnp.asarray, numpy_em(start(family), X, 3000, ORACLES[family]))
    return jgmm.GMM(weights, means, family.from_values(family.form.values(covs), weights, D))


@pytest.mark.parametrize("kernel", ["whitened", "products"])
def test_steps_of_em_are_those_of_an_obvious_loop(family, kernel, dtype, monkeypatch):
    monkeypatch.setattr("jgmm._expectation.kernels.SMALL", 0 if kernel == "products" else 10**9)
    params = begin = start(family, X.astype(dtype))
    assert type(params.cov) is family
    step = jax.jit(lambda params: jgmm.step(params, X.astype(dtype)))
    for _ in range(5):
        params = step(params)
    wanted = numpy_em(begin, X, 5, ORACLES[family])
    close((params.weights, params.means, params.covariances), wanted, dtype, loss=30)


def test_coordinates_lead_back_and_all_numbers_are_a_member(family):
    params = start(family)

    @jax.jit
    def there_and_back(params):
        u = jgmm.to_unconstrained(params)
        other = jax.tree.map(lambda x: x + 0.3, u)
        again = jgmm.from_unconstrained(family, jgmm.to_unconstrained(jgmm.from_unconstrained(family, other)))
        return jgmm.from_unconstrained(family, u), jgmm.from_unconstrained(family, other), again

    back, other, again = there_and_back(params)
    close(back, params, "float64")
    close(again, other, "float64")  # what is in the family stays as it is
    other.check()


def test_a_change_along_the_family_is_found_again_and_what_leaves_it_is_left_out(family):
    params = start(family)

    @jax.jit
    def project(key, params):
        def along(values):
            return params.cov.from_tangent(values, params.weights, D)

        k, d = params.means.shape
        shape = family.form.shape(k, d)
        root = params.cov.factor()
        keys = jax.random.split(key)
        first, second = (root.absolute(jax.random.normal(key, shape).reshape(shape[0], -1), d) for key in keys)
        inside, other = (params.cov.tangent(along(x), k, d) for x in (first, second))
        inner = params.weights[:, None] * root.relative(first - inside, d) * root.relative(other, d)
        return inside, params.cov.tangent(along(inside), k, d), inner.sum(), abs(inner).sum()

    inside, again, inner, size = project(jax.random.key(0), params)
    close(again, inside, "float64", loss=10)
    assert abs(inner) < 1e-12 * size


@pytest.mark.parametrize("family", [UnitVolume, SameVariances])
def test_acceleration_finds_the_optimum(family):
    end = jgmm.em(start(family), X, stop=jgmm.LogProbStop(1e-14), accelerate="anderson").check()
    close(end.params, optimum(family), "float64", loss=1e7)
    assert end.num_steps < 100


def test_gradient_ascent_finds_the_optimum():
    end = jgmm.fit_gradient(start(Equicorrelated), X, stop=jgmm.GradientStop(1e-7)).check()
    close(end.params, optimum(Equicorrelated), "float64", loss=1e7)


def test_fit_under_jit_and_vmap():
    fit = jax.jit(jax.vmap(lambda X: jgmm.fit(jax.random.key(0), X, K, cov=UnitVolume, num_init=2, race=((2, 1),))))
    both = fit(jnp.stack([X, X + 1.0])).check()
    assert type(both.params.cov) is UnitVolume
    close(both.params.means[1] - 1, both.params.means[0], "float64", loss=1e9)


def test_the_derivative_of_a_fit_is_that_of_its_differences():
    def bent(scale):
        return X * (1 + scale * X)

    def number(covs, means):
        return (covs[:, 0, 1] * np.arange(1.0, 1 + K)).sum() + means[0, 0]

    def fitted(scale):
        end = jgmm.em(optimum(UnitVolume), bent(scale), stop=jgmm.LogProbStop(1e-18))
        return number(end.params.covariances, end.params.means)

    ends = (numpy_em(optimum(UnitVolume), bent(scale), 3000, unit_volume) for scale in (1e-5, -1e-5))
    above, below = (number(covs, means) for _, means, covs in ends)
    close(jax.grad(fitted)(0.0), (above - below) / 2e-5, "float64", loss=1e5)


def test_standard_errors_are_those_of_the_information():
    family, params = Equicorrelated, optimum(Equicorrelated)
    result = jgmm.standard_errors(params, X)
    assert result.status == jgmm.Status.CONVERGED
    vector, unravel = ravel_pytree(jgmm.to_unconstrained(params))

    @jax.jit
    def variances(vector):  # of the means, from all the coordinates, of which some directions change nothing
        def build(vector):
            return jgmm.from_unconstrained(family, unravel(vector))

        hessian = jax.hessian(lambda vector: -jgmm.log_prob(build(vector), X).sum())(vector)
        jacobian = jax.jacobian(lambda vector: build(vector).means)(vector)
        return (jacobian @ jnp.linalg.pinv(hessian, rtol=1e-9, hermitian=True) * jacobian).sum(-1)

    close(result.errors.means, jnp.sqrt(variances(vector)), "float64", loss=1e5)


def test_what_the_family_cannot_hold_is_full(family):
    params = start(family)
    full = jgmm.to_full(params)
    point = jnp.array([0.5])
    A = jnp.asarray(np.random.default_rng(0).normal(size=(2, D)))
    for operation in (
        lambda params: jgmm.marginal(params, [2, 0]),
        lambda params: jgmm.condition(params, [1], point),
        lambda params: jgmm.affine(params, A, 1.0),
        lambda params: jgmm.convolve(params, jnp.arange(1.0, 1 + D)),
    ):
        result = operation(params)
        assert type(result.cov) is jgmm.Full
        close(result, operation(full), "float64", loss=10)
    assert type(jgmm.collapse(params).cov) is family


def test_queries_are_those_of_the_full_mixture(family):
    params = start(family)
    full = jgmm.to_full(params)
    close(jgmm.log_prob(params, X), jgmm.log_prob(full, X), "float64")
    close(jgmm.sample(jax.random.key(0), params, 5), jgmm.sample(jax.random.key(0), full, 5), "float64")
    assert params.num_parameters == K - 1 + K * D + family.num_parameters(K, D)
    penalty = jnp.log(N) * (params.num_parameters - full.num_parameters)
    close(jgmm.bic(params, X) - jgmm.bic(full, X), penalty, "float64", loss=100)


def test_a_component_that_shares_its_numbers_is_never_replaced_alone():
    assert UnitVolume.by_component(K, D)
    assert not SameVariances.by_component(K, D)
    assert not jgmm.Tied.by_component(D, D)  # whose first axis is no axis of components, whatever its length
    assert [family.least_rows(D) for family in (UnitVolume, jgmm.Full, jgmm.Tied, jgmm.Diag)] == [D + 1, D + 1, 1, 3]


class Unregistered(UnitVolume):
    pass


class Incomplete(jgmm.Covariance):
    form = jgmm.Full.form


def test_a_family_that_is_none_is_refused():
    raises(ValueError, ["'full', 'tied'", "derived from jgmm.Covariance", "Incomplete"], start, Incomplete)
    raises(ValueError, ["derived from jgmm.Covariance"], start, jgmm.Covariance)
    raises(ValueError, ["derived from jgmm.Covariance"], start, dict)
    raises(TypeError, ["Unregistered must be a JAX pytree", "register_dataclass"], start, Unregistered)
    params = dataclasses.replace(start(UnitVolume), cov=UnitVolume(jnp.ones((K, D))))
    raises(
        ValueError,
        ["UnitVolume covariances of 2 components in 3 features need shape (2, 3, 3), got (2, 3)"],
        params.check,
    )
    params = dataclasses.replace(params, cov=Equicorrelated(jnp.ones(K), [0.0, 0.0], D))
    raises(TypeError, ["Equicorrelated.corr must be an array, got list"], params.check)
