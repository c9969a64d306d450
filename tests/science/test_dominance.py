import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.dominance import dominance

pairs = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), max_size=30)


def counted(rows):
    """Share of pairs whose first is larger, less the share whose second is, pair by pair."""
    more = less = 0
    for first, second in rows:
        more += first > second
        less += first < second
    return (more - less) / len(rows) if rows else 0.0


def columns(rows):
    return np.array([x for x, _ in rows], dtype=np.float64), np.array([y for _, y in rows], dtype=np.float64)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([1, 2], [0, 1], 1), ([0, 1], [1, 2], -1), ([1, 1], [1, 1], 0), ([1, 1, 3], [0, 2, 3], 0), ([], [], 0)],
)
def test_by_hand(first, second, expected):
    assert dominance(np.array(first), np.array(second)) == expected


@given(pairs)
def test_is_what_counting_gives(rows):
    assert dominance(*columns(rows)) == pytest.approx(counted(rows))


@given(pairs)
def test_changing_sides_changes_the_sign_and_scale_changes_nothing(rows):
    first, second = columns(rows)
    value = dominance(first, second)
    assert -1 <= value <= 1
    assert dominance(second, first) == -value
    assert dominance(np.exp(first) * 3, np.exp(second) * 3) == value


def test_a_number_that_is_none_is_a_tie():
    assert dominance(np.array([np.nan, 2.0]), np.array([1.0, 1.0])) == 0.5
