"""What ``init`` of `fit` may be: partitions of the rows, the hierarchical start, several kinds raced together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, raises, random_data

import jgmm
from jgmm import Status
from jgmm._select import grid

KEY = jax.random.key(0)
K = 3
X, LABELS = random_data(0, 90, 2, K, separation=6.0)
RESP = np.eye(K)[LABELS]


def fit(init, X=X, k=K, **options):
    return jgmm.fit(KEY, X, k, init=init, **options)


def m_step(resp):
    """The mixture of the moments, in NumPy, with the default ridge."""
    weight, rows = resp.sum(0), np.asarray(X)
    means = resp.T @ rows / weight[:, None]
    diff = rows[:, None] - means
    cov = np.einsum("nk,nki,nkj->kij", resp, diff, diff) / weight[:, None, None] + np.diag(jgmm.relative_ridge(X))
    return jgmm.GMM(jnp.asarray(weight / len(X)), jnp.asarray(means), jgmm.Full(jnp.asarray(cov)))


def test_labels_and_responsibilities_are_a_partition_that_em_starts_from():
    expected = jgmm.em(m_step(RESP), X, ridge=jgmm.relative_ridge(X), accelerate="anderson").params
    for init in (LABELS, RESP, jnp.asarray(LABELS), RESP.tolist(), (LABELS,)):
        result = fit(init)
        close(result.params, expected, "float64", loss=1e6)
        assert result.restarts.status.shape == (1,)


def test_soft_responsibilities_are_not_rounded():
    soft = np.random.default_rng(0).dirichlet(np.ones(K), len(X))
    close(fit(soft, max_steps=0).params, m_step(soft), "float64", loss=1e3)


def test_groups_far_apart_lose_no_digits():
    far = X + 1e7 * jnp.asarray(RESP)[:, :2]
    one, shifted = (fit(LABELS, rows, max_steps=0).params for rows in (X, far))
    close(shifted.cov, one.cov, "float64", loss=1e9)


def test_the_hierarchical_start_is_that_of_its_tree():
    tree = jgmm.init.tree(X)
    expected = fit(tree.labels(K))
    for init in ("hierarchical", jgmm.init.hierarchical, tree):
        close(fit(init), expected, "float64")
    padded = fit("hierarchical", max_components=4)
    close(padded.params.weights, jnp.append(expected.params.weights, 0.0), "float64", loss=1e3)


def test_several_kinds_race_together_and_a_partition_is_one_start():
    alone = fit(LABELS)
    result = fit(("random_points", "kmeans", LABELS), num_init=6, race=())
    assert result.restarts.status.shape == (6,)
    assert int(result.restarts.num_steps[-1]) == int(alone.num_steps)
    close(result.restarts.mean_log_prob[-1], alone.mean_log_prob, "float64")
    kmeans = fit("kmeans", num_init=2, race=())
    assert result.mean_log_prob >= max(kmeans.restarts.mean_log_prob.min(), alone.mean_log_prob) - 1e-6


def test_a_sample_of_the_rows_takes_their_labels_along():
    rows, labels = random_data(1, 2600, 2, K, separation=6.0)
    wrong = np.roll(labels, 1)
    result = fit((wrong, labels), rows, num_init=2, race=((1, 1),), moves=0)
    assert result.restarts.status.tolist() == [Status.DROPPED, Status.CONVERGED]


def test_labels_are_traced_and_map():
    many = jnp.stack([jnp.asarray(LABELS), jnp.asarray(np.roll(LABELS, 1))])
    mapped = jax.jit(jax.vmap(lambda labels: fit(labels).mean_log_prob))(many)
    close(mapped, jnp.stack([fit(labels).mean_log_prob for labels in many]), "float64", loss=1e3)


def test_what_is_no_label_inside_jit_is_never_called_converged():
    status = jax.jit(lambda labels: fit(labels).status)(jnp.asarray(LABELS) - 1)
    assert status > Status.DEGENERATE


def test_a_label_of_weight_zero_may_be_anything():
    labels, weight = np.append(LABELS, -1), np.append(np.ones(len(X)), 0.0)
    rows = jnp.concatenate([X, jnp.full((1, 2), jnp.nan)])
    close(fit(labels, rows, sample_weight=weight).params, fit(LABELS).params, "float64", loss=1e3)


def test_fewer_distinct_rows_than_components_end_in_a_status():
    assert fit("hierarchical", jnp.repeat(X[:2], 5, axis=0)).status == Status.DEGENERATE


BAD = [
    ((), TypeError, ["one start, or several in a tuple", "got ()"]),
    (["kmeans", "mixed"], TypeError, ["several in a tuple", "kmeans"]),
    (LABELS[:5], ValueError, ["each of the 90 rows", "got 5"]),
    (LABELS + 1, ValueError, ["labels 0 to 2", "got 1 to 3"]),
    (LABELS - 0.5, TypeError, ["integers", "float64"]),
    (RESP[:, :2], ValueError, ["shape (90, 3)", "got (90, 2)"]),
    (2 * RESP, ValueError, ["sum one"]),
    (("kmeans", "kmean"), ValueError, ["init must be one of", "got 'kmean'"]),
    (("mixed",) * 65, ValueError, ["num_init must be at least the number of inits, got 64 for 65"]),
]


@pytest.mark.parametrize(("init", "error", "parts"), BAD)
def test_a_bad_init_is_refused(init, error, parts):
    raises(error, parts, fit, init)


def test_a_mixture_is_no_init_but_the_error_says_where_it_goes():
    raises(ValueError, ["To start from a mixture, use jgmm.em"], fit, fit(LABELS).params)


def test_the_hierarchical_start_inside_jit_says_what_to_do():
    with pytest.raises(TypeError, match=r"outside jit.*hand its labels in"):
        jax.jit(lambda X: fit("hierarchical", X))(X)


def test_a_sweep_reads_every_k_off_one_tree(monkeypatch):
    made = []
    monkeypatch.setattr(grid, "tree", lambda *args, **options: made.append(1) or jgmm.init.tree(*args, **options))
    found = jgmm.select.sweep(KEY, X, range(1, 5), cov=("diag", "tied"), init=("kmeans", "hierarchical"), num_init=3)
    assert len(made) == 1
    assert all(result.converged for result in found.results)
