"""Reading stored vectors: in blocks of rows, shard by shard, with as many blocks kept in memory as allowed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.errors import IncompleteStage
from hnmine.storage.paths import opened
from hnmine.storage.schemas.embed import vectors as vectors_schema
from hnmine.storage.store import Shards

BLOCK_ROWS, BLOCK_BYTES = 65_536, 100_000_000


def to_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return a fixed-size-list column as float32, shape (rows, dim); float32 columns of one chunk are not copied."""
    array = column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks copies even a single chunk
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    dim = array.type.list_size
    values = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return np.asarray(values, dtype=np.float32)


def to_arrow(vectors: np.ndarray, rows: np.ndarray, dtype: str) -> pa.Table:
    """Return a vector shard.

    Args:
        vectors: float32, shape (n, dim).
        rows: int64, shape (n,): the row of each.
        dtype: float32 or float16, as it is to be stored.
    """
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.dtype(dtype)).ravel())
    schema = vectors_schema(vectors.shape[1], dtype)
    return pa.Table.from_arrays(
        [pa.array(rows, pa.int64()), pa.FixedSizeListArray.from_arrays(flat, type=schema.field(1).type)], schema=schema
    )


@dataclass(frozen=True)
class Block:
    """Consecutive vectors of a store: vectors[i] stands at place first + i, which is its row where all are there."""

    first: int
    vectors: np.ndarray


class VectorStore:
    """The vectors of one folder of shards, read in blocks of at most `BLOCK_ROWS` rows or `BLOCK_BYTES` (or one shard).

    A store may hold some rows of the corpus alone. Its places then count what is there, in the order of the rows, so
    that ties by place are ties by row; blocks and searches go by place. Where it holds all rows, the two are the same.

    Attributes:
        rows: how many vectors it holds.
        held: int64, ascending, the row at each place; None where it holds all of them.

    Args:
        folder: where the vector shards lie.
        cache_bytes: how much of them may stay in memory; the rest is read again each time round.

    Raises:
        IncompleteStage: the folder holds no shards.
    """

    def __init__(self, folder: Path, cache_bytes: int = 0) -> None:
        paths = sorted(folder.glob("part-*.parquet"))
        if not paths:
            raise IncompleteStage(f"{folder} holds no vectors; remove {folder.parent} and run `hnmine embed` again")
        schema = pq.read_schema(opened(paths[0])).remove_metadata()
        self.shards = Shards(folder, schema)
        self.dim: int = schema.field("vector").type.list_size
        self.rows = self.shards.rows
        self.held = self._held()
        self._left = cache_bytes
        self._kept: dict[int, np.ndarray] = {}

    def _held(self) -> np.ndarray | None:
        last = np.zeros(0, dtype=np.int64)
        for number in range(len(self.shards) - 1, -1, -1):
            last = self.shards.read(number, ["row"]).column(0).to_numpy()
            if len(last):
                break
        if not len(last) or int(last[-1]) == self.rows - 1:
            return None
        return np.asarray(self.shards.column("row").to_numpy())

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Return the places of the given rows (int64, in any order).

        Raises:
            IncompleteStage: the store has no vector of one of them.
        """
        if self.held is None:
            return rows
        found = np.minimum(np.searchsorted(self.held, rows), len(self.held) - 1)
        lacking = np.flatnonzero(self.held[found] != rows)
        if len(lacking):
            raise IncompleteStage(
                f"{self.shards.folder} has no vector of {len(lacking):,} documents that are asked for, the first "
                f"row {int(rows[lacking[0]]):,}; remove {self.shards.folder.parent} and run `hnmine embed` again"
            )
        return found

    def row_of(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at the given places (int64, in any order)."""
        return places if self.held is None else np.asarray(self.held[places])

    def shard(self, number: int) -> np.ndarray:
        """Return one shard's vectors as float32."""
        return to_numpy(self.shards.read(number, ["vector"]).column(0))

    def _block(self, numbers: list[int]) -> np.ndarray:
        first = numbers[0]
        if first in self._kept:
            return self._kept[first]
        parts = [self.shard(number) for number in numbers]
        block = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if block.nbytes <= self._left:
            self._left -= block.nbytes
            self._kept[first] = block
        return block

    def blocks(self) -> Iterator[Block]:
        """Yield all vectors, block by block, in row order."""
        offsets = self.shards.offsets
        most = min(BLOCK_ROWS, BLOCK_BYTES // (4 * self.dim))
        group: list[int] = []
        for number in range(len(self.shards)):
            if offsets[number] == offsets[number + 1]:
                continue
            if group and offsets[number + 1] - offsets[group[0]] > most:
                yield Block(int(offsets[group[0]]), self._block(group))
                group = []
            group.append(number)
        if group:
            yield Block(int(offsets[group[0]]), self._block(group))

    @property
    def nbytes(self) -> int:
        """How much memory all of them take."""
        return 4 * self.rows * self.dim

    def span(self, first: int, last: int) -> np.ndarray:
        """Return the vectors at places `first` to `last` - 1, reading only the shards that hold them."""
        offsets = self.shards.offsets
        parts = [np.zeros((0, self.dim), dtype=np.float32)]
        low = int(np.searchsorted(offsets, first, side="right")) - 1
        for number in range(low, int(np.searchsorted(offsets, last))):
            start = int(offsets[number])
            parts.append(self.shard(number)[max(0, first - start) : last - start])
        return np.concatenate(parts)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of the given rows, in the given order; shape (len(rows), dim).

        Args:
            rows: int64, rows of the corpus that the store holds; repeats are fine.

        Raises:
            IncompleteStage: the store has no vector of one of them.
        """
        places = self.positions(rows)
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        order = np.argsort(places, kind="stable")
        ordered = places[order]
        for block in self.blocks():
            low, high = np.searchsorted(ordered, [block.first, block.first + len(block.vectors)])
            out[order[low:high]] = block.vectors[ordered[low:high] - block.first]
        return out
