from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.random_numbers import random_numbers
from hnmine.science import statistics
from hnmine.science.statistics import (
    basic_interval,
    bootstrap_ratios,
    clustered_upper_bounds,
    cohens_d,
    newcombe_interval,
    percentile_interval,
    randomisation_test,
    wilson_interval,
)
from tests import oracles

rows = st.lists(st.tuples(st.floats(-2, 2), st.sampled_from([0.0, 1.0, 3.0])), min_size=1, max_size=8)


def draws(n, seed, resamples):
    """Return which rows each resample draws: numbers of its own seed and of the place drawn."""
    seeds = random_numbers(np.full(resamples, seed, dtype=np.uint64), np.arange(resamples))
    return [(random_numbers(np.full(n, own), np.arange(n)) % np.uint64(n)).tolist() for own in seeds]


@given(rows, st.integers(0, 5))
def test_it_is_the_double_loop(values, seed):
    top, bottom = np.array(values).T
    found = bootstrap_ratios(top[:, None], bottom[:, None], seed, 20)[:, 0]
    expected = oracles.bootstrap_ratios(top.tolist(), bottom.tolist(), draws(len(values), seed, 20))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(rows, st.floats(-1, 1))
def test_columns_share_their_resamples_so_differences_are_paired(values, shift):
    top = np.array(values)[:, :1]
    both = bootstrap_ratios(np.concatenate([top, top + shift], axis=1), np.ones((len(values), 2)), 0, 50)
    np.testing.assert_allclose(both[:, 1] - both[:, 0], shift, atol=1e-12)


@given(rows, st.integers(1, 40))
def test_how_many_are_drawn_at_a_time_changes_no_bit(values, width):
    top, bottom = (column[:, None] for column in np.array(values).T)
    whole = bootstrap_ratios(top, bottom, 3, 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_AT_ONCE", width)
        np.testing.assert_array_equal(bootstrap_ratios(top, bottom, 3, 30), whole)


def test_another_seed_draws_anew_and_the_same_seed_the_same():
    top, ones = np.arange(50.0)[:, None], np.ones((50, 1))
    np.testing.assert_array_equal(bootstrap_ratios(top, ones, 1), bootstrap_ratios(top, ones, 1))
    assert (bootstrap_ratios(top, ones, 1) != bootstrap_ratios(top, ones, 2)).mean() > 0.9
    assert bootstrap_ratios(top, ones, -1, 3).shape == (3, 1)


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    samples = random.exponential(size=(300, 60))
    low, high = zip(
        *(percentile_interval(bootstrap_ratios(s[:, None], np.ones((60, 1)), i, 300)) for i, s in enumerate(samples)),
        strict=True,
    )
    inside = (np.concatenate(low) <= 1) & (np.concatenate(high) >= 1)
    assert 0.88 <= inside.mean() <= 0.97  # percentile intervals of a skewed mean run a little short


def test_its_width_is_that_of_the_normal_interval_for_a_mean_of_many():
    values = np.random.default_rng(1).normal(size=(4000, 1))
    low, high = percentile_interval(bootstrap_ratios(values, np.ones((4000, 1)), 0))
    assert (high - low)[0] == pytest.approx(2 * 1.96 * values.std() / np.sqrt(4000), rel=0.08)


def test_what_cannot_be_measured_is_nan():
    assert np.isnan(bootstrap_ratios(np.zeros((0, 2)), np.zeros((0, 2)), 0, 5)).all()
    found = bootstrap_ratios(np.ones((3, 2)), np.array([[1.0, 0], [0, 0], [0, 0]]), 0, 200)
    assert np.isnan(found[:, 1]).all()
    assert 0 < np.isnan(found[:, 0]).sum() < 200
    low, high = percentile_interval(found)
    assert np.isnan(low[1])
    assert low[0] <= 1 <= high[0]  # of the resamples that drew the one query that counts
    one = percentile_interval(bootstrap_ratios(np.array([[0.3]]), np.ones((1, 1)), 0))
    assert [float(one[0][0]), float(one[1][0])] == [0.3, 0.3]


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0, 1))
def test_the_basic_interval_is_mirrored_and_holds_the_value(values, value):
    low, high = basic_interval(value, np.array(values))
    assert 0 <= low <= value <= high <= 1
    if values:
        first, last = np.quantile(values, [0.025, 0.975])
        assert low == pytest.approx(max(0, min(value, 2 * value - last)))
        assert high == pytest.approx(min(1, max(value, 2 * value - first)))
    else:
        assert (low, high) == (value, value)


def test_many_rows_are_drawn_in_groups_with_the_spread_of_all(monkeypatch):
    random = np.random.default_rng(2)
    bottom = random.integers(0, 3, size=(5000, 2)).astype(float)
    top = bottom * random.exponential(size=(5000, 2))
    plain = bootstrap_ratios(top, bottom, 0)
    monkeypatch.setattr(statistics, "GROUPS", 500)
    grouped = bootstrap_ratios(top, bottom, 0)
    np.testing.assert_allclose(grouped.std(axis=0), plain.std(axis=0), rtol=0.15)
    np.testing.assert_allclose(grouped.mean(axis=0), top.sum(axis=0) / bottom.sum(axis=0), rtol=0.005)
    # rows that stand in an order of their own, as queries of one kind after another, are spread over the groups
    order = np.argsort(top[:, 0])
    np.testing.assert_allclose(bootstrap_ratios(top[order], bottom[order], 0)[:, 0].std(), plain[:, 0].std(), rtol=0.15)


def test_every_row_is_in_one_group(monkeypatch):
    monkeypatch.setattr(statistics, "GROUPS", 7)
    for n in (14, 15, 20, 101):
        parts = np.eye(n)
        found = statistics._grouped(parts, 3)
        assert found.shape == (n, 7)
        assert (found.sum(axis=1) == 1).all()
        assert set(found.sum(axis=0)) <= {n // 7, n // 7 + 1}
    assert statistics._grouped(np.eye(13), 3).shape == (13, 13)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (1, 100, 0.0018, 0.0545)],
)
def test_wilson_is_the_published_interval(hits, trials, low, high):
    assert wilson_interval(hits, trials) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_holds_the_share_and_narrows_with_more_trials(hits, trials):
    hits = min(hits, trials)
    low, high = wilson_interval(hits, trials)
    assert -1e-12 <= low <= hits / trials <= high + 1e-12 <= 1 + 1e-12
    more_low, more_high = wilson_interval(10 * hits, 10 * trials)
    assert more_high - more_low < high - low


def test_wilson_without_trials_knows_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_is_the_table_of_newcombe():
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29
    for hits, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(hits, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_holds_the_share_and_stays_in_0_1(hits, extra):
    trials = hits + extra
    low, high = wilson_interval(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1


clusters = st.lists(
    st.integers(1, 6).flatmap(lambda t: st.tuples(st.integers(0, t), st.just(t))), min_size=1, max_size=12
)


def bound_of(hits, trials):
    return clustered_upper_bounds(np.asarray(hits)[:, None], np.asarray(trials)[:, None])[0]


@given(clusters)
def test_the_clustered_bound_is_the_double_loop_and_never_below_that_of_independent_trials(values):
    hits, trials = np.array(values).T
    found = bound_of(hits, trials)
    assert found == pytest.approx(oracles.clustered_upper_bound(*zip(*values, strict=True)), abs=1e-12)
    assert wilson_interval(int(hits.sum()), int(trials.sum()), z=1.644854)[1] - 1e-12 <= found <= 1
    assert found >= hits.sum() / trials.sum() - 1e-12
    again = np.random.default_rng(0).permutation(len(values))
    assert bound_of(hits[again], trials[again]) == pytest.approx(found, abs=1e-12)


def test_the_clustered_bound_of_known_clusters():
    one = np.ones(100, dtype=np.int64)
    # clusters of one trial are independent trials: 0 of 100, and 10 of 100
    assert bound_of(0 * one, one) == pytest.approx(2.7055 / 102.7055, abs=1e-4)
    ten = (np.arange(100) < 10).astype(np.int64)
    assert bound_of(ten, one) == pytest.approx(wilson_interval(10, 100, z=1.644854)[1], abs=2e-3)
    # five trials that are all alike count about as one
    assert bound_of(5 * ten, 5 * one) == pytest.approx(bound_of(ten, one), abs=2e-3)
    assert bound_of(one[:0], one[:0]) == 1.0
    assert bound_of(one, one) == 1.0


@given(st.lists(clusters, min_size=2, max_size=3))
def test_bounds_of_several_shares_are_those_of_each(shares):
    longest = max(map(len, shares))
    padded = np.array([one + [(0, 0)] * (longest - len(one)) for one in shares])  # clusters without trials
    found = clustered_upper_bounds(padded[:, :, 0].T, padded[:, :, 1].T)
    np.testing.assert_allclose(found, [bound_of(*zip(*one, strict=True)) for one in shares], atol=1e-12)


numbers = st.lists(st.integers(-4, 4).map(lambda x: x / 4), min_size=1, max_size=7)


@given(numbers)
def test_p_is_near_that_of_all_sign_assignments(values):
    real = abs(sum(values))
    exact = np.mean([abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= real - 1e-9
                     for signs in product((-1, 1), repeat=len(values))])  # fmt: skip
    found = randomisation_test(np.array(values), seed=1, flips=1999)
    assert found == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 1999) + 1 / 1999)


@given(numbers, st.integers(0, 5))
def test_p_does_not_know_which_system_comes_first(values, seed):
    x = np.array(values)
    assert randomisation_test(x, seed, 199) == randomisation_test(-x, seed, 199)


def test_a_clear_difference_has_the_smallest_p_and_none_has_1():
    assert randomisation_test(np.full(40, 0.3), 0, 999) == 1 / 1000
    assert randomisation_test(np.zeros(10), 0, 999) == 1
    assert randomisation_test(np.zeros(0), 0) == 1


quarters = st.lists(st.integers(-50, 50).map(lambda n: n / 4), max_size=12)


def test_two_groups_one_deviation_apart():
    assert cohens_d(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx(1.0)


@given(quarters, quarters)
def test_effect_size_is_that_of_the_double_loop(a, b):
    found, expected = cohens_d(np.array(a), np.array(b)), oracles.cohens_d(a, b)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(quarters, quarters)
def test_swapping_the_groups_turns_the_sign(a, b):
    one, other = cohens_d(np.array(a), np.array(b)), cohens_d(np.array(b), np.array(a))
    assert (one is None and other is None) or one == pytest.approx(-other, abs=1e-12)


@given(quarters, quarters, st.sampled_from([0.5, 2.0, 1024.0]), st.integers(-5, 5))
def test_effect_size_knows_no_unit(a, b, scale, shift):
    one = cohens_d(np.array(a), np.array(b))
    other = cohens_d(np.array(a) * scale + shift, np.array(b) * scale + shift)
    assert one == (None if other is None else pytest.approx(other, rel=1e-6, abs=1e-6))


def test_nothing_that_varies_has_no_effect_size():
    assert cohens_d(np.ones(3), np.ones(4)) == 0
    assert cohens_d(np.ones(3), np.zeros(4)) is None
    assert cohens_d(np.ones(1), np.zeros(0)) is None


def test_newcombe_is_the_published_interval():
    # Newcombe, Statistics in Medicine 17, 1998, table II, method 10; shares in the order p1 - p2
    for (hits, trials), (other, others), low, high in (
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((2, 7), (6, 7), 0.0582, 0.8062),
        ((0, 29), (5, 56), -0.0381, 0.1926),
        ((0, 20), (0, 10), -0.1611, 0.2775),
    ):
        assert newcombe_interval(hits, trials, other, others) == pytest.approx((low, high), abs=5e-5)


@given(st.tuples(*[st.integers(0, 40)] * 4))
def test_newcombe_holds_the_difference_and_turns_with_the_sets(counts):
    hits, more, other, other_more = counts
    trials, others = hits + more, other + other_more
    low, high = newcombe_interval(hits, trials, other, others)
    assert -1 <= low <= high <= 1
    back = newcombe_interval(other, others, hits, trials)
    assert (low, high) == pytest.approx((-back[1], -back[0]))
    if trials and others:
        assert low - 1e-12 <= other / others - hits / trials <= high + 1e-12
    else:
        assert (low, high) == (-1, 1)
