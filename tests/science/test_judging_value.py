"""Which candidates are worth judging: uncertainty, impact, and the pick among them."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.judging_value import (
    highest_judging_values,
    judging_value,
    margin_probability,
    order_of_requests,
)
from tests import oracles

rows = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.125, 0.25]), st.integers(0, 4), st.integers(0, 5)), max_size=40)


def arrays(entries):
    """Return worths, queries and documents as arrays."""
    kinds = (np.float64, np.int64, np.int64)
    columns = list(zip(*entries, strict=True)) or [(), (), ()]
    return [np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]


@given(rows, st.integers(0, 12), st.integers(0, 4))
def test_the_pick_is_what_a_loop_finds(entries, number, per_query):
    found = highest_judging_values(*arrays(entries), number, per_query)
    assert found.tolist() == oracles.highest_judging_values(entries, number, per_query)


@given(rows, st.integers(0, 12), st.integers(0, 4), st.integers(0, 5))
def test_the_best_of_parts_with_whole_queries_are_the_best_of_all(entries, number, per_query, border):
    """So that shards change nothing."""
    parts = [[e for e in entries if e[1] < border], [e for e in entries if e[1] >= border]]
    kept = [part[i] for part in parts for i in highest_judging_values(*arrays(part), number, per_query)]
    together = [kept[i] for i in highest_judging_values(*arrays(kept), number, per_query)]
    assert together == [entries[i] for i in highest_judging_values(*arrays(entries), number, per_query)]


@given(rows, st.integers(0, 12), st.integers(1, 4))
def test_a_larger_number_only_adds(entries, number, per_query):
    given_ = arrays(entries)
    less, more = (highest_judging_values(*given_, most, per_query) for most in (number, number + 1))
    assert more[: len(less)].tolist() == less.tolist()


def test_worth_is_largest_where_nothing_is_known_and_follows_impact():
    p = np.array([0.0, 0.1, 0.5, 0.9, 1.0, 0.5])
    found = judging_value(p, np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.5]))
    np.testing.assert_allclose(found, [0, 0.09, 0.25, 0.09, 0, 0.125], atol=1e-15)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(1 / 64, 4))
def test_closeness_is_a_logistic_of_the_distance_in_spreads(s, limit, spread):
    found = margin_probability(np.array([s]), np.array([limit]), np.array([spread]))
    assert math.isclose(found[0], oracles.logistic((s - limit) / spread), abs_tol=1e-12)


def test_without_spread_a_score_is_on_one_side_or_on_the_line():
    found = margin_probability(np.array([0.4, 0.5, 0.6]), np.full(3, 0.5), np.zeros(3))
    assert found.tolist() == [0.0, 0.5, 1.0]
    np.testing.assert_array_equal(judging_value(found, np.ones(3)), [0.0, 0.25, 0.0])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.125, 0.25]), st.integers(0, 4)), min_size=1, max_size=30))
def test_requests_go_by_the_sum_of_their_values_and_ties_by_their_number(entries):
    named = sorted({request for _, request in entries})
    numbers = [named.index(request) for _, request in entries]
    found = order_of_requests(np.array([value for value, _ in entries]), np.array(numbers))
    assert found.tolist() == oracles.order_of_requests([(v, n) for (v, _), n in zip(entries, numbers, strict=True)])
