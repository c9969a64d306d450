"""The warning of batches that are not full: when it is given, its reason, and what it proposes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.stages.emit.batches.fill import MOSTLY, fitting_size, short_batches


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12))
def test_the_proposed_size_is_the_largest_that_fits(sizes):
    def share(size):
        return sum(own - own % size for own in sizes) / sum(sizes)

    found = fitting_size(np.array(sizes))
    if found is not None:
        assert share(found) >= MOSTLY
    assert all(share(size) < MOSTLY for size in range((found or 1) + 1, 25))


def warned(sizes, of_queries, size):
    return short_batches(np.array(sizes, dtype=np.int64), np.array(of_queries, dtype=np.int64), size)


def test_full_batches_and_a_last_short_one_are_no_matter():
    assert warned([8] * 9 + [1], [1] * 73, 8) is None
    assert warned([], [], 8) is None


def test_few_queries_many_examples_of_one_query_and_conflicts_are_told_apart():
    assert "only 4 queries have examples, so no batch has more than 4" in warned([4] * 10, [10] * 4, 8)
    assert "one query has 30 of them, which need as many batches; 9 full ones" in warned(
        [8] * 5 + [1] * 25, [30] + [1] * 35, 8
    )
    assert "may be false negatives of one another" in warned([8] * 5 + [1] * 25, [1] * 65, 8)
    assert "There are only 5 examples" in warned([5], [1] * 5, 8)


def test_what_it_says_of_the_batches_is_counted():
    found = warned([8] * 5 + [4] * 10, [1] * 80, 8)
    assert "5 of 15 batches are full, with 50% of the examples; on average a batch has 5.3 of 8" in found
    assert "emit.batch_size = 4 (at least 90%" in found
    assert 'emit.batch_leftover = "drop" (40 examples get no rows)' in found
    assert '"drop"' not in warned([4] * 10, [1] * 40, 8)  # which would leave nothing


def test_examples_that_are_left_out_are_warned_of():
    assert '"drop" left out 40 of 80 examples' in warned([8] * 5, [1] * 80, 8)
    assert '"drop" left out 5 of 5 examples' in warned([], [1] * 5, 8)
    assert warned([8] * 9, [1] * 75, 8) is None
