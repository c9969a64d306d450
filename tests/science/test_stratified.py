"""Quantile strata of scores, and elements taken from them in turn, against double loops."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.stratified import quantile_strata, take_in_turn
from tests import oracles


def ints(values):
    return np.array(values, dtype=np.int64)


@st.composite
def scored_groups(draw):
    """(groups, scores), with ties."""
    groups = sorted(draw(st.lists(st.integers(0, 3), max_size=24)))
    scores = draw(st.lists(st.integers(-4, 4), min_size=len(groups), max_size=len(groups)))
    return groups, np.array(scores, dtype=np.float32) / 4


def strata_of(groups, scores, count):
    return quantile_strata(ints(groups), scores, np.full(len(groups), count))


@given(scored_groups(), st.integers(1, 9))
def test_strata_are_the_double_loop(given_groups, count):
    groups, scores = given_groups
    assert strata_of(groups, scores, count).tolist() == oracles.quantile_strata(groups, scores.tolist(), count)


@given(st.integers(1, 40), st.integers(1, 9), st.randoms(use_true_random=False))
def test_without_ties_strata_are_of_equal_size_the_highest_scores_first(size, count, random):
    scores = np.arange(size, dtype=np.float32)
    random.shuffle(scores)
    strata = strata_of([0] * size, scores, count)
    sizes = np.bincount(strata, minlength=count)
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(strata[np.argsort(-scores)]) >= 0).all()


@given(scored_groups(), st.integers(1, 9))
def test_strata_depend_on_the_order_of_scores_alone(given_groups, count):
    groups, scores = given_groups
    assert strata_of(groups, np.exp(3 * scores) - 7, count).tolist() == strata_of(groups, scores, count).tolist()


def test_equal_scores_share_the_highest_stratum_of_any_of_them():
    assert strata_of([0] * 4, np.array([0.9, 0.5, 0.5, 0.1], np.float32), 4).tolist() == [0, 1, 1, 3]
    assert strata_of([0] * 3, np.zeros(3, np.float32), 8).tolist() == [0, 0, 0]


@st.composite
def stratified(draw):
    groups = sorted(draw(st.lists(st.integers(0, 3), max_size=16)))
    size = len(groups)
    strata = draw(st.lists(st.integers(0, 4), min_size=size, max_size=size))
    numbers = draw(st.lists(st.integers(0, 2**64 - 1), min_size=size, max_size=size, unique=True))
    return groups, strata, numbers


def take(given_groups, n, first=None):
    groups, strata, numbers = given_groups
    flags = None if first is None else np.array(first, dtype=bool)
    each = np.full(len(groups), n)
    return take_in_turn(ints(groups), ints(strata), np.array(numbers, dtype=np.uint64), each, flags).tolist()


@given(stratified(), st.integers(0, 7), st.data())
def test_turns_are_the_double_loop(given_groups, n, data):
    groups = given_groups[0]
    first = data.draw(st.lists(st.booleans(), min_size=len(groups), max_size=len(groups)))
    assert take(given_groups, n, first) == oracles.take_in_turn(*given_groups, n, first)
    assert take(given_groups, n) == oracles.take_in_turn(*given_groups, n, [False] * len(groups))


@given(stratified(), st.integers(0, 7))
def test_every_stratum_is_used_before_one_is_used_twice_and_all_that_fit_are_taken(given_groups, n):
    groups, strata, _ = given_groups
    found = take(given_groups, n)
    for group in set(groups):
        there = Counter(stratum for g, stratum in zip(groups, strata, strict=True) if g == group)
        used = Counter(strata[place] for place in found if groups[place] == group)
        assert used.total() == min(n, there.total())
        most = max(used.values(), default=0)
        assert all(used[stratum] >= min(count, most - 1) for stratum, count in there.items())


@given(stratified(), st.integers(0, 7), st.data())
def test_the_order_within_a_group_changes_no_choice(given_groups, n, data):
    groups, strata, numbers = given_groups
    order = sorted(data.draw(st.permutations(range(len(groups)))), key=lambda place: groups[place])
    shuffled = groups, [strata[i] for i in order], [numbers[i] for i in order]
    assert {order[place] for place in take(shuffled, n)} == set(take(given_groups, n))
