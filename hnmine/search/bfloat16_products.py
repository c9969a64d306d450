"""Exact search by matrix products of bfloat16, which some CPUs multiply several times as fast as float32.

Vectors are rounded to bfloat16, and the effect of rounding on a score is bounded. All documents that could be among the
k best are proposed, a few more than by products of float32, and ranked by exact scores: the result is the same, bit for
bit.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from hnmine.arrays.bfloat16 import product_error, round_to_bfloat16
from hnmine.arrays.dots import error_bound, norms
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.single_thread import single_thread
from hnmine.config.tables import Config
from hnmine.runtime.threads import in_threads
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.search.exact import TILE_ROWS, ExactProposer, IndistinctScores, MatrixProducts, ProductsOf
from hnmine.search.pair_scores import VectorBlocks
from hnmine.storage.vectors import Block

# Documents and queries from which it pays: with fewer, rounding takes longer than the products save.
_LEAST_DOCUMENTS, _LEAST_QUERIES = 4096, 256
# Rows rounded at a time: what fits into a core's cache.
_ROWS = 1024
# It is used where a product takes at most this share of the time of float32.
_FASTER = 0.6


@cache
def bfloat16_is_fast() -> bool:
    """Return whether this CPU multiplies bfloat16 rightly and faster than float32, tried for a few milliseconds."""
    import numkong

    vectors = np.random.default_rng(0).standard_normal((1024, 384)).astype(np.float32)
    documents, (numbers, lost) = RoundedDocuments.of(Block(0, vectors[256:])), round_to_bfloat16(vectors[:256])
    queries = _tensor(numbers)
    rounded, exact = numkong.empty((256, 768), dtype="float32"), np.empty((256, 768), dtype=np.float32)
    with single_thread():
        fast = _seconds(lambda: numkong.dots_packed(queries, documents.tiles[0], out=rounded))
        slow = _seconds(lambda: np.matmul(vectors[:256], vectors[256:].T, out=exact))
    bound = product_error(lost, norms(vectors[:256]), float(documents.lost[0]), float(documents.lengths[0]))
    right = (np.abs(np.asarray(rounded) - exact) <= 1.01 * bound[:, None]).all()
    return bool(right) and fast <= _FASTER * slow


def _seconds(work: Callable[[], Any]) -> float:
    """Return the shortest of a few durations of some work."""
    found = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def _tensor(numbers: np.ndarray) -> Any:
    """Return the numbers (uint16, C-contiguous) as a matrix of bfloat16, without a copy."""
    import numkong

    return numkong.from_pointer(numbers.ctypes.data, numbers.shape, "bfloat16", owner=numbers)


def bfloat16_pays(config: Config, size: tuple[int, int, int], able: Callable[[], bool] = bfloat16_is_fast) -> bool:
    """Return whether an exact search on the CPU is to multiply bfloat16.

    `size` is (documents, queries, numbers of a vector); `able` returns whether it is fast.
    """
    documents, queries, _ = size
    if config.index.product != "auto":
        return config.index.product == "bfloat16"
    return documents >= _LEAST_DOCUMENTS and queries >= _LEAST_QUERIES and able()


def bfloat16_budget(
    config: Config, size: tuple[int, int, int], able: Callable[[], bool] = bfloat16_is_fast
) -> int | None:
    """Return the memory for rounded documents in the search of a corpus; None where float32 is to be used.

    `size` and `able` are as in `bfloat16_pays`.
    """
    if config.index.device is not None or config.retrieve.where or not bfloat16_pays(config, size, able):
        return None
    documents, _, dim = size
    return min(documents * (2 * dim + 64), cache_bytes(config) // 2)


@dataclass(frozen=True)
class RoundedDocuments:
    """The documents of a block rounded to bfloat16, in tiles of `TILE_ROWS`.

    Attributes:
        tiles: matrices as numkong multiplies them.
        lengths: float32, shape (tiles,): length of the longest vector of each.
        lost: float32, shape (tiles,): length of the largest rounding error of each.
    """

    tiles: list[Any]
    lengths: np.ndarray
    lost: np.ndarray

    @classmethod
    def of(cls, block: Block) -> "RoundedDocuments":
        """Round the vectors of a block."""
        import numkong

        lengths = block.norms

        def tile(first: int) -> tuple[Any, float, float]:
            part = slice(first, first + TILE_ROWS)
            numbers, lost = _rounded(block.vectors[part])
            return numkong.dots_pack(_tensor(numbers)), lengths[part].max(), lost.max()

        tiles, longest, lost = zip(*in_threads(tile, range(0, len(lengths), TILE_ROWS)), strict=True)
        return cls(list(tiles), np.array(longest, dtype=np.float32), np.array(lost, dtype=np.float32))

    @property
    def nbytes(self) -> int:
        """Their memory, in bytes."""
        return sum(int(tile.nbytes) for tile in self.tiles)


def _rounded(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `round_to_bfloat16` does, a few rows at a time."""
    numbers, lost = np.empty(vectors.shape, dtype=np.uint16), np.empty(len(vectors), dtype=np.float32)
    for first in range(0, len(vectors), _ROWS):
        part = slice(first, first + _ROWS)
        numbers[part], lost[part] = round_to_bfloat16(vectors[part])
    return numbers, lost


class RoundedProducts(MatrixProducts):
    """Bounds of scores by matrix products of bfloat16, a tile at a time.

    `queries` are float32, shape (q, dim).
    """

    most = 8

    def __init__(self, documents: RoundedDocuments, queries: np.ndarray, rows: int) -> None:
        self._documents, self._queries, self._rows = documents, queries, rows
        self._numbers_of, self._lost = round_to_bfloat16(queries)
        self._norms = norms(queries)
        self._outs: dict[int, Any] = {}
        self._numbers, self._scores = np.zeros(0, dtype=np.float32), np.zeros((0, 0), dtype=np.float32)
        self._flags = np.empty(len(queries) * min(TILE_ROWS, rows), dtype=bool)
        self._error, self._allowed = self._lost, None

    def of(self, which: np.ndarray) -> "RoundedProducts":
        """Return the products of some of the queries (int64)."""
        return RoundedProducts(self._documents, self._queries[which], self._rows)

    def multiply(self, part: slice) -> None:
        """Compute the tile of these documents."""
        import numkong

        documents, tile, wide = self._documents, part.start // TILE_ROWS, part.stop - part.start
        length, lost = float(documents.lengths[tile]), float(documents.lost[tile])
        rounding = product_error(self._lost.astype(np.float64), self._norms.astype(np.float64), lost, length)
        # twice: the sums of rounded numbers are rounded too, as are lengths, bounds and the exact scores
        slip = 2 * error_bound(len(self._queries[0]) + 4, 1.0, length) * self._norms
        self._error = (rounding * (1 + 1e-5) + slip).astype(np.float32)
        if wide not in self._outs:  # the same memory for every tile: fresh pages would cost as much as the product
            self._outs[wide] = numkong.empty((len(self._queries), wide), dtype="float32")
        numkong.dots_packed(_tensor(self._numbers_of), documents.tiles[tile], out=self._outs[wide])
        self._scores = np.asarray(self._outs[wide])
        self._numbers = self._scores.ravel()


class RoundedProposer(ExactProposer):
    """Proposes by products of bfloat16 over the whole corpus; nothing can be missed.

    Up to `room` bytes of rounded documents are kept in memory; others are rounded again for every search. From the
    first search on in which rounded vectors cannot tell documents apart, products of float32 are used.
    """

    def __init__(self, corpus: VectorBlocks, room: int) -> None:
        super().__init__(corpus)
        self.room, self.rounds = room, True
        self._kept: dict[int, RoundedDocuments] = {}
        self._rounding = threading.Lock()

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[Ragged, np.ndarray]:
        """Return all documents of the corpus that may be among the k best of each query."""
        try:
            return super().propose(queries, which, k)
        except IndistinctScores:
            self.rounds, self._kept = False, {}
            return super().propose(queries, which, k)

    def products_of(self, queries: np.ndarray) -> Callable[[Block], tuple[ProductsOf, np.ndarray]]:
        """Return a function of a block: its products with these queries, and the rows of its documents (int64)."""
        if not self.rounds:
            return super().products_of(queries)

        def products(block: Block) -> tuple[ProductsOf, np.ndarray]:
            documents, rows = self._documents(block), block.first + np.arange(len(block.vectors))
            return lambda part: RoundedProducts(documents, queries[part], len(rows)), rows

        return products

    def _documents(self, block: Block) -> RoundedDocuments:
        with self._rounding:  # threads that search at the same time need the same documents
            if block.first in self._kept:
                return self._kept[block.first]
            documents = RoundedDocuments.of(block)
            if documents.nbytes <= self.room:
                self._kept[block.first], self.room = documents, self.room - documents.nbytes
            return documents
