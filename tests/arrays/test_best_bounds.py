"""What may be among the best of each query while bounds of scores go by."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.topk import BestBounds

scores = st.integers(-3, 3).map(lambda number: number / 4)
errors = st.sampled_from([0.0, 0.125, 0.5, 2.0])


def full_sort(values, k):
    """Return the rows of the k best, ties by row; the oracle."""
    return [row for _, row in sorted((-value, row) for row, value in enumerate(values))[:k]]


def add(best, values, error, rows, query=0):
    values, rows = np.array(values, dtype=np.float32), np.array(rows)
    best.add(values - np.float32(error), values + np.float32(error), rows, np.full(len(rows), query))


def by_hand(values, error, k):
    """Return the rows whose upper bound reaches the k-th highest lower bound."""
    lowest = sorted((value - error for value in values), reverse=True)
    least = lowest[k - 1] if len(values) >= k else -np.inf
    return {row for row, value in enumerate(values) if value + error >= least}


@given(
    st.lists(st.lists(scores, max_size=12), min_size=1, max_size=4), errors, st.integers(1, 14), st.integers(1, 5),
    st.booleans(),
)  # fmt: skip
def test_what_stays_is_by_bounds_whatever_the_pieces(per_query, error, k, piece, often):
    best = BestBounds(len(per_query), k)
    for query, values in enumerate(per_query):
        for first in range(0, len(values), piece):
            own = values[first : first + piece]
            add(best, own, error, range(first, first + len(own)), query)
            if often:
                best.settle()
    for query, values in enumerate(per_query):
        assert set(best.rows().take(np.array([query])).values.tolist()) == by_hand(values, error, k)


@given(st.lists(scores, min_size=1, max_size=20), errors, st.integers(1, 8), st.integers(0, 9))
def test_the_k_best_by_any_scores_within_the_bounds_stay(values, error, k, seed):
    best = BestBounds(1, k)
    add(best, values, error, range(len(values)))
    true = np.array(values) + np.random.default_rng(seed).uniform(-error, error, len(values))
    assert set(full_sort(true.tolist(), k)) <= set(best.rows().values.tolist())


def test_ties_at_the_kth_place_all_stay():
    best = BestBounds(1, 2)
    add(best, [0.5, 1.0, 0.5, 0.25, 0.5], 0.0, range(5))
    assert sorted(best.rows().values.tolist()) == [0, 1, 2, 4]


def test_what_others_are_known_to_reach_is_to_be_beaten():
    best = BestBounds(2, 1)
    best.raise_least(np.array([0.5], dtype=np.float32), np.array([1]))
    for query in range(2):
        add(best, [0.25, 0.5], 0.0, [7, 8], query)
    best.settle()
    assert best.least[0] == best.least[1] < 0.5
    assert best.rows().lengths.tolist() == [1, 1]


def test_documents_added_after_a_snapshot_are_forgotten_for_the_queries_asked_for():
    best = BestBounds(3, 2)
    add(best, [0.5, 0.25], 0.0, [1, 2], 0)
    add(best, [0.5], 0.0, [3], 1)
    before = best.snapshot()
    for query in range(3):
        add(best, [1.0], 0.0, [9], query)
    best.settle()
    best.restore(before, np.array([0, 2]))
    assert [set(best.rows().take(np.array([query])).values.tolist()) for query in range(3)] == [{1, 2}, {3, 9}, set()]


def test_it_is_crowded_where_most_queries_hold_many():
    best = BestBounds(3, 1)
    for query in range(2):
        add(best, [1.0] * 5, 0.0, range(5), query)
        best.settle()
        assert not best.crowded(5)
    assert best.crowded(4)


def test_nothing_added_is_nothing_held():
    best = BestBounds(2, 3)
    best.settle()
    assert best.rows().lengths.tolist() == [0, 0]
    assert (best.least == -np.inf).all()
    assert BestBounds(0, 3).rows().lengths.tolist() == []
