from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hnmine.storage.vectors
from hnmine.errors import IncompleteStage
from hnmine.storage.store import part_name, write_table
from hnmine.storage.vectors import ForwardVectors, SpilledVectors, VectorRange, VectorStore, to_arrow, to_numpy


def make(rows, dim=6, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def store(folder, vectors, lengths, dtype="float32", **more):
    first = 0
    for number, length in enumerate(lengths):
        table = to_arrow(vectors[first : first + length], first + np.arange(length), dtype)
        write_table(table, folder / part_name(number), "key", plain=True)
        first += length
    assert first == len(vectors)
    return VectorStore(folder, **more)


def test_float32_vectors_come_back_bit_for_bit_with_their_rows():
    vectors = make(7)
    table = to_arrow(vectors, 100 + np.arange(7), "float32")
    np.testing.assert_array_equal(to_numpy(table.column("vector")), vectors)
    assert table.column("row").to_pylist() == list(range(100, 107))


def test_float16_vectors_are_stored_in_half_and_read_as_float32():
    vectors = make(7)
    table = to_arrow(vectors, np.arange(7), "float16")
    assert table.schema.field("vector").type.value_type == pa.float16()
    found = to_numpy(table.column("vector"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, vectors.astype(np.float16).astype(np.float32))


def test_a_slice_and_several_chunks_are_read_as_what_they_are():
    vectors = make(9)
    column = to_arrow(vectors, np.arange(len(vectors)), "float32").column("vector")
    np.testing.assert_array_equal(to_numpy(column.slice(2, 5)), vectors[2:7])
    np.testing.assert_array_equal(to_numpy(column.chunk(0).slice(4)), vectors[4:])
    both = pa.chunked_array([column.chunk(0).slice(5), column.chunk(0).slice(0, 2)])
    np.testing.assert_array_equal(to_numpy(both), vectors[[5, 6, 7, 8, 0, 1]])
    assert to_numpy(column.slice(0, 0)).shape == (0, 6)


def test_one_chunk_of_float32_is_not_copied():
    column = to_arrow(make(9), np.arange(9), "float32").column("vector")
    address = column.chunk(0).values.buffers()[1].address
    for found in (to_numpy(column), to_numpy(column.chunk(0))):
        assert found.__array_interface__["data"][0] == address


@pytest.mark.parametrize("block_rows", [1, 4, 5, 8, 9, 1000])
@pytest.mark.parametrize("cache_bytes", [0, 100, 10**6])
def test_blocks_are_the_corpus_in_order_whatever_their_size_and_the_cache(
    tmp_path, monkeypatch, block_rows, cache_bytes
):
    monkeypatch.setattr(hnmine.storage.vectors, "BLOCK_ROWS", block_rows)
    vectors = make(13)
    opened = store(tmp_path, vectors, [4, 4, 4, 1], cache_bytes=cache_bytes)
    assert (opened.rows, opened.dim) == (13, 6)
    for _ in range(2):
        found = list(opened.blocks())
        assert [block.first for block in found] == np.cumsum([0, *(len(b.vectors) for b in found[:-1])]).tolist()
        np.testing.assert_array_equal(np.concatenate([block.vectors for block in found]), vectors)
        # a shard is never cut, so a block is at most that of one shard or the limit
        assert max(len(block.vectors) for block in found) <= max(4, block_rows)


def test_the_cache_keeps_what_fits_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(hnmine.storage.vectors, "BLOCK_ROWS", 4)
    opened = store(tmp_path, make(12), [4, 4, 4], cache_bytes=2 * 4 * 6 * 4 + 1)
    read = []
    shard = opened.shard
    monkeypatch.setattr(opened, "shard", lambda number: read.append(number) or shard(number))
    for _ in range(3):
        list(opened.blocks())
    assert read == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("rows", [[], [0], [12], [12, 0, 5, 5, 0, 7, 3], list(range(13))])
def test_gather_gives_the_rows_asked_for_in_that_order(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(hnmine.storage.vectors, "BLOCK_ROWS", 5)
    vectors = make(13)
    found = store(tmp_path, vectors, [5, 5, 3]).gather(np.array(rows, dtype=np.int64))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, vectors[rows].reshape(-1, 6))


def partial(folder, rows, length=3):
    """Store one vector for each of the given rows, `length` a shard."""
    vectors = make(len(rows))
    for first in range(0, len(rows), length):
        part = slice(first, first + length)
        write_table(
            to_arrow(vectors[part], np.array(rows[part]), "float32"), folder / part_name(first // length), "key"
        )
    return vectors, VectorStore(folder)


def test_a_store_of_some_rows_knows_them(tmp_path):
    rows = [1, 4, 5, 9, 12, 13, 20]
    vectors, held = partial(tmp_path, rows)
    assert held.held.tolist() == rows
    asked = np.array([13, 1, 13, 20])
    assert held.positions(asked).tolist() == [5, 0, 5, 6]
    assert held.row_of(held.positions(asked)).tolist() == asked.tolist()
    np.testing.assert_array_equal(held.gather(asked), vectors[[5, 0, 5, 6]])
    np.testing.assert_array_equal(np.concatenate([block.vectors for block in held.blocks()]), vectors)


@pytest.mark.parametrize("row", [0, 6, 21])
def test_a_row_that_a_store_does_not_hold_is_an_error(tmp_path, row):
    _, held = partial(tmp_path, [1, 4, 5, 9, 12, 13, 20])
    with pytest.raises(IncompleteStage, match=f"no vector of 1 documents.*row {row};"):
        held.gather(np.array([4, row, 5]))


def test_a_store_of_all_rows_has_rows_for_places(tmp_path):
    _, held = partial(tmp_path, list(range(7)))
    rows = np.array([3, 0])
    assert held.held is None
    assert held.positions(rows) is rows
    assert held.row_of(rows) is rows


def test_spilled_vectors_are_read_by_row_or_as_a_map(tmp_path):
    vectors = make(9)
    spilled = SpilledVectors(tmp_path / "new", [vectors[:4], vectors[4:4], vectors[4:]])
    assert (len(spilled), spilled.shape) == (9, (9, 6))
    for rows in ([], [8], [3, 4, 5, 0, 0, 8]):
        np.testing.assert_array_equal(spilled.take(np.array(rows, dtype=np.int64)), vectors[rows].reshape(-1, 6))
    np.testing.assert_array_equal(spilled.array, vectors)
    assert SpilledVectors(tmp_path, [vectors[:0]]).array.shape == (0, 6)
    assert list(tmp_path.rglob("*.*")) == []


@pytest.fixture
def forward() -> tuple[ForwardVectors, np.ndarray, list[int]]:
    """Return vectors that are read forward, the same in an array, and the sizes of the parts read so far."""
    vectors, read = make(13), []

    def parts() -> Iterator[np.ndarray]:
        for part in np.split(vectors, [5, 5, 9]):
            read.append(len(part))
            yield part

    return ForwardVectors(parts), vectors, read


@given(st.lists(st.integers(0, 12), unique=True).map(sorted), st.lists(st.integers(0, 12), unique=True))
def test_vectors_read_forward_are_those_asked_for(places: list[int], cuts: list[int]) -> None:
    vectors = make(13)
    opened = ForwardVectors(lambda: iter(np.split(vectors, sorted(cuts))))
    for asked in np.array_split(np.array(places, dtype=np.int64), 3):
        found = opened.take(asked)
        assert found.shape == (len(asked), 6)
        np.testing.assert_array_equal(found, vectors[asked])


def test_vectors_in_order_are_read_once_and_again_only_for_earlier_ones(
    forward: tuple[ForwardVectors, np.ndarray, list[int]],
) -> None:
    opened, vectors, read = forward
    for asked in ([0, 1, 2], [4, 6], [7, 8], [9]):
        np.testing.assert_array_equal(opened.take(np.array(asked)), vectors[asked])
    assert read == [5, 0, 4, 4]
    np.testing.assert_array_equal(opened.take(np.array([3, 12])), vectors[[3, 12]])
    assert read == [5, 0, 4, 4] * 2


def test_the_rest_of_them_can_be_read_for_its_faults(forward: tuple[ForwardVectors, np.ndarray, list[int]]) -> None:
    opened, vectors, read = forward
    opened.take(np.array([1]))
    opened.finish()
    assert sum(read) == len(vectors)


ROWS, DIM = 60, 5


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> VectorStore:
    folder, first = tmp_path_factory.mktemp("vectors"), 0
    for number, length in enumerate((7, 13, 1, 19, 20)):
        table = to_arrow(vectors[first : first + length], np.arange(first, first + length), "float32")
        write_table(table, folder / part_name(number), "key", plain=True)
        first += length
    return VectorStore(folder)


@pytest.mark.parametrize("span", [(0, 60), (0, 1), (3, 5), (7, 20), (6, 22), (20, 21), (39, 41), (59, 60), (8, 8)])
@pytest.mark.parametrize("most", [1, 8, 1000])
@pytest.mark.parametrize("cache", [0, 200, 10**6])
def test_blocks_are_the_rows_asked_for_at_their_places(
    whole: VectorStore,
    vectors: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    span: tuple[int, int],
    most: int,
    cache: int,
) -> None:
    monkeypatch.setattr(hnmine.storage.vectors, "BLOCK_ROWS", most)
    part = VectorRange(whole.shards, *span, cache)
    for _ in range(2):
        at = span[0]
        for block in part.blocks():
            assert block.first == at
            assert len(block.vectors) <= max(most, 20)
            np.testing.assert_array_equal(block.vectors, vectors[at : at + len(block.vectors)])
            at += len(block.vectors)
        assert at == span[1]
    assert part.rows == span[1] - span[0]


def test_only_shards_that_hold_some_of_it_are_read_and_once_where_there_is_room(
    whole: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    shard = VectorRange.shard
    monkeypatch.setattr(VectorRange, "shard", lambda self, number: read.append(number) or shard(self, number))
    kept, streamed = VectorRange(whole.shards, 8, 22, 10**6), VectorRange(whole.shards, 8, 22, 0)
    for _ in range(2):
        list(kept.blocks())
    assert read == [1, 2, 3]
    read.clear()
    for _ in range(2):
        list(streamed.blocks())
    assert read == [1, 2, 3, 1, 2, 3]


def test_what_is_kept_of_a_shard_is_what_belongs_to_the_part(whole: VectorStore) -> None:
    (block,) = VectorRange(whole.shards, 22, 24, 10**6).blocks()
    base = block.vectors if block.vectors.base is None else block.vectors.base
    assert base.nbytes == 2 * DIM * 4
