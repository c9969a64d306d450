"""The largest of each short list is what a loop over the lists finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.largest import most_of_each
from tests.strategies import quick, worlds

groups = st.lists(st.tuples(st.integers(0, 4), st.one_of(st.integers(1, 3), st.integers(1, 12))), max_size=12)


def by_loop(values, counts, widths):
    found, first = [], 0
    for count, width in zip(counts, widths, strict=True):
        for _ in range(count):
            found.append(max(values[first : first + width]))
            first += width
    return found


@quick
@given(groups, st.data())
def test_it_is_the_largest_of_every_list(shape, data):
    counts, widths = (np.array([pair[side] for pair in shape], dtype=np.int64) for side in (0, 1))
    total = int((counts * widths).sum())
    numbers = st.one_of(st.floats(-1, 1, width=32), st.sampled_from([0.5, -0.5]))
    values = np.array(data.draw(st.lists(numbers, min_size=total, max_size=total)), dtype=np.float32)
    found = most_of_each(values, counts, widths)
    assert found.dtype == np.float32
    assert found.tolist() == by_loop(values.tolist(), counts.tolist(), widths.tolist())


@pytest.mark.parametrize("widths", [[3, 3], [2, 3], [9, 2], list(range(1, 11))])
def test_what_is_no_number_is_the_largest(widths):
    counts = np.ones(len(widths), dtype=np.int64)
    values = np.zeros(sum(widths), dtype=np.float32)
    values[widths[0] - 1] = np.nan
    found = most_of_each(values, counts, np.array(widths))
    assert np.isnan(found[0])
    assert found[1:].tolist() == [0.0] * (len(widths) - 1)


@quick
@given(worlds(), st.data())
def test_some_candidates_have_the_similarity_that_they_have_among_all(world, data):
    batch = world.batch()
    most = 6 if len(batch.scores) else 0
    at = np.array(data.draw(st.lists(st.integers(0, max(0, len(batch.scores) - 1)), max_size=most)), dtype=np.int64)
    assert batch.similarity_of(at).tolist() == batch.similarity[at].tolist()
