import numpy as np
import pytest

import hnmine.storage.part_vectors
from hnmine.storage.part_vectors import PartStore
from hnmine.storage.store import part_name, write_table
from hnmine.storage.vectors import VectorStore, to_arrow

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
    monkeypatch.setattr(hnmine.storage.part_vectors, "BLOCK_ROWS", most)
    part = PartStore(whole, *span, cache)
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
    shard = VectorStore.shard
    monkeypatch.setattr(VectorStore, "shard", lambda self, number: read.append(number) or shard(self, number))
    kept, streamed = PartStore(whole, 8, 22, 10**6), PartStore(whole, 8, 22)
    for _ in range(2):
        list(kept.blocks())
    assert read == [1, 2, 3]
    read.clear()
    for _ in range(2):
        list(streamed.blocks())
    assert read == [1, 2, 3, 1, 2, 3]


def test_what_is_kept_of_a_shard_is_what_belongs_to_the_part(whole: VectorStore) -> None:
    (block,) = PartStore(whole, 22, 24, 10**6).blocks()
    base = block.vectors if block.vectors.base is None else block.vectors.base
    assert base.nbytes == 2 * DIM * 4
