import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.groups import ranges
from hnmine.arrays.ragged import Ragged, list_array, list_maxima, list_offsets, single_array
from hnmine.errors import ConfigError
from tests.strategies import flat, ragged, worlds

KIND = pa.list_(pa.int64())
numbers = st.integers(0, 8)


def lists(found):
    return [found.values[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


@given(ragged(numbers))
def test_an_arrow_column_goes_in_and_comes_out(rows):
    found = Ragged.from_arrow(pa.array(rows, KIND))
    assert lists(found) == rows
    assert found.to_arrow(pa.int64()).to_pylist() == rows
    assert found.to_arrow(pa.int64()).type.value_field.nullable is False


@given(ragged(numbers), st.integers(0, 7), st.integers(0, 7))
def test_a_slice_of_a_column_is_only_that_slice(rows, start, length):
    found = Ragged.from_arrow(pa.array(rows, KIND).slice(min(start, len(rows)), length))
    expected = rows[start : start + length]
    assert lists(found) == expected
    assert found.offsets[0] == 0
    assert found.offsets[-1] == len(found.values) == sum(map(len, expected))


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


@given(ragged(numbers))
def test_lengths_and_owners_are_those_of_the_lists(rows):
    found = flat(rows, np.int64)
    assert len(found) == len(rows)
    assert found.lengths.tolist() == [len(row) for row in rows]
    assert found.owners.tolist() == [i for i, row in enumerate(rows) for _ in row]
    assert found.with_values(-found.values).offsets.tolist() == found.offsets.tolist()


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


@given(ragged(numbers), st.data())
def test_rows_keeps_only_the_rows_asked_for(rows, data):
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    found = flat(rows, np.int64).rows(np.array(keep, dtype=bool))
    assert lists(found) == [row for row, kept in zip(rows, keep, strict=True) if kept]


groups = st.lists(st.tuples(st.integers(0, 4), st.one_of(st.integers(1, 3), st.integers(1, 12))), max_size=12)


def by_loop(values, counts, widths):
    found, first = [], 0
    for count, width in zip(counts, widths, strict=True):
        for _ in range(count):
            found.append(max(values[first : first + width]))
            first += width
    return found


@given(groups, st.data())
def test_it_is_the_largest_of_every_list(shape, data):
    counts, widths = (np.array([pair[side] for pair in shape], dtype=np.int64) for side in (0, 1))
    total = int((counts * widths).sum())
    numbers = st.one_of(st.floats(-1, 1, width=32), st.sampled_from([0.5, -0.5]))
    values = np.array(data.draw(st.lists(numbers, min_size=total, max_size=total)), dtype=np.float32)
    found = list_maxima(values, counts, widths)
    assert found.dtype == np.float32
    assert found.tolist() == by_loop(values.tolist(), counts.tolist(), widths.tolist())


@pytest.mark.parametrize("widths", [[3, 3], [2, 3], [9, 2], list(range(1, 11))])
def test_what_is_no_number_is_the_largest(widths):
    counts = np.ones(len(widths), dtype=np.int64)
    values = np.zeros(sum(widths), dtype=np.float32)
    values[widths[0] - 1] = np.nan
    found = list_maxima(values, counts, np.array(widths))
    assert np.isnan(found[0])
    assert found[1:].tolist() == [0.0] * (len(widths) - 1)


@given(worlds(), st.data())
def test_some_candidates_have_the_similarity_that_they_have_among_all(world, data):
    batch = world.batch()
    most = 6 if len(batch.scores) else 0
    at = np.array(data.draw(st.lists(st.integers(0, max(0, len(batch.scores) - 1)), max_size=most)), dtype=np.int64)
    assert batch.similarity_of(at).tolist() == batch.similarity[at].tolist()


@given(ragged(numbers), ragged(numbers))
def test_lists_one_after_another_are_the_lists_of_both(rows, more):
    found = Ragged.concatenate([flat(rows, np.int64), flat(more, np.int64)])
    assert lists(found) == [*rows, *more]
    assert found.positions.tolist() == [place for row in [*rows, *more] for place in range(len(row))]


@given(st.lists(st.tuples(numbers, st.integers(0, 4)), max_size=6))
def test_ranges_are_those_of_a_loop(pairs):
    starts, lengths = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
    assert ranges(starts, lengths).tolist() == [n for first, count in pairs for n in range(first, first + count)]


def test_lists_of_lists_go_to_arrow_and_a_column_of_chunks_is_one_array():
    inner = list_array(np.array([0, 2, 2, 3]), pa.array([1, 2, 3], pa.int64()))
    assert list_array(np.array([0, 1, 3]), inner).to_pylist() == [[[1, 2]], [[], [3]]]
    assert list_array(np.array([0, 1]), pa.array([1.0]), nullable=True).type == pa.list_(pa.float64())
    chunks = [pa.array([1, 2]), pa.array([3])]
    for column in (pa.chunked_array(chunks), pa.chunked_array(chunks[:1]), pa.chunked_array([], pa.int64()), chunks[0]):
        assert single_array(column).equals(pa.array(column.to_pylist(), pa.int64()))


@pytest.mark.parametrize("total", [2**31, 5 * 10**9])
def test_more_values_than_an_arrow_list_holds_are_refused_and_not_wrapped(total):
    offsets = np.array([0, 7, total], dtype=np.int64)  # as int32 the last would be negative, or too small
    with pytest.raises(ConfigError, match=rf"{total:,} values.*at most 2,147,483,647.*lower shard_rows"):
        list_array(offsets, pa.array([], pa.int64()))
    with pytest.raises(ConfigError, match="lower shard_rows"):
        Ragged(np.zeros(0), offsets).to_arrow(pa.float32())


def test_the_most_values_that_an_arrow_list_holds_are_taken():
    assert list_offsets(np.array([0, 2**31 - 1])).to_pylist() == [0, 2**31 - 1]
