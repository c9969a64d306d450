"""The documents that a student ranks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.students.pool import FEWEST_RANDOM, ranked_documents


@given(st.integers(0, 5000), st.lists(st.integers(0, 4999)), st.integers(1, 6000), st.integers(0, 3))
def test_needed_documents_and_random_ones_up_to_the_limit(total, needed, most, seed):
    needed = np.array([row for row in needed if row < total], dtype=np.int64)
    rows = ranked_documents(total, needed, most, seed)
    assert (np.diff(rows) > 0).all()
    assert np.isin(needed, rows).all()
    if total <= most:
        assert rows.tolist() == list(range(total))
    else:
        assert len(rows) <= max(most, len(np.unique(needed)) + FEWEST_RANDOM)
    np.testing.assert_array_equal(rows, ranked_documents(total, needed, most, seed))
