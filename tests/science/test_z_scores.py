import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.z_scores import background_z_scores, group_z_scores
from tests import oracles
from tests.strategies import grid, quick

members = st.lists(st.tuples(st.integers(0, 3), grid, st.booleans()), max_size=20)


def arrays(rows):
    groups, values, counted = ([row[i] for row in rows] for i in range(3))
    return np.array(values, dtype=np.float32), np.array(groups, dtype=np.int64), np.array(counted, dtype=bool)


@quick
@given(members)
def test_within_is_the_double_loop(rows):
    found = group_z_scores(*arrays(rows), 4)
    for group in range(4):
        mine = [place for place, row in enumerate(rows) if row[0] == group]
        expected = oracles.group_z_scores([rows[i][1] for i in mine], [rows[i][2] for i in mine])
        assert found[mine].tolist() == pytest.approx(expected, abs=1e-9)


@quick
@given(members, st.data())
def test_a_group_has_the_same_bits_alone_and_among_others(rows, data):
    values, groups, counted = arrays(rows)
    whole = group_z_scores(values, groups, counted, 4)
    mine = groups == data.draw(st.integers(0, 3))
    alone = group_z_scores(values[mine], np.zeros(mine.sum(), dtype=np.int64), counted[mine], 1)
    np.testing.assert_array_equal(whole[mine], alone)


def test_a_group_of_equal_or_uncounted_members_is_0_and_not_nan():
    third = np.float32(1 / 3)
    values = np.array([third, third, third, 0.1, 0.9], dtype=np.float32)
    counted = np.array([True, True, True, False, False])
    assert group_z_scores(values, np.array([0, 0, 0, 1, 1]), counted, 3).tolist() == [0] * 5


def test_members_that_do_not_count_still_get_a_value():
    found = group_z_scores(
        np.array([1, 3, 7], dtype=np.float32), np.zeros(3, np.int64), np.array([True, True, False]), 1
    )
    assert found.tolist() == [-1, 1, 5]


def test_against_a_background_and_against_one_without_spread():
    found = background_z_scores(np.array([1.0, 1.0], np.float32), np.array([0.5, 0.5]), np.array([0.25, 0.0]))
    assert found.tolist() == [2, 0]
