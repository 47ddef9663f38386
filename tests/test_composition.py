"""A mixture inside other people's programs: samplers, NumPyro, loops, exported programs, ragged batches."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from helpers import FAMILIES, close, random_data, random_gmm

import jgmm
from jgmm._base.lanes import LANES

K, D = 3, 2
KEY = jax.random.key(0)
TARGET = jgmm.GMM(
    jnp.array([0.3, 0.7]),
    jnp.array([[-1.0, 0.0], [1.0, 0.5]]),
    jgmm.Full(jnp.array([[[1.0, 0.3], [0.3, 0.5]], [[0.8, -0.2], [-0.2, 1.2]]])),
)


def moments_are_recovered(chains):
    """Means and covariances over (chains, draws, d), within five errors as the chains disagree among themselves."""
    mean, cov = jgmm.moments(TARGET)
    second = cov + jnp.outer(mean, mean)
    for found, exact in (
        (chains.mean(1), mean),
        (jnp.einsum("cni,cnj->cij", chains, chains) / chains.shape[1], second),
    ):
        error = found.std(0, ddof=1) / len(found) ** 0.5
        assert (jnp.abs(found.mean(0) - exact) < 5 * error).all()
        assert (error < 0.05).all()


def test_it_is_a_target_for_blackjax():
    kernel = blackjax.hmc(lambda x: jgmm.log_prob(TARGET, x), 0.5, jnp.ones(D), 4)

    @jax.jit
    @jax.vmap
    def run(key, start):
        draw = lambda state, key: 2 * (kernel.step(key, state)[0],)  # noqa: E731
        return jax.lax.scan(draw, kernel.init(start), jax.random.split(key, 500))[1].position

    starts = jgmm.sample(KEY, TARGET, 64)[0]
    moments_are_recovered(run(jax.random.split(jax.random.key(1), 64), starts))


def test_it_is_a_potential_for_hamiltonian_dynamics():
    """The leapfrog conserves energy to second order in the step: the score is the gradient of the density."""
    score = jax.grad(jgmm.log_prob, argnums=1)

    def drift(start, size, steps):
        def leap(state, _):
            x, v = state
            v = v + size / 2 * score(TARGET, x)
            x = x + size * v
            return (x, v + size / 2 * score(TARGET, x)), None

        energy = lambda x, v: v @ v / 2 - jgmm.log_prob(TARGET, x)  # noqa: E731
        end, _ = jax.lax.scan(leap, start, length=steps)
        return energy(*end) - energy(*start)

    start = jnp.array([0.3, -0.4]), jnp.array([1.0, 0.5])
    coarse, fine = (jax.jit(drift, static_argnums=2)(start, 2.0 / steps, steps) for steps in (40, 80))
    assert 3.5 < coarse / fine < 4.5
    assert abs(fine) < 1e-3


def to_numpyro(params):
    components = dist.MultivariateNormal(params.means, params.covariances)
    return dist.MixtureSameFamily(dist.Categorical(params.weights), components)


def from_numpyro(mixture):
    components = mixture.component_distribution
    return jgmm.GMM(mixture.mixing_distribution.probs, components.mean, jgmm.Full(components.covariance_matrix))


@pytest.mark.parametrize("cov", FAMILIES)
def test_numpyro_has_the_same_density_there_and_back(cov):
    params, X = random_gmm(0, K, D, cov), random_data(0, 20, D, K)[0]
    mixture = to_numpyro(params)
    with jax.numpy_rank_promotion("allow"):  # which NumPyro relies on
        theirs = mixture.log_prob(X), mixture.mean, mixture.variance
    close(from_numpyro(mixture), jgmm.to_full(params), "float64")
    mean, cov = jgmm.moments(params)
    close(theirs, (jgmm.log_prob(params, X), mean, jnp.diagonal(cov)), "float64")


@pytest.mark.parametrize("cov", FAMILIES)
def test_checkpoint_changes_no_value_and_no_derivative(cov):
    params, X = random_gmm(0, K, D, cov), random_data(0, 20, D, K)[0]
    loss = lambda params: jgmm.log_prob(params, X).sum()  # noqa: E731
    plain = jax.jit(jax.value_and_grad(loss))(params)
    close(jax.jit(jax.value_and_grad(jax.checkpoint(loss)))(params), plain, "float64")


def test_em_runs_under_checkpoint_and_inside_scan():
    """A stream of batches, each fitted from the end of the last, is the loop written out."""
    params = random_gmm(0, K, D, "full")
    batches = random_data(0, 120, D, K)[0].reshape(3, 40, D)
    fit = lambda params, X: jgmm.em(params, X, ridge=0.1, max_steps=5)  # noqa: E731

    def advance(params, X):
        result = jax.checkpoint(fit)(params, X)
        return result.params, result.mean_log_prob

    end, log_prob = jax.jit(lambda params, batches: jax.lax.scan(advance, params, batches))(params, batches)
    for X, found in zip(batches, log_prob, strict=True):
        result = fit(params, X)
        params = result.params
        close(found, result.mean_log_prob, "float64", loss=1e3)
    close(end, params, "float64", loss=1e3)


def test_second_derivatives_pass_through_a_step_in_reverse_and_through_em_forward():
    params, (X, _) = random_gmm(0, 2, D, "full"), random_data(0, 40, D, 2)
    toward = jnp.asarray(np.random.default_rng(0).normal(size=X.shape))

    def along(function):
        """The second derivative of a function of the rows along a line: twice forward, and by differences."""
        first = lambda t: jax.jvp(lambda t: function(X + t * toward), (t,), (1.0,))[1]  # noqa: E731
        ahead, behind = jax.lax.map(first, jnp.array([1e-5, -1e-5]))
        return jax.jvp(first, (0.0,), (1.0,))[1], (ahead - behind) / 2e-5

    def through_step(X):
        return (jgmm.step(params, X).cov.cov ** 2).sum()

    def through_em(X):
        return (jgmm.em(params, X, max_steps=4, ridge=0.1).params.cov.cov ** 2).sum()

    by_step, by_em = (jax.jit(lambda function=function: along(function))() for function in (through_step, through_em))
    for found, differences in (by_step, by_em):
        close(found, differences, "float64", loss=1e7)
    reverse = jax.jit(lambda: jax.jvp(jax.grad(through_step), (X,), (toward,))[1])()
    close((reverse * toward).sum(), by_step[0], "float64", loss=1e3)


LENGTHS = [30, 41]
RAGGED = {
    "em": lambda key, X, w: jgmm.em(jgmm.init.kmeans(key, X, 2, sample_weight=w), X, w),
    "fit": lambda key, X, w: jgmm.fit(key, X, 2, num_init=2, race=(), accelerate=None, sample_weight=w),
}


@pytest.mark.parametrize("name", RAGGED)
def test_a_batch_of_ragged_data_sets_is_a_loop_of_fits(name):
    """Padding is rows of weight zero, whatever they hold: the same starts from the same keys, the same fits."""
    sets = [random_data(seed, n, D, 2, separation=2.0)[0] for seed, n in enumerate(LENGTHS)]
    X = jnp.stack([jnp.pad(X, ((0, 50 - len(X)), (0, 0)), constant_values=jnp.nan) for X in sets])
    w = (jnp.arange(50)[None] < jnp.array(LENGTHS)[:, None]).astype(X.dtype)
    keys = jax.random.split(KEY, len(sets))
    together = jax.jit(jax.vmap(RAGGED[name]))(keys, X, w)
    assert together.converged.all()
    for i, rows in enumerate(sets):
        alone = RAGGED[name](keys[i], rows, None)
        close(together.params.means[i], alone.params.means, "float64", loss=1e6)
        close(together.mean_log_prob[i], alone.mean_log_prob, "float64", loss=1e3)
        assert together.stats.total[i] == len(rows)


def test_a_batch_longer_than_the_queue_is_a_loop_of_fits_too():
    """More fits than lanes: each takes its own number of steps, and the derivatives are those of a single fit."""
    count = 2 * LANES + 3
    params, X = random_gmm(1, 2, D, "tied"), random_data(0, 40, D, 2, separation=2.0)[0]
    weights = jgmm.resample.bootstrap(KEY, 40, count)
    refit = jax.jit(lambda w: jgmm.em(params, X, w, ridge=0.1, max_steps=60))
    mean = lambda w: jgmm.em(params, X, w, ridge=0.1, max_steps=8).params.means  # noqa: E731
    slope = jax.jit(lambda w: jax.jvp(mean, (w,), (w[::-1],))[1])
    together, slopes = jax.jit(jax.vmap(lambda w: (refit(w), slope(w))))(weights)
    assert len(set(together.num_steps.tolist())) > 3
    for i in (0, 1, LANES - 1, LANES, 2 * LANES, count - 1):
        alone = refit(weights[i])
        assert together.num_steps[i] == alone.num_steps
        assert together.status[i] == alone.status
        close(jax.tree.map(lambda x, i=i: x[i], together.params), alone.params, "float64", loss=1e3)
        close(together.mean_log_prob[i], alone.mean_log_prob, "float64", loss=1e3)
        close(slopes[i], slope(weights[i]), "float64", loss=1e5)


def exported(function, *arguments):
    """A program that has been bytes."""
    return jax.export.deserialize(jax.export.export(jax.jit(function))(*arguments).serialize()).call


def test_programs_can_be_exported_with_mixtures_as_arguments_and_results():
    params, X = random_gmm(0, K, D, "full"), random_data(0, 40, D, K)[0]
    close(exported(jgmm.log_prob, params, X)(params, X), jgmm.log_prob(params, X), "float64")
    em = lambda params, X, memory: jgmm.em(params, X, max_steps=5, accelerate=memory).params  # noqa: E731
    memory = jgmm.Anderson(memory=2)  # a choice, which has to survive as well
    program = jax.export.export(jax.jit(em))(params, X, memory)
    assert b"jgmm.GMM" in program.serialize()  # and not where the file lies
    assert b"jgmm._" not in program.serialize()
    again = exported(em, params, X, memory)(params, X, memory)
    assert isinstance(again.cov, jgmm.Full)
    close(again, em(params, X, memory), "float64", loss=1e3)
    with pytest.raises(ValueError, match="metadata"):
        exported(em, params, X, memory)(params, X, jgmm.Anderson(memory=3))


def some_steps(params, X):
    return jgmm.em(params, X, max_steps=5).params


@pytest.mark.parametrize(
    "function", [jgmm.log_prob, jgmm.responsibilities, jgmm.predict, jgmm.bic, jgmm.e_step, jgmm.step, some_steps]
)
def test_programs_can_be_exported_for_any_number_of_rows(function):
    params = random_gmm(0, K, D, "diag")
    (n,) = jax.export.symbolic_shape("n")
    program = exported(lambda X: function(params, X), jax.ShapeDtypeStruct((n, D), "float64"))
    for rows in (40, 7000):  # 7000 are several chunks where their number is known
        X = random_data(0, rows, D, K)[0]
        close(program(X), function(params, X), "float64", loss=1e3)
