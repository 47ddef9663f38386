"""A component that another one makes superfluous is told: EM cannot part the two, and says that it converged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, random_data

import jgmm
from jgmm import ComponentStatus, Status

X = random_data(0, 60, 2, 2, separation=6.0)[0]


def with_a_copy(params):
    """Components a, a, b, where b is as it was."""
    means = jnp.concatenate([params.means[:1], params.means])
    weights = jnp.concatenate([params.weights[:1], params.weights]).at[:2].divide(2)
    double = lambda leaf: leaf if isinstance(params.cov, jgmm.Tied) else jnp.concatenate([leaf[:1], leaf])  # noqa: E731
    return jgmm.GMM(weights, means, jax.tree.map(double, params.cov))


@pytest.mark.parametrize("cov", FAMILIES)
@pytest.mark.parametrize("accelerate", [None, "anderson"])
def test_a_copy_is_told_and_the_fit_with_it(cov, dtype, accelerate):
    rows = X.astype(dtype)
    start = jgmm.init.kmeans(jax.random.key(0), rows, 2, cov=cov)
    alone = jgmm.em(start, rows, accelerate=accelerate).check()
    result = jgmm.em(with_a_copy(start), rows, accelerate=accelerate)
    assert result.component_status.tolist() == [ComponentStatus.OK, ComponentStatus.REDUNDANT, ComponentStatus.OK]
    assert Status(int(result.status)) == Status.DEGENERATE
    np.testing.assert_allclose(result.mean_log_prob, alone.mean_log_prob, rtol=1e-5)
    with pytest.raises(jgmm.FitError, match="Component 1: the same as an earlier component"):
        result.check()


def test_components_that_share_their_place_or_their_shape_are_two():
    """Two crossed ellipses about one point, and two blobs of one shape, in the data that they are the fit of."""
    rng = np.random.default_rng(0)
    ellipses = [rng.normal(size=(200, 2)) @ np.array([[3.0, tilt], [0.0, 0.3]]) for tilt in (2.0, -2.0)]
    crossed = np.concatenate([part - part.mean(0) for part in ellipses])
    start = jgmm.GMM(np.full(2, 0.5), np.zeros((2, 2)), jgmm.Full(np.stack([np.cov(part.T) for part in ellipses])))
    assert not jgmm.em(start, crossed, accelerate="anderson").check().component_status.any()
    assert not jgmm.fit(jax.random.key(0), X, 2, cov="tied").check().component_status.any()


def test_an_absent_component_is_nobodys_copy():
    start = with_a_copy(jgmm.init.kmeans(jax.random.key(0), X, 2))
    for absent in (0, 1):
        weights = start.weights.at[absent].set(0).at[1 - absent].multiply(2)
        assert not jgmm.em(jgmm.GMM(weights, start.means, start.cov), X).check().component_status.any()
