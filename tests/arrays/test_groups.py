import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.groups import (
    SortedGroups,
    below_nth,
    count_before,
    distinct_pairs,
    rank_in_group,
    repeated,
    spans_within,
)
from tests import oracles
from tests.strategies import flat, ragged, scores

lists = st.lists(st.lists(scores, max_size=9), max_size=6)


def sorted_groups(made):
    own = flat(made, np.float32)
    return SortedGroups.of(own.values, own.owners, len(made))


def groups_of(found):
    return [found.values[a : a + n].tolist() for a, n in zip(found.starts, found.counts, strict=True)]


@given(lists, st.integers(1, 3))
def test_what_is_below_the_nth_is_found_by_the_double_loop(made, n):
    own = flat(made, np.float32)
    expected = [sum(x <= y for x in group[:i]) < n for group in made for i, y in enumerate(group)]
    assert below_nth(own.owners, own.values, n).tolist() == expected


@given(lists)
def test_each_group_is_sorted_by_itself(made):
    assert groups_of(sorted_groups(made)) == [sorted(np.float32(x) for x in own) for own in made]


@given(lists)
def test_a_ranking_comes_out_as_what_was_sorted_does(made):
    fallen = [sorted(own, reverse=True) for own in made]
    found = sorted_groups(fallen)
    assert groups_of(found) == groups_of(sorted_groups(made))
    assert not len(found.values) or found.values.base is not None  # a view: nothing was sorted


@given(lists, st.data())
def test_groups_in_any_order_come_out_the_same(made, data):
    own = flat(made, np.float32)
    order = np.array(data.draw(st.permutations(range(len(own.values)))), dtype=np.int64)
    moved = SortedGroups.of(own.values[order], own.owners[order], len(made))
    assert groups_of(moved) == groups_of(sorted_groups(made))


@given(lists.filter(len), st.lists(st.tuples(st.integers(0, 5), scores), max_size=9))
def test_below_is_the_double_loop(made, asked):
    groups = np.array([g % len(made) for g, _ in asked], dtype=np.int64)
    values = np.array([x for _, x in asked], dtype=np.float32)
    expected = [sum(np.float32(y) < x for y in made[g]) for g, x in zip(groups, values, strict=True)]
    for own in (made, [sorted(one, reverse=True) for one in made]):
        assert sorted_groups(own).count_below(values, groups).tolist() == expected


@given(ragged(st.integers(0, 30), max_length=20), st.data())
def test_membership_is_the_same_in_short_and_in_long_lists(rows, data):
    own = flat(rows, np.int64)
    asked = data.draw(st.lists(st.tuples(st.integers(0, max(0, len(rows) - 1)), st.integers(0, 40)), max_size=20))
    asked = asked if rows else []
    at, values = (np.array([pair[i] for pair in asked], dtype=np.int64) for i in (0, 1))
    assert own.contains(at, values).tolist() == [x in rows[g] for g, x in asked]


keys = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])


def found(rows):
    groups = np.array([group for group, _ in rows], dtype=np.int64)
    return repeated(groups, np.array([key for _, key in rows], dtype=np.uint64)).tolist()


@given(st.lists(st.tuples(st.integers(0, 3), keys), max_size=20))
def test_repeats_are_those_of_the_double_loop(rows):
    assert found(rows) == oracles.repeated([g for g, _ in rows], [k for _, k in rows])


def test_the_first_in_the_order_given_stays_even_where_groups_are_interleaved():
    assert found([(1, 7), (0, 7), (1, 7), (0, 8), (0, 7)]) == [False, False, True, False, True]


def test_keys_that_differ_in_the_last_bit_are_no_copies():
    assert found([(0, 2**64 - 1), (0, 2**64 - 2), (0, 2**63), (0, 2**63 + 1)]) == [False] * 4


def test_keys_that_meet_as_floating_point_numbers_do_not_hide_each_others_repeats():
    one, other = 2**64 - 1, 2**64 - 2
    assert found([(0, one), (0, other), (0, one), (0, other)]) == [False, False, True, True]


def test_no_elements_have_no_repeats():
    assert found([]) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=20))
def test_ranks_and_flags_before_are_those_of_a_loop(pairs):
    groups, flags = np.array([g for g, _ in pairs], dtype=np.int64), np.array([f for _, f in pairs], dtype=bool)
    assert rank_in_group(groups).tolist() == [groups[:i].tolist().count(g) for i, (g, _) in enumerate(pairs)]
    order = np.argsort(groups, kind="stable")
    groups, flags = groups[order], flags[order]
    before = [int(flags[:i][groups[:i] == groups[i]].sum()) for i in range(len(groups))]
    assert count_before(flags, groups).tolist() == before


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=15))
def test_distinct_pairs_are_the_first_of_each_by_group(pairs):
    groups, keys_ = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
    first = [i for i, pair in enumerate(pairs) if pair not in pairs[:i]]
    assert distinct_pairs(groups, keys_).tolist() == sorted(first, key=lambda i: pairs[i][0])


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 20), st.integers(1, 3))
def test_spans_are_whole_and_no_larger_than_asked_but_for_the_fewest(sizes, most, least):
    spans = list(spans_within(np.array(sizes, dtype=np.int64), most, least))
    assert [place for first, last in spans for place in range(first, last)] == list(range(len(sizes)))
    for first, last in spans:
        assert sum(sizes[first:last]) <= most or last - first <= least
        assert last == len(sizes) or (last - first >= least and sum(sizes[first : last + 1]) > most)
