import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.ragged import Ragged
from tests.strategies import flat, quick, ragged

KIND = pa.list_(pa.int64())
numbers = st.integers(0, 8)


def lists(found):
    return [found.values[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


@quick
@given(ragged(numbers))
def test_an_arrow_column_goes_in_and_comes_out(rows):
    found = Ragged.from_arrow(pa.array(rows, KIND))
    assert lists(found) == rows
    assert found.to_arrow(pa.int64()).to_pylist() == rows
    assert found.to_arrow(pa.int64()).type.value_field.nullable is False


@quick
@given(ragged(numbers), st.integers(0, 7), st.integers(0, 7))
def test_a_slice_of_a_column_is_only_that_slice(rows, start, length):
    found = Ragged.from_arrow(pa.array(rows, KIND).slice(min(start, len(rows)), length))
    expected = rows[start : start + length]
    assert lists(found) == expected
    assert found.offsets[0] == 0
    assert found.offsets[-1] == len(found.values) == sum(map(len, expected))


@quick
@given(ragged(numbers), ragged(numbers), st.integers(0, 10), st.integers(0, 10))
def test_a_slice_across_the_chunks_of_a_column_is_only_that_slice(one, two, start, length):
    column = pa.chunked_array([pa.array(one, KIND).slice(0), pa.array(two, KIND)], KIND)
    found = Ragged.from_arrow(column.slice(min(start, len(column)), length))
    assert lists(found) == (one + two)[start : start + length]


def test_a_column_without_chunks_has_no_rows():
    found = Ragged.from_arrow(pa.chunked_array([], KIND))
    assert len(found) == 0
    assert found.values.dtype == np.int64
    assert found.offsets.tolist() == [0]


def test_numbers_are_not_copied():
    array = pa.array([[1, 2], [3]], KIND)
    address = array.values.buffers()[1].address
    for column in (array, pa.chunked_array([array]), pa.table({"column": array}).column("column")):
        assert Ragged.from_arrow(column).values.__array_interface__["data"][0] == address
    rest = Ragged.from_arrow(pa.chunked_array([array]).slice(1)).values
    assert rest.__array_interface__["data"][0] == address + 2 * 8


@quick
@given(ragged(numbers))
def test_lengths_and_owners_are_those_of_the_lists(rows):
    found = flat(rows, np.int64)
    assert len(found) == len(rows)
    assert found.lengths.tolist() == [len(row) for row in rows]
    assert found.owners.tolist() == [i for i, row in enumerate(rows) for _ in row]
    assert found.with_values(-found.values).offsets.tolist() == found.offsets.tolist()


@quick
@given(st.lists(st.lists(numbers, max_size=4), min_size=1, max_size=5), st.data())
def test_contains_is_the_double_loop(rows, data):
    asked = data.draw(st.lists(st.tuples(st.integers(0, len(rows) - 1), st.integers(0, 20)), max_size=20))
    found = flat(rows, np.int64).contains(
        np.array([row for row, _ in asked], dtype=np.int64), np.array([value for _, value in asked], dtype=np.int64)
    )
    assert found.tolist() == [value in rows[row] for row, value in asked]


def test_contains_does_not_mix_a_row_with_the_next_ones_values():
    found = flat([[4], [0]], np.int64)
    # with a span taken from the lists alone, (0, 5) would meet (1, 0)
    assert found.contains(np.array([0, 0, 1, 1]), np.array([5, 4, 0, 4])).tolist() == [False, True, True, False]


def test_contains_holds_for_rows_and_values_in_the_billions():
    found = flat([[2**32 - 2], [], [2**32 - 2]], np.int64)
    asked = np.array([0, 1, 2, 2]), np.array([2**32 - 2, 2**32 - 2, 2**32 - 2, 2**32 - 3])
    assert found.contains(*asked).tolist() == [True, False, True, False]


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_empty_lists_contain_nothing(rows):
    asked = np.zeros(len(rows), dtype=np.int64)
    assert flat(rows, np.int64).contains(asked, asked).tolist() == [False] * len(rows)


@quick
@given(ragged(numbers), st.data())
def test_rows_keeps_only_the_rows_asked_for(rows, data):
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    found = flat(rows, np.int64).rows(np.array(keep, dtype=bool))
    assert lists(found) == [row for row, kept in zip(rows, keep, strict=True) if kept]
