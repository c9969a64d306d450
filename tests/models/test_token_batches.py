import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.models.model_encoder import token_batches


def batches_by_loop(counts: list[int], most: int) -> list[list[int]]:
    """Longest first, a text joins the open batch while all its rows at the first one's length stay within `most`."""
    found: list[list[int]] = []
    for row in sorted(range(len(counts)), key=lambda r: (-counts[r], r)):
        if found and (len(found[-1]) + 1) * max(1, counts[found[-1][0]]) <= most:
            found[-1].append(row)
        else:
            found.append([row])
    return found


COUNTS = st.lists(st.integers(0, 40), max_size=60)


@given(COUNTS, st.integers(1, 200))
def test_batches_are_those_of_a_loop(counts, most):
    found = token_batches(np.array(counts, dtype=np.int64), most)
    assert [batch.tolist() for batch in found] == batches_by_loop(counts, most)


@given(COUNTS, st.integers(1, 200))
def test_every_row_is_in_one_batch_and_batches_hold_to_the_limit(counts, most):
    found = token_batches(np.array(counts, dtype=np.int64), most)
    assert sorted(row for batch in found for row in batch.tolist()) == list(range(len(counts)))
    for batch in found:
        longest = max(counts[row] for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= most


def test_an_example():
    found = token_batches(np.array([3, 9, 4, 4, 1]), 8)
    assert [batch.tolist() for batch in found] == [[1], [2, 3], [0, 4]]
