"""The documents that a student ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.students.pool import FEWEST_RANDOM, ranked_documents

ROWS = st.lists(st.integers(0, 4999), max_size=50)


@given(st.integers(5000, 6000), ROWS, ROWS, st.integers(1, 7000), st.integers(0, 3), st.booleans())
def test_needed_good_and_random_documents_up_to_the_limit(total, needed, good, most, seed, part):
    held = np.arange(0, total, 2) if part else None
    arguments = total, held, np.array(needed, dtype=np.int64), np.array(good, dtype=np.int64), most, seed
    rows = ranked_documents(*arguments)
    np.testing.assert_array_equal(rows, ranked_documents(*arguments))
    assert (np.diff(rows) > 0).all()
    assert np.isin(needed, rows).all()
    if total <= most and not part:
        assert rows.tolist() == list(range(total))
        return
    assert len(rows) <= max(most, len(set(needed)) + FEWEST_RANDOM)
    if part:
        assert np.isin(rows[rows % 2 == 1], [*needed, *good]).all()


@pytest.mark.parametrize(("most", "count"), [(10, 0), (1002, 2), (1004, 4)])
def test_good_documents_come_as_far_as_there_is_room_best_first(most, count):
    held = np.zeros(0, dtype=np.int64)
    good = np.array([9, 7, 9, 3, 5, 1])
    rows = ranked_documents(9999, held, np.array([0, 7]), good, most + 2, seed=0)
    assert rows.tolist() == sorted({0, 7, *[9, 3, 5, 1][:count]})
