"""Reading stored vectors: in blocks of rows, shard by shard, with as many blocks kept in memory as allowed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.errors import IncompleteStage
from hnmine.schemas import vectors as vectors_schema
from hnmine.store import Shards

BLOCK_ROWS = 65_536


def to_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return a fixed-size-list column as float32, shape (rows, dim); float32 columns of one chunk are not copied."""
    array = column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks copies even a single chunk
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    dim = array.type.list_size
    values = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return np.asarray(values, dtype=np.float32)


def to_arrow(vectors: np.ndarray, first: int, dtype: str) -> pa.Table:
    """Return a vector shard for rows `first`, `first` + 1, ...

    Args:
        vectors: float32, shape (rows, dim).
        first: row of the first vector.
        dtype: float32 or float16, as it is to be stored.
    """
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.dtype(dtype)).ravel())
    schema = vectors_schema(vectors.shape[1], dtype)
    rows = pa.array(np.arange(first, first + len(vectors), dtype=np.int64))
    return pa.Table.from_arrays(
        [rows, pa.FixedSizeListArray.from_arrays(flat, type=schema.field(1).type)], schema=schema
    )


@dataclass(frozen=True)
class Block:
    """Consecutive rows of the corpus: vectors[i] belongs to row first + i."""

    first: int
    vectors: np.ndarray


class VectorStore:
    """The vectors of one folder of shards, read in blocks of at most `BLOCK_ROWS` rows.

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
        schema = pq.read_schema(paths[0]).remove_metadata()
        self.shards = Shards(folder, schema)
        self.dim: int = schema.field("vector").type.list_size
        self.rows = self.shards.rows
        self._left = cache_bytes
        self._kept: dict[int, np.ndarray] = {}

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
        """Yield the whole corpus, block by block, in row order."""
        offsets = self.shards.offsets
        group: list[int] = []
        for number in range(len(self.shards)):
            if group and offsets[number + 1] - offsets[group[0]] > BLOCK_ROWS:
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
        """Return the vectors of rows `first` to `last` - 1, reading only the shards that hold them."""
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
            rows: int64, each in [0, self.rows); repeats are fine.
        """
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        for block in self.blocks():
            low, high = np.searchsorted(ordered, [block.first, block.first + len(block.vectors)])
            out[order[low:high]] = block.vectors[ordered[low:high] - block.first]
        return out
