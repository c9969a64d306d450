"""Stored vectors: reading them block by block or row by row, and spilling vectors of any number to a temporary file."""

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.arrays.dots import norms
from hnmine.errors import IncompleteStage, OutputError
from hnmine.storage.paths import opened, scratch_folder
from hnmine.storage.remote_path import TEMPORARY
from hnmine.storage.schemas.embed import vectors as vectors_schema
from hnmine.storage.store import Shards

BLOCK_ROWS, BLOCK_BYTES = 65_536, 100_000_000
"""Limits of a block: rows, and bytes of float32 numbers. A single shard may exceed them."""


def to_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return a fixed-size-list column as float32, shape (rows, dim). A float32 column of one chunk is not copied."""
    array = column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks copies even a single chunk
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    dim = array.type.list_size
    values = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return np.asarray(values, dtype=np.float32)


def to_arrow(vectors: np.ndarray, rows: np.ndarray, dtype: str) -> pa.Table:
    """Return the table of a vector shard: vectors (float32, shape (n, dim)) and their rows (int64, shape (n,)).

    The stored `dtype` is float32 or float16.
    """
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.dtype(dtype)).ravel())
    schema = vectors_schema(vectors.shape[1], dtype)
    return pa.Table.from_arrays(
        [pa.array(rows, pa.int64()), pa.FixedSizeListArray.from_arrays(flat, type=schema.field(1).type)], schema=schema
    )


@dataclass(frozen=True)
class Block:
    """Consecutive vectors of a store: vectors[i] is the one at place first + i."""

    first: int
    vectors: np.ndarray

    @cached_property
    def norms(self) -> np.ndarray:
        """Length of each vector, and 1 for zero vectors; float32, shape (n,)."""
        return norms(self.vectors)


class VectorRange:
    """The vectors at places [first, last) of a folder of shards, read in blocks. Other shards are not read.

    Attributes:
        rows: number of vectors in the range.
        dim: numbers of a vector.

    At most `cache_bytes` of blocks stay in memory; the others are read again by every call of `blocks`.
    """

    def __init__(self, shards: Shards, first: int, last: int, cache_bytes: int) -> None:
        self.shards, self.first, self.last, self.rows = shards, first, last, last - first
        self.dim: int = shards.schema.field("vector").type.list_size
        self._free_bytes = cache_bytes
        self._cached: dict[int, Block] = {}

    @property
    def nbytes(self) -> int:
        """Memory of all vectors of the range as float32, in bytes."""
        return 4 * self.rows * self.dim

    @property
    def in_memory(self) -> bool:
        """Whether all vectors of the range are in memory, so that `blocks` reads no file."""
        return len(self._cached) == len(self._groups)

    def shard(self, number: int) -> np.ndarray:
        """Return all vectors of one shard, float32, shape (rows of the shard, dim)."""
        return to_numpy(self.shards.read(number, ["vector"]).column(0))

    def blocks(self) -> Iterator[Block]:
        """Yield all vectors of the range, block by block, in the order of their places."""
        for numbers in self._groups:
            yield self._block(numbers)

    @cached_property
    def _groups(self) -> list[list[int]]:
        """The shards of each block, by number; shards without a vector of the range are left out."""
        offsets = self.shards.offsets
        most = min(BLOCK_ROWS, BLOCK_BYTES // (4 * self.dim))
        groups: list[list[int]] = []
        held = np.flatnonzero((offsets[:-1] < self.last) & (offsets[1:] > self.first) & (np.diff(offsets) > 0))
        for number in held.tolist():
            if groups and offsets[number + 1] - max(offsets[groups[-1][0]], self.first) <= most:
                groups[-1].append(number)
            else:
                groups.append([number])
        return groups

    def _block(self, numbers: list[int]) -> Block:
        if numbers[0] in self._cached:
            return self._cached[numbers[0]]
        starts = np.maximum(self.shards.offsets[numbers], self.first)
        ends = np.minimum(self.shards.offsets[[number + 1 for number in numbers]], self.last)
        rows = int(ends[-1] - starts[0])
        if len(numbers) == 1 and rows == np.diff(self.shards.offsets)[numbers[0]]:
            vectors = self.shard(numbers[0])
        else:
            # copied shard by shard, so that the memory of each is used for the next one
            vectors = np.empty((rows, self.dim), dtype=np.float32)
            for number, start, end in zip(numbers, starts.tolist(), ends.tolist(), strict=True):
                offset = int(self.shards.offsets[number])
                vectors[start - starts[0] : end - starts[0]] = self.shard(number)[start - offset : end - offset]
        block = Block(int(starts[0]), vectors)
        if vectors.nbytes <= self._free_bytes:
            self._free_bytes -= vectors.nbytes
            self._cached[numbers[0]] = block
        return block


class VectorStore(VectorRange):
    """All vectors of one folder of shards.

    A store may hold vectors of only some rows of the corpus. *Places* number the vectors that it holds, in the order of
    their rows, so ties by place are ties by row; blocks and searches use places. In a store of all rows a vector's
    place is its row.

    Attributes:
        held: int64, ascending, the row at each place; None if the store holds all rows.

    Raises:
        IncompleteStage: the folder holds no shards.
    """

    def __init__(self, folder: Path, cache_bytes: int = 0) -> None:
        paths = sorted(folder.glob("part-*.parquet"))
        if not paths:
            raise IncompleteStage(f"{folder} holds no vectors; remove {folder.parent} and run `hnmine embed` again")
        shards = Shards(folder, pq.read_schema(opened(paths[0])).remove_metadata())
        super().__init__(shards, 0, shards.rows, cache_bytes)
        last = shards.take(np.array([shards.rows - 1] if shards.rows else [], dtype=np.int64), ["row"]).column(0)
        whole = not len(last) or last[0].as_py() == shards.rows - 1
        self.held = None if whole else np.asarray(shards.column("row").to_numpy())

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """Return the places of the given rows (int64, in any order).

        Raises:
            IncompleteStage: the store has no vector of one of them.
        """
        if self.held is None:
            return rows
        found = np.minimum(np.searchsorted(self.held, rows), len(self.held) - 1)
        missing = np.flatnonzero(self.held[found] != rows)
        if len(missing):
            raise IncompleteStage(
                f"{self.shards.folder} has no vector of {len(missing):,} documents that are needed, the first "
                f"row {int(rows[missing[0]]):,}; remove {self.shards.folder.parent} and run `hnmine embed` again"
            )
        return found

    def row_of(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at the given places (int64, in any order)."""
        return places if self.held is None else np.asarray(self.held[places])

    def span(self, first: int, last: int) -> np.ndarray:
        """Return the vectors at places [first, last), float32, shape (last - first, dim), without the cache."""
        offsets = self.shards.offsets
        parts = [np.zeros((0, self.dim), dtype=np.float32)]
        low = int(np.searchsorted(offsets, first, side="right")) - 1
        for number in range(low, int(np.searchsorted(offsets, last))):
            start = int(offsets[number])
            parts.append(self.shard(number)[max(0, first - start) : last - start])
        return np.concatenate(parts)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of the given rows, in the given order, float32, shape (len(rows), dim).

        Args:
            rows: int64, rows of the corpus; repeats are allowed.

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


class ForwardVectors:
    """Vectors that are read in their order, once, as they are asked for.

    Args:
        parts: returns an iterator over all of them: float32, at least one array, of shape (n, dim) with the same dim.
    """

    def __init__(self, parts: Callable[[], Iterator[np.ndarray]]) -> None:
        self._open = parts
        self._parts: Iterator[np.ndarray] | None = None
        self._first, self._part = 0, np.zeros((0, 0), dtype=np.float32)

    def take(self, places: np.ndarray) -> np.ndarray:
        """Return the vectors at the given positions (int64, ascending), float32, shape (len(places), dim).

        Consecutive ones may be a view of a part. Positions before those of the last call make it start anew.
        """
        if self._parts is None or (len(places) and places[0] < self._first):
            self._parts = self._open()
            self._first, self._part = 0, next(self._parts)
        found = []
        while len(places):
            while places[0] >= self._first + len(self._part):
                self._first, self._part = self._first + len(self._part), next(self._parts)
            here = int(np.searchsorted(places, self._first + len(self._part)))
            low, high = int(places[0]) - self._first, int(places[here - 1]) - self._first + 1
            found.append(self._part[low:high] if high - low == here else self._part[places[:here] - self._first])
            places = places[here:]
        return found[0] if len(found) == 1 else np.concatenate([self._part[:0], *found])

    def finish(self) -> None:
        """Read what is left, whose faults are raised."""
        for part in self._parts or ():
            self._first, self._part = self._first + len(self._part), part


class SpilledVectors:
    """Vectors of any number in an unnamed temporary file, which disappears with the process.

    Attributes:
        shape: (number of vectors, dim).

    Args:
        folder: folder on the disk that has room for them, made if missing; TMPDIR if it is in an object store.
        parts: arrays of shape (n, dim), all of the same dim; stored as float32.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, folder: Path, parts: Iterable[np.ndarray]) -> None:
        rows = dim = 0
        try:
            self._file = tempfile.TemporaryFile(prefix=TEMPORARY, dir=scratch_folder(folder))  # noqa: SIM115 - closed with this object
            weakref.finalize(self, self._file.close)
            for part in parts:
                self._file.write(np.ascontiguousarray(part, dtype=np.float32).data)
                rows, dim = rows + len(part), part.shape[1]
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {error.strerror}; free some space, or check it") from error
        self.shape = (rows, dim)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def array(self) -> np.ndarray:
        """All vectors as a memory map of the file, float32, read-only."""
        if 0 in self.shape:
            return np.zeros(self.shape, dtype=np.float32)
        return np.memmap(self._file, dtype=np.float32, mode="r", shape=self.shape)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors at the given positions (int64, any order), float32, shape (len(rows), dim)."""
        order = np.argsort(rows, kind="stable")
        ordered, width = rows[order], 4 * self.shape[1]
        out = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(ordered) != 1) + 1):
            if len(run):
                self._file.seek(int(ordered[run[0]]) * width)
                found = np.frombuffer(self._file.read(len(run) * width), dtype=np.float32)
                out[order[run]] = found.reshape(len(run), -1)
        return out
