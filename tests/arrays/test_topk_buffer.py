"""The best of each query while tiles of scores go by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays import topk
from hnmine.arrays.topk import NOTHING, TopKBuffer, rows_of, unpack
from hnmine.search.exact import FIRST_ROWS, TILE_ROWS, MatrixProducts, scan_products
from tests.strategies import quick

scores = st.integers(-3, 3).map(lambda number: number / 4)


def full_sort(values, k):
    """Return the rows of the k best, ties by row; the oracle."""
    return [row for _, row in sorted((-value, row) for row, value in enumerate(values))[:k]]


def tiles(per_query, allowed=None):
    """Return products whose scores are the given ones, by vectors of one number and queries of length 1."""
    values = np.array(per_query, dtype=np.float32)
    return MatrixProducts(np.eye(values.shape[1], dtype=np.float32), values, allowed)


@quick
@given(
    st.integers(1, 12).flatmap(lambda n: st.lists(st.lists(scores, min_size=n, max_size=n), min_size=1, max_size=4)),
    st.integers(1, 14),
    st.integers(0, 3),
    st.sampled_from([1, 3, 8]),
)
def test_tiles_of_any_size_and_any_waiting_give_the_full_sort(values, k, waiting, tile):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "WAITING", waiting)
        patch.setattr("hnmine.search.exact.TILE_ROWS", tile)
        patch.setattr("hnmine.search.exact.FIRST_ROWS", 1)
        keys = scan_products(
            tiles(values), np.arange(len(values[0])), np.full((len(values), k), NOTHING, dtype=np.uint64)
        )
    for own, row in zip(values, np.sort(keys, axis=1), strict=True):
        real = row[row != NOTHING]
        assert rows_of(real).tolist() == full_sort(own, k)
        assert unpack(real)[0].tolist() == [own[i] for i in full_sort(own, k)]


@quick
@given(
    st.integers(1, 12).flatmap(lambda n: st.lists(st.tuples(scores, st.booleans()), min_size=n, max_size=n)),
    st.integers(1, 14),
)
def test_documents_that_are_not_allowed_neither_count_nor_raise_what_is_to_be_beaten(values, k):
    allowed = np.array([[may for _, may in values]])
    products = tiles([[s for s, _ in values]], allowed)
    keys = scan_products(products, np.arange(len(values)), np.full((1, k), NOTHING, np.uint64))
    real = np.sort(keys[keys != NOTHING])
    order = full_sort([score if may else -9.0 for score, may in values], len(values))
    assert rows_of(real).tolist() == [row for row in order if values[row][1]][:k]


def test_what_was_found_before_counts_too():
    found = scan_products(tiles([[0.5, 0.25]]), np.array([7, 3]), np.full((1, 2), NOTHING, dtype=np.uint64))
    found = scan_products(tiles([[0.25, 0.75]]), np.array([1, 9]), found)
    assert rows_of(np.sort(found)).tolist() == [[9, 7]]


def test_a_large_k_goes_in_small_first_tiles():
    values = np.random.default_rng(0).standard_normal((2, 3 * FIRST_ROWS)).astype(np.float32)
    k, widths = TILE_ROWS // 4 + 1, []

    class Watched(MatrixProducts):
        def multiply(self, part):
            widths.append(part.stop - part.start)
            super().multiply(part)

    keys = scan_products(
        Watched(np.eye(values.shape[1], dtype=np.float32), values),
        np.arange(values.shape[1]),
        np.full((2, k), NOTHING, dtype=np.uint64),
    )
    assert widths == [FIRST_ROWS] * 3
    for own, row in zip(values, np.sort(keys, axis=1), strict=True):
        assert rows_of(row).tolist() == full_sort(own, k)


def test_hits_wait_until_there_are_many(monkeypatch):
    monkeypatch.setattr(topk, "WAITING", 2)
    best = TopKBuffer(np.full((2, 1), NOTHING, dtype=np.uint64))
    for number, score in enumerate((0.5, 0.75, 0.25, 1.0)):
        best.add(np.array([score], dtype=np.float32), np.array([number]), np.array([0]))
        assert (best.keys == NOTHING).all()
    best.add(np.array([0.125], dtype=np.float32), np.array([4]), np.array([1]))
    assert best.threshold.tolist() == [1.0, 0.125]
    best.flush()
    assert rows_of(best.keys).tolist() == [[3], [4]]
