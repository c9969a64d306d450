import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.dots import dots, error_bound, indexed_cosines, indexed_dots, max_norm, pair_dots, unit

DIMS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 384, 385, 8192, 8193, 20_000)


def vectors(rows, dim, seed):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


@pytest.mark.parametrize("dim", DIMS)
def test_a_pair_has_the_same_bits_alone_in_a_row_in_a_column_and_in_a_block(dim):
    left, right = vectors(13, dim, 1), vectors(9, dim, 2)
    block = dots(left, right)
    for i in range(len(left)):
        np.testing.assert_array_equal(dots(left[i : i + 1], right)[0], block[i])
        np.testing.assert_array_equal(pair_dots(np.repeat(left[i : i + 1], 9, axis=0), right), block[i])
    for j in range(len(right)):
        np.testing.assert_array_equal(dots(left, right[j : j + 1])[:, 0], block[:, j])
        np.testing.assert_array_equal(pair_dots(left[5:6], right[j : j + 1])[0], block[5, j])


@given(st.sampled_from(DIMS[:-3]), st.integers(1, 40), st.integers(1, 40), st.data())
def test_any_cut_of_a_block_has_the_blocks_bits(dim, rows, columns, data):
    left, right = vectors(rows, dim, dim), vectors(columns, dim, dim + 1)
    rows_from, rows_to = sorted(data.draw(st.tuples(st.integers(0, rows), st.integers(0, rows))))
    cols_from, cols_to = sorted(data.draw(st.tuples(st.integers(0, columns), st.integers(0, columns))))
    cut = dots(left[rows_from:rows_to], right[cols_from:cols_to])
    np.testing.assert_array_equal(cut, dots(left, right)[rows_from:rows_to, cols_from:cols_to])


def test_a_long_list_of_pairs_has_the_bits_of_each_pair_alone():
    left, right = vectors(40_000, 24, 5), vectors(40_000, 24, 6)
    together = pair_dots(left, right)
    for i in (*range(300, 400), 39_999):
        assert pair_dots(left[i : i + 1], right[i : i + 1])[0] == together[i]
    np.testing.assert_array_equal(pair_dots(left[777:9000], right[777:9000]), together[777:9000])


@pytest.mark.parametrize("dim", [3, 16, 385])
def test_memory_layout_and_alignment_do_not_change_a_bit(dim):
    left, right = vectors(11, dim, 1), vectors(11, dim, 2)
    expected = pair_dots(left, right)
    shifted = np.empty(11 * dim + 1, dtype=np.float32)[1:].reshape(11, dim)
    shifted[:] = left
    np.testing.assert_array_equal(pair_dots(shifted, right), expected)
    np.testing.assert_array_equal(pair_dots(np.asfortranarray(left), right), expected)
    np.testing.assert_array_equal(pair_dots(np.repeat(left, 2, axis=0)[::2], right), expected)
    np.testing.assert_array_equal(pair_dots(left[::-1], right[::-1])[::-1], expected)
    np.testing.assert_array_equal(np.diag(dots(np.asfortranarray(left), right)), expected)


@pytest.mark.parametrize("dim", DIMS)
def test_two_ways_to_the_same_product_are_within_the_error_bound(dim):
    left, right = vectors(20, dim, 3), vectors(30, dim, 4)
    exact = left.astype(np.float64) @ right.astype(np.float64).T
    bound = error_bound(dim, max_norm(left), max_norm(right))
    assert np.abs(dots(left, right) - exact).max() <= bound / 2
    assert np.abs(dots(left, right) - left @ right.T).max() <= bound
    # and the bound is of use: far below the products themselves
    assert bound < 1e-2 * np.abs(exact).max() * max(1, dim / 64)


def test_products_are_float32_of_the_right_shape_and_value():
    left = np.array([[1, 2], [3, 4], [0, -1]], dtype=np.float32)
    right = np.array([[5, 6], [7, 8]], dtype=np.float32)
    assert dots(left, right).tolist() == [[17, 23], [39, 53], [-6, -8]]
    assert pair_dots(left[:2], right).tolist() == [17, 53]
    assert dots(left, right).dtype == np.float32
    assert pair_dots(left[:2], right).dtype == np.float32


def test_no_vectors_give_no_products_and_no_error():
    none = np.zeros((0, 4), dtype=np.float32)
    assert dots(none, vectors(3, 4, 0)).shape == (0, 3)
    assert pair_dots(none, none).shape == (0,)
    assert max_norm(none) == 0.0


@given(st.sampled_from(DIMS[:-3]), st.data())
def test_listed_pairs_have_the_bits_of_a_block_and_the_cosines_of_a_double_loop(dim, data):
    left, right = vectors(7, dim, 1), vectors(5, dim, 2)
    left[3] = 0
    pairs = data.draw(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=30))
    one, two = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
    np.testing.assert_array_equal(indexed_dots(left, one, right, two), dots(left, right)[one, two])
    cosines = indexed_cosines(left, one, unit(right), two)
    assert cosines.dtype == np.float32
    for cosine, i, j in zip(cosines, one, two, strict=True):
        a, b = left[i].astype(np.float64), right[j].astype(np.float64)
        assert cosine == pytest.approx(0 if i == 3 else a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)


def test_pairs_out_of_range_are_refused_before_anything_is_read():
    some, places = vectors(3, 4, 0), np.array([0, 2])
    for bad in ([0, 3], [-1, 0], [0], [0, 1, 2]):
        with pytest.raises(ValueError, match="do not fit 3 vectors"):
            indexed_dots(some, places, some, np.array(bad))
        if len(bad) == 2:
            with pytest.raises(ValueError, match="do not fit 3 vectors"):
                indexed_dots(some, np.array(bad), some, places)
    with pytest.raises(ValueError, match="vectors of 4 and 5 numbers"):
        indexed_dots(some, places, vectors(3, 5, 0), places)


def test_vectors_that_only_can_be_read_and_other_floats_are_taken():
    some = vectors(4, 6, 0)
    locked = some.copy()
    locked.setflags(write=False)
    rows = np.arange(4)
    np.testing.assert_array_equal(indexed_dots(locked, rows, locked, rows), pair_dots(some, some))
    np.testing.assert_array_equal(pair_dots(some.astype(np.float64), some), pair_dots(some, some))


def test_the_threads_of_the_library_are_as_they_were_and_change_no_bit():
    import faiss

    left, right = vectors(3000, 40, 1), vectors(3000, 40, 2)
    before, found = faiss.omp_get_max_threads(), []
    try:
        for threads in (1, 3):
            faiss.omp_set_num_threads(threads)
            found.append(pair_dots(left, right))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    np.testing.assert_array_equal(*found)
