import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.groups import distinct_pairs
from hnmine.science.agreement import agreement, cohens_kappa, jaccard, shift
from tests import oracles

pairs = st.sets(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12).map(sorted)


def arrays(rows):
    groups, items = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    return groups, items


@given(st.lists(pairs, min_size=1, max_size=4))
def test_it_is_the_double_loop(sets):
    shared, union = agreement([arrays(rows) for rows in sets], 4)
    assert list(zip(shared.tolist(), union.tolist(), strict=True)) == oracles.agreement(sets, 4)


@given(st.lists(pairs, min_size=2, max_size=3))
def test_the_order_of_the_sets_changes_nothing_and_a_set_agrees_with_itself(sets):
    one, other = (agreement([arrays(rows) for rows in order], 4) for order in (sets, sets[::-1]))
    assert [part.tolist() for part in one] == [part.tolist() for part in other]
    shared, union = agreement([arrays(sets[0])] * 2, 4)
    assert shared.tolist() == union.tolist()


def test_jaccard_by_hand():
    found = jaccard(np.array([1, 0, 0, 2]), np.array([4, 3, 0, 2]))
    assert found[[0, 1, 3]].tolist() == [0.25, 0, 1]
    assert math.isnan(found[2])


def test_shift_by_hand():
    before, after = np.array([0.5, 0.25, np.nan, 1]), np.array([0.5, 0.75, 2, np.nan])
    assert shift(before, after) == {"count": 2, "mean": 0.25, "mean_absolute": 0.25, "unchanged": 0.5}
    back = shift(after, before)
    assert (back["mean"], back["mean_absolute"]) == (-0.25, 0.25)
    assert shift(before[2:3], after[2:3]) == {"count": 0}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=15))
def test_each_document_once_a_query_is_the_first_as_it_came(rows):
    found = distinct_pairs(*arrays(rows)).tolist()
    first = {}
    for place, row in enumerate(rows):
        first.setdefault(row, place)
    assert found == sorted(first.values(), key=lambda place: (rows[place][0], place))


@pytest.mark.parametrize("sets", [[[]], [[], []]])
def test_nothing_agrees_on_nothing(sets):
    shared, union = agreement([arrays(rows) for rows in sets], 2)
    assert shared.tolist() == union.tolist() == [0, 0]


def kappa_by_loop(pairs):
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    by_chance = sum(sum(a == answer for a, _ in pairs) * sum(b == answer for _, b in pairs) for answer in (True, False))
    by_chance /= n * n
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_kappa_is_that_of_the_loop_and_the_same_for_either_order(pairs):
    first, second = np.array(pairs).T
    expected = kappa_by_loop(pairs)
    for found in (cohens_kappa(first, second), cohens_kappa(second, first), cohens_kappa(~first, ~second)):
        assert found == (None if expected is None else pytest.approx(expected))


def test_kappa_of_known_answers():
    yes, no = np.ones(5, dtype=bool), np.zeros(5, dtype=bool)
    both = np.concatenate([yes, no])
    assert cohens_kappa(both, both) == 1
    assert cohens_kappa(both, ~both) == -1
    assert cohens_kappa(yes, yes) is None
    assert cohens_kappa(yes[:0], yes[:0]) is None
    # Cohen's example of chance: one judge says yes to all
    assert cohens_kappa(both, np.ones(10, dtype=bool)) == 0
