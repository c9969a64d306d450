import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.topk import NOTHING, keep_best, last_score, merge, pack, unpack
from tests import oracles
from tests.strategies import grid, scores

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
rows_in_range = st.integers(0, 2**32 - 2)


def packed(values, first=0):
    rows = np.arange(first, first + len(values), dtype=np.int64)
    return pack(np.array(values, dtype=np.float32), rows)[None, :]


def best(keys):
    """Return [(score, row)] of the first query."""
    values, rows = unpack(keys[0][keys[0] != NOTHING])
    return list(zip(values.tolist(), rows.tolist(), strict=True))


@given(st.lists(st.tuples(finite, rows_in_range), max_size=20))
def test_what_is_packed_comes_out_again(pairs):
    values = np.array([s for s, _ in pairs], dtype=np.float32)
    rows = np.array([r for _, r in pairs], dtype=np.int64)
    found, found_rows = unpack(pack(values, rows))
    assert found.dtype == np.float32
    assert found_rows.dtype == np.int64
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(found_rows, rows)


@given(st.lists(st.tuples(finite | grid, st.integers(0, 5) | rows_in_range), max_size=20))
def test_keys_sort_by_score_descending_then_row_ascending(pairs):
    values = np.array([s for s, _ in pairs], dtype=np.float32)
    rows = np.array([r for _, r in pairs], dtype=np.int64)
    by_key = [pairs[i] for i in np.argsort(pack(values, rows), kind="stable")]
    assert by_key == sorted(pairs, key=lambda pair: (-pair[0], pair[1]))


@given(st.lists(scores | grid, max_size=20), st.integers(1, 25))
def test_the_whole_is_the_double_loops_top_k(values, k):
    empty = np.full((1, 0), NOTHING, dtype=np.uint64)
    found = best(merge(packed(values), empty, k))
    assert found == [(values[row], row) for row in oracles.topk(values, k)]


@given(st.lists(grid, max_size=24), st.integers(1, 10), st.data())
def test_any_split_in_any_order_merges_to_the_top_k_of_the_whole(values, k, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=5)))
    bounds = list(zip([0, *cuts], [*cuts, len(values)], strict=True))
    running = np.full((1, k), NOTHING, dtype=np.uint64)
    for low, high in data.draw(st.permutations(bounds)):
        running = merge(running, packed(values[low:high], low), k)
    assert running.shape == (1, k)
    assert best(running) == [(values[row], row) for row in oracles.topk(values, k)]


@given(st.lists(grid, max_size=8), st.lists(grid, max_size=8), st.lists(grid, max_size=8), st.integers(1, 9))
def test_merging_is_associative_and_commutative(one, two, three, k):
    a, b, c = packed(one), packed(two, 100), packed(three, 200)
    left = merge(merge(a, b, k), c, k)
    np.testing.assert_array_equal(left, merge(a, merge(b, c, k), k))
    np.testing.assert_array_equal(left, merge(c, merge(b, a, k), k))


@given(st.lists(st.lists(grid, max_size=24), min_size=1, max_size=4), st.integers(1, 10), st.data())
def test_the_running_best_is_the_top_k_of_all_keys_so_far(lists, k, data):
    keys = np.concatenate([packed(values)[0] for values in lists])
    queries = np.repeat(np.arange(len(lists)), [len(values) for values in lists])
    part = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(keys), max_size=len(keys))), dtype=np.int64)
    running = np.full((len(lists), k), NOTHING, dtype=np.uint64)
    for number in range(3):
        running = keep_best(running, keys[part == number], queries[part == number], k)
    for query, values in enumerate(lists):
        wanted = [(values[row], row) for row in oracles.topk(values, k)]
        assert best(np.sort(running[query : query + 1], axis=1)) == wanted
        assert last_score(running)[query] == (wanted[-1][0] if len(wanted) == k else -np.inf)


def test_queries_are_merged_each_for_itself():
    left = np.concatenate([packed([0.1, 0.9]), packed([0.5, 0.4])])
    right = np.concatenate([packed([0.5], 7), packed([0.5], 7)])
    found = merge(left, right, 2)
    scores_, rows = unpack(found)
    assert rows.tolist() == [[1, 7], [0, 7]]
    assert scores_.tolist() == [[pytest.approx(0.9), 0.5], [0.5, 0.5]]


def test_ties_go_to_the_smaller_row_whichever_side_it_is_on():
    assert best(merge(packed([0.5, 0.5], 4), packed([0.5, 0.5], 2), 3)) == [(0.5, 2), (0.5, 3), (0.5, 4)]


def test_minus_zero_ties_with_zero():
    np.testing.assert_array_equal(packed([-0.0]), packed([0.0]))


def test_neighbouring_floats_keep_their_order_across_zero():
    tiny = np.nextafter(np.float32(0), np.float32(1))
    values = np.array([tiny, 0.0, -tiny, 1.0, np.nextafter(np.float32(1), np.float32(2)), -1.0], dtype=np.float32)
    assert np.argsort(pack(values, np.zeros(6, dtype=np.int64))).tolist() == [4, 3, 0, 1, 2, 5]


def test_an_empty_place_sorts_behind_every_real_one():
    lowest = pack(np.array([np.finfo(np.float32).min]), np.array([2**32 - 2], dtype=np.int64))
    assert lowest[0] < NOTHING


def test_fewer_places_than_k_come_back_as_they_are():
    assert merge(packed([1.0]), packed([2.0], 1), 5).shape == (1, 2)


@pytest.mark.parametrize("row", [-1, 2**32 - 1, 2**32])
def test_a_row_that_does_not_fit_is_refused(row):
    with pytest.raises(ValueError, match="row"):
        pack(np.array([0.5], dtype=np.float32), np.array([row], dtype=np.int64))


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        pack(np.array([0.5, np.nan], dtype=np.float32), np.array([0, 1], dtype=np.int64))
