"""Packing: conflicts, first fit and full batches against plain loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.groups import rank_in_group
from hnmine.science.batch_packing import (
    conflicts,
    exchange,
    first_fit,
    first_fit_decreasing,
    nearest_neighbour_tour,
    off_diagonal_mean,
)
from hnmine.stages.emit.batches.packing import drop_short, merge_short, pack


@st.composite
def graphs(draw):
    n = draw(st.integers(0, 14))
    bits = np.array(draw(st.lists(st.integers(0, 3), min_size=n * n, max_size=n * n))).reshape(n, n) == 0
    upper = np.triu(bits, 1)
    return upper | upper.T


named = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=20)


@given(named, named)
def test_conflicts_are_those_of_a_double_loop(barred, offered):
    def arrays(pairs):
        return tuple(np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))

    found = conflicts(arrays(barred), arrays(offered), 6)
    for i in range(6):
        for j in range(6):
            one = any((i, name) in barred and (j, name) in offered for name in range(7))
            other = any((j, name) in barred and (i, name) in offered for name in range(7))
            assert found[i, j] == (i != j and (one or other))


@given(graphs(), st.integers(1, 5))
def test_first_fit_is_that_of_a_plain_loop(conflict, size):
    batches = []
    for i in range(len(conflict)):
        fits = (b for b in batches if len(b) < size and not any(conflict[i, j] for j in b))
        batch = next(fits, None)
        if batch is None:
            batches.append([i])
        else:
            batch.append(i)
    found = first_fit(conflict, size)
    assert [np.flatnonzero(found == number).tolist() for number in range(len(batches))] == batches


@given(graphs(), st.integers(1, 4), st.data())
def test_packing_places_every_example_once_and_no_conflict_together(conflict, size, data):
    n = len(conflict)
    cluster = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=np.int64)
    found = pack(cluster, size, 2 * size + 1, lambda m: conflict[np.ix_(m, m)])
    assert len(found.batch) == n
    sizes = np.bincount(found.batch) if n else np.zeros(0)
    assert ((sizes > 0) & (sizes <= size)).all()
    assert not (conflict & (found.batch[:, None] == found.batch)).any()
    assert (found.conflicts <= conflict.sum(axis=1)).all()


@given(graphs(), st.integers(1, 5))
def test_decreasing_first_fit_places_those_with_most_conflicts_first(conflict, size):
    order = sorted(range(len(conflict)), key=lambda i: -int(conflict[i].sum()))
    turned = first_fit(conflict[np.ix_(order, order)], size)
    assert first_fit_decreasing(conflict, size)[order].tolist() == turned.tolist()


def cost(conflict, group, batch):
    """Return the pairs of a group that share a batch, and the conflicts within batches."""
    pairs = [(i, j) for i in range(len(batch)) for j in range(i) if batch[i] == batch[j]]
    return sum(group[i] == group[j] for i, j in pairs), sum(bool(conflict[i, j]) for i, j in pairs)


@given(graphs(), st.integers(1, 5), st.data())
def test_exchanged_batches_are_full_and_no_single_exchange_is_better(conflict, size, data):
    n = len(conflict)
    group = np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), dtype=np.int64)
    batch = exchange(conflict, group, size)
    count = -(-n // size)
    assert np.bincount(batch, minlength=count).tolist() == [size] * (count - 1) + [n - (count - 1) * size] * (n > 0)
    found = cost(conflict, group, batch)
    for i in range(n):
        for j in range(i):
            turned = batch.copy()
            turned[[i, j]] = turned[[j, i]]
            assert cost(conflict, group, turned) >= found
    if n and np.bincount(group).max() < count:  # dealt apart, and never brought together
        assert found[0] == 0


@given(graphs(), st.integers(1, 4), st.data())
def test_short_batches_are_dropped_or_merged(conflict, size, data):
    n = len(conflict)
    cluster, query = (
        np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), dtype=np.int64) for _ in range(2)
    )
    conflict |= (query[:, None] == query) & ~np.eye(n, dtype=bool)
    kept, dropped, merged = (pack(cluster, size, 2 * size + 1, lambda m: conflict[np.ix_(m, m)]) for _ in range(3))
    drop_short(dropped)
    full = np.bincount(kept.batch, minlength=1)[kept.batch] == size
    assert ((dropped.batch >= 0) == full).all()
    assert np.unique(dropped.batch[full]).tolist() == list(range(int(full.sum()) // size))
    within = merge_short(merged, query)
    sizes = np.bincount(merged.batch) if n else np.zeros(0, dtype=np.int64)
    assert np.sort(sizes).tolist() == sorted([size] * (n // size) + [n % size] * (n % size > 0))
    assert within.tolist() == (conflict & (merged.batch[:, None] == merged.batch)).sum(axis=1).tolist()


def test_examples_with_most_conflicts_first_fill_more_batches():
    # two of the first three examples go with no other but one another
    conflict = np.zeros((6, 6), dtype=bool)
    conflict[:2, 2:4] = conflict[2:4, :2] = True
    conflict[:2, 4] = conflict[4, :2] = True
    assert np.bincount(first_fit(conflict[np.ix_([5, 0, 2, 1, 3, 4], [5, 0, 2, 1, 3, 4])], 3)).tolist() == [3, 3]
    order = [5, 2, 3, 0, 1, 4]
    turned = conflict[np.ix_(order, order)]
    assert np.bincount(first_fit(turned, 3)).tolist() == [3, 2, 1]
    assert np.bincount(first_fit_decreasing(turned, 3)).tolist() == [3, 3]


def test_small_functions():
    assert nearest_neighbour_tour(np.array([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])).tolist() == [0, 2, 1]
    assert rank_in_group(np.array([3, 1, 3, 3, 1])).tolist() == [0, 0, 1, 2, 1]
    assert off_diagonal_mean(np.array([[9.0, 1, 2], [3, 9, 5], [1, 1, 9]])).tolist() == [1.5, 4, 1]
    assert np.isnan(off_diagonal_mean(np.ones((1, 1)))).all()
