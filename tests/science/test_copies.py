import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.copies import repeats
from tests import oracles
from tests.strategies import quick

keys = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])


def found(rows):
    groups = np.array([group for group, _ in rows], dtype=np.int64)
    return repeats(groups, np.array([key for _, key in rows], dtype=np.uint64)).tolist()


@quick
@given(st.lists(st.tuples(st.integers(0, 3), keys), max_size=20))
def test_repeats_are_those_of_the_double_loop(rows):
    assert found(rows) == oracles.repeats([g for g, _ in rows], [k for _, k in rows])


def test_the_first_in_the_order_given_stays_even_where_groups_are_interleaved():
    assert found([(1, 7), (0, 7), (1, 7), (0, 8), (0, 7)]) == [False, False, True, False, True]


def test_keys_that_differ_in_the_last_bit_are_no_copies():
    assert found([(0, 2**64 - 1), (0, 2**64 - 2), (0, 2**63), (0, 2**63 + 1)]) == [False] * 4


def test_keys_that_meet_as_floating_point_numbers_do_not_hide_each_others_repeats():
    one, other = 2**64 - 1, 2**64 - 2
    assert found([(0, one), (0, other), (0, one), (0, other)]) == [False, False, True, True]


def test_no_elements_have_no_repeats():
    assert found([]) == []
