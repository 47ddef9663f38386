"""The race of the starts: the sample it runs on, who is left behind, and who may win."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FAMILIES, close, random_data, random_gmm

import jgmm
from jgmm import Status
from jgmm._base.sample import _reached, sample_rows
from jgmm._search.final import best_of, leader_of
from jgmm._search.moves import component_of, moved
from jgmm._search.race import _handicap, _order, _second, race_rows
from jgmm._search.runner import Runner

KEY = jax.random.key(0)
RACE = {"num_init": 6, "race": ((4, 3), (5, 1))}


def test_the_sample_grows_with_the_data_from_a_floor_that_grows_with_the_parameters():
    assert race_rows(100, 2) == 2048
    assert race_rows(16_000, 359) == 5026
    assert race_rows(320_000, 359) == 20_480  # a sixteenth of the next length
    assert race_rows(320_000, 359, num_shards=64) == 5120  # what each device has


def test_a_sample_of_few_rows_is_all_of_them():
    X, weight = jnp.ones((5, 2)), jnp.arange(5.0)
    rows, weights = sample_rows(0.5, X, weight, 8)  # the next length
    assert rows is X
    assert weights is weight


def test_rows_are_sampled_in_proportion_to_their_weight_and_those_of_weight_zero_never():
    weight = np.random.default_rng(0).integers(0, 4, 1000).astype(float)
    X = jnp.arange(1000.0)[:, None]
    size = int(weight.sum()) // 2
    drawn = [
        np.asarray(sample_rows(u, X, jnp.asarray(weight), size)[0][:, 0], int)
        for u in jax.random.uniform(KEY, (200, size), float)
    ]
    counts = np.bincount(np.concatenate(drawn), minlength=1000)
    assert not counts[weight == 0].any()
    assert all((np.diff(rows) >= 0).all() for rows in drawn)
    # A row of weight w is expected 100 w times; the standard deviation of its count is below 10 w.
    assert (np.abs(counts - 100 * weight) <= 60 * weight).all()
    assert len(drawn[0]) == size


def test_the_same_key_gives_the_same_fit_called_again_or_compiled_before():
    X, _ = random_data(0, 300, 2, 3)
    first, again = (jgmm.fit(KEY, X, 3, **RACE) for _ in range(2))
    program = jax.jit(lambda key, X: jgmm.fit(key, X, 3, **RACE)).lower(KEY, X).compile()
    for other in (again, program(KEY, X)):
        assert float(other.mean_log_prob) == pytest.approx(float(first.mean_log_prob), rel=1e-12)
        np.testing.assert_array_equal(jgmm.predict(other.params, X), jgmm.predict(first.params, X))


@pytest.mark.parametrize("cov", FAMILIES)
def test_the_best_goes_on_and_the_others_say_where_they_were_left(cov):
    X, _ = random_data(0, 300, 2, 3)
    result = jgmm.fit(KEY, X, 3, cov=cov, **RACE)
    codes, steps = np.asarray(result.restarts.status), np.asarray(result.restarts.num_steps)
    assert sorted(codes.tolist()) == [Status.CONVERGED] + [Status.DROPPED] * 5
    assert sorted(steps[codes == Status.DROPPED].tolist()) == [4, 4, 4, 9, 9]
    left = np.asarray(result.restarts.mean_log_prob)
    assert (left[steps == 4].max() <= left[steps != 4]).all()  # EM never falls: who was worse stays worse
    winner = int(codes.argmin())
    assert steps[winner] == 9 + int(result.num_steps)
    assert float(result.restarts.mean_log_prob[winner]) == float(result.mean_log_prob)


def test_without_a_race_every_start_runs_to_the_end_and_a_race_on_a_sample_finds_as_much():
    X, labels = random_data(3, 3 * race_rows(0, 23), 2, 4, separation=6.0)
    fast, whole = (jgmm.fit(KEY, X, 4, **options) for options in ({}, {"race": (), "num_init": 4}))
    assert (whole.restarts.status == Status.CONVERGED).all()
    assert float(whole.mean_log_prob) == float(whole.restarts.mean_log_prob.max())
    assert fast.converged
    assert float(fast.mean_log_prob) >= float(whole.mean_log_prob) - 1e-7
    assert float(fast.stats.total) == len(labels)  # the end is on all rows


def test_the_race_maps_over_data_sets_and_weights():
    X = jnp.stack([random_data(seed, 300, 2, 3)[0] for seed in (0, 1)])
    weight = jnp.asarray(np.random.default_rng(0).integers(1, 3, (2, 300)), float)
    fit = lambda key, X, w: jgmm.fit(key, X, 3, sample_weight=w, **RACE)  # noqa: E731
    mapped = jax.jit(jax.vmap(fit))(jax.random.split(KEY, 2), X, weight)
    for i, key in enumerate(jax.random.split(KEY, 2)):
        alone = fit(key, X[i], weight[i])
        np.testing.assert_allclose(mapped.mean_log_prob[i], alone.mean_log_prob, rtol=1e-7)


@pytest.mark.parametrize("num_init", [5, 17, 40])
def test_starts_that_fill_no_whole_batch_are_run_once_each(num_init):
    X, _ = random_data(0, 60, 2, 3)
    result = jgmm.fit(KEY, X, 3, num_init=num_init, race=((3, 4), (2, 1)), max_steps=50)
    steps = np.asarray(result.restarts.num_steps)
    assert (steps == 3).sum() == num_init - 4
    assert (steps == 5).sum() == 3
    assert steps.max() == 5 + int(result.num_steps)


def batch_of(params, weight, log_prob, status):
    """Results of one mixture each, as `best_of` takes them."""
    k, d = params.means.shape
    zeros = jnp.zeros((k, d))
    one = lambda w, value: jgmm.Stats(params.means, w, zeros, jnp.zeros((k, d, d)), w.sum(), value * w.sum())  # noqa: E731
    stats = jax.vmap(one)(jnp.asarray(weight), jnp.asarray(log_prob))
    n = len(status)
    repeat = jax.tree.map(lambda x: jnp.stack([x] * n), params)
    return jgmm.Result(repeat, stats, jnp.arange(n), jnp.asarray(status), jnp.zeros((n, k), jnp.int32))


@pytest.mark.parametrize(
    ("weight", "log_prob", "status", "winner"),
    [
        # three features: a component needs four rows
        ([[50, 50], [97, 3], [40, 60]], [-2.0, 5.0, -1.0], [Status.CONVERGED] * 3, 2),
        ([[97, 3], [98, 2]], [1.0, 2.0], [Status.CONVERGED] * 2, 1),
        ([[50, 50], [50, 50]], [1.0, 2.0], [Status.MAX_STEPS, Status.DEGENERATE], 0),
        ([[50, 50], [50, 50]], [1.0, np.nan], [Status.DEGENERATE, Status.NON_FINITE], 0),
    ],
)
def test_a_spurious_or_failed_start_does_not_win(weight, log_prob, status, winner):
    params = random_gmm(0, 2, 3, "full")
    results = batch_of(params, np.asarray(weight, float), log_prob, [int(s) for s in status])
    n = len(status)
    outcome = jgmm.Restarts(jnp.full(n, -jnp.inf), jnp.zeros(n, int), jnp.full(n, int(Status.DROPPED)))
    best = best_of(results, jnp.arange(n, dtype=jnp.int32), outcome)
    assert int(best.num_steps) == winner
    assert best.restarts.status.tolist() == [int(s) for s in status]


CONVERGED, DEGENERATE, DROPPED = (int(code) for code in (Status.CONVERGED, Status.DEGENERATE, Status.DROPPED))


@pytest.mark.parametrize(
    ("status", "numbers", "winner", "told"),
    [
        ([CONVERGED, CONVERGED], [2, 0], 0, [DROPPED, DROPPED, CONVERGED]),
        ([DEGENERATE, CONVERGED], [2, 0], 1, [CONVERGED, DROPPED, DEGENERATE]),
        ([DEGENERATE, DEGENERATE], [2, 0], 0, [DEGENERATE, DROPPED, DEGENERATE]),
        ([DEGENERATE, CONVERGED], [2, 2], 0, [DROPPED, DROPPED, DEGENERATE]),  # none in reserve
    ],
)
def test_the_start_in_reserve_runs_only_where_the_leader_collapses(status, numbers, winner, told):
    results = batch_of(random_gmm(0, 2, 3, "full"), np.full((2, 2), 50.0), [-1.0, -2.0], status)
    outcome = jgmm.Restarts(jnp.full(3, -9.0), jnp.full(3, 4), jnp.full(3, DROPPED))
    run = lambda place: jax.tree.map(lambda leaf: leaf[place], results)  # noqa: E731
    best = jax.jit(lambda: leader_of(run, jnp.arange(2), jnp.asarray(numbers, jnp.int32), outcome))()
    assert int(best.num_steps) == winner
    assert best.restarts.status.tolist() == told
    number = numbers[winner]
    assert best.restarts.mean_log_prob.tolist() == [-1.0 - winner if n == number else -9.0 for n in range(3)]
    assert best.restarts.num_steps.tolist() == [4 + winner if n == number else 4 for n in range(3)]


@pytest.mark.parametrize("cov", FAMILIES)
def test_a_move_exchanges_one_component_and_in_turn_all(cov):
    k, d, r = 3, 2, 4
    family = type(random_gmm(0, k, d, cov).cov)

    def runner(seed):
        params = random_gmm(seed, k, d, cov)
        scatter = jnp.full(family.form.shape(k, d), float(seed))
        return Runner(params, jnp.full(k, float(seed)), (jnp.full(k, 9.0 + seed), params.means, scatter, jnp.ones(())))

    component = component_of(runner(0), runner(0).by_component(family))
    flat = lambda runner: jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(runner)])  # noqa: E731
    best, donors = flat(runner(0)), jnp.stack([flat(runner(seed)) for seed in range(1, r + 1)])
    pairs = []
    for turn in range(4):
        copies = moved(best, donors, jnp.int32(turn), component, k)
        np.testing.assert_array_equal(copies[0], best)
        for copy in copies[1:]:
            changed = np.unique(component[np.asarray(copy != best)])
            assert len(changed) == 1
            own = component == changed[0]
            donor = int(np.flatnonzero((np.asarray(donors)[:, own] == np.asarray(copy)[own]).all(1))[0])
            pairs.append((donor, int(changed[0])))
    assert len(set(pairs)) == k * r == len(pairs)
    assert (component == -1).any()  # the log-likelihood belongs to no component


def test_moves_lead_out_of_an_optimum_that_a_start_ends_in():
    """Two starts alone seldom find ten blobs; moves exchange a component too many of one for one that is missing."""
    X, _ = random_data(1, 1000, 2, 10, separation=12.0)
    options = {"cov": "spherical", "num_init": 16, "race": ((5, 1),), "init": "random_points"}
    ends = [[jgmm.fit(jax.random.key(s), X, 10, moves=m, **options) for s in range(4)] for m in (0, 8)]
    without, moving = ([float(result.mean_log_prob) for result in results] for results in ends)
    assert np.mean(moving) > np.mean(without) + 0.01
    assert all(result.converged for result in ends[1])


@pytest.mark.parametrize(("variance", "rows", "spurious"), [(1.0, 9.0, 0), (1e-5, 9.0, 1), (1.0, 2.0, 1)])
def test_a_runner_that_the_ridge_shapes_or_no_rows_support_is_not_sound(variance, rows, spurious):
    """It gains no more by shrinking than its rows, in each feature, by the log of what it may shrink."""
    means, weight = jnp.zeros((2, 2)), jnp.array([50.0, rows])
    cov = jgmm.Full(jnp.stack([jnp.eye(2), jnp.diag(jnp.array([1.0, variance]))]))
    sums = weight, means, jnp.zeros((2, 2, 2)), jnp.zeros(())
    runner = Runner(jgmm.GMM(weight / weight.sum(), means, cov), jnp.zeros(2), sums)
    found = runner.spurious(cov.factor(), jnp.full(2, 1e-6))
    assert found.tolist() == [False, bool(spurious)]
    gain = 2 * np.log(1e3) * rows / (50 + rows)
    close(_handicap(runner, found, weight.sum()), jnp.asarray(spurious * max(1, gain)), "float64")


@pytest.mark.parametrize(("unsound", "order"), [(0.5, [0, 1, 2, 3]), (1.5, [1, 0, 2, 3])])
def test_a_start_that_is_not_sound_leads_only_where_it_is_far_better(unsound, order):
    log_prob = jnp.array([-3.0, -3.0 + unsound, -4.5, -4.6])
    notes = jnp.stack([jnp.arange(4.0), log_prob, jnp.full(4, 7.0), jnp.array([0.0, 1.2, 0.0, 0.05])], 1)
    assert _order(notes).tolist() == order
    assert int(_second(notes[jnp.array(order)])) == 0  # no sound one is within a nat


def test_among_starts_that_are_not_sound_the_likelihood_alone_decides():
    log_prob, handicap = jnp.array([-3.0, -2.9, jnp.nan, -2.0]), jnp.array([2.0, 40.0, 1.0, 2.0])
    notes = jnp.stack([jnp.array([0.0, 1.0, 2.0, -1.0]), log_prob, jnp.full(4, 7.0), handicap], 1)
    assert _order(notes).tolist() == [1, 0, 2, 3]


@pytest.mark.parametrize("bad", [3, ((10,),), ((10, 1, 1),), "abc", None])
def test_a_bad_race_is_refused(bad):
    with pytest.raises(TypeError, match="race must be pairs"):
        jgmm.fit(KEY, np.ones((5, 1)), 1, race=bad)


@pytest.mark.parametrize("bad", [((0, 1),), ((10, 0),)])
def test_a_race_to_nothing_is_refused(bad):
    with pytest.raises(ValueError, match="at least 1"):
        jgmm.fit(KEY, np.ones((5, 1)), 1, race=bad)


@pytest.mark.parametrize("place", [0.0, 3.0, np.nextafter(np.float32(6), 0), 6.0, 7.0])
def test_rounding_leads_to_no_row_without_weight(place):
    cumulative = jnp.cumsum(jnp.array([0, 3, 0, 3, 0], "float32"))
    assert _reached(cumulative, jnp.array([place], "float32")) == (1 if place < 3 else 3)
