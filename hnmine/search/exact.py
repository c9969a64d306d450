"""Exact top-k search: a matrix product proposes documents, exact pair scores decide.

The corpus is read in blocks. A matrix product proposes somewhat more than k documents a query; their scores are
computed again pair by pair, and the k best are kept by (score, row). A document that was not proposed scores at most
the last proposed one plus the rounding error; where that could still reach the top k, the query is searched again for
half as many more. So results do not depend on ties and rounding at the k-th place, on blocks or on threads, and
memory is set by the block and not by the corpus.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from hnmine.arrays.dots import error_bound, max_norm
from hnmine.arrays.single_thread import single_thread
from hnmine.arrays.topk import NOTHING, TopKBuffer, keep_best, last_score, pack, rows_of
from hnmine.errors import ConfigError
from hnmine.runtime.threads import in_threads
from hnmine.runtime.torch_settings import full_float32
from hnmine.runtime.worker_slot import choose_device, current_slot, thread_count
from hnmine.search.pair_scores import VectorBlocks, pair_scores
from hnmine.storage.vectors import Block

# Documents proposed beyond k.
SLACK = 16
# Queries searched at a time: more make the matrix product no faster and take more memory.
QUERY_BLOCK = 1024
# Queries and documents of a tile of scores: what fits into a core's cache. Until a query has k documents, tiles are of
# FIRST_ROWS documents.
TILE_QUERIES, TILE_ROWS, FIRST_ROWS = 512, 4096, 512
# Scores that a GPU holds at a time: 1 GiB of float32.
_GPU_PAIRS = 1 << 28


class Proposer(ABC):
    """Proposes documents that may be among a query's best."""

    trial = 0
    """Number of queries to search before the others, to learn from how their search ended."""

    def first(self, k: int) -> int:
        """Return how many documents to propose at first where k are wanted: enough for most queries."""
        return k + SLACK

    @abstractmethod
    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (rows, bound) for the queries.

        Args:
            queries: float32, shape (q, dim).
            which: int64, shape (q,): the queries' positions in the whole search.
            k: documents wanted.

        Returns:
            rows: int64, shape (q, n), rows of the corpus, none twice for a query; -1 pads.
            bound: float32, shape (q,): no document that is not proposed scores above it; -inf if none matters.
        """

    def settled(self, part: np.ndarray, asked: np.ndarray, best: np.ndarray) -> None:  # noqa: B027 - optional hook
        """Called after a search, for proposers that learn from it.

        `part` are the queries' positions in the whole search, `asked` the documents last proposed for each (both
        int64), and `best` the keys that were found, uint64, shape (queries, k).
        """


class LongestVector:
    """Length of the longest vector of the blocks seen so far; each block is measured once."""

    def __init__(self) -> None:
        self.length, self._seen = 0.0, set[int]()

    def see(self, block: Block) -> None:
        """Take a block into account."""
        if block.first not in self._seen:
            self._seen.add(block.first)
            self.length = max(self.length, max_norm(block.vectors))


class MatrixProducts:
    """Scores of queries (q, dim) to vectors (n, dim) by float32 products, a tile at a time: all queries, some vectors.

    `allowed` (bool, shape (q, n)) are the scores that count; None for all of them.
    """

    def __init__(self, vectors: np.ndarray, queries: np.ndarray, allowed: np.ndarray | None = None) -> None:
        self._vectors, self._queries, self._all_allowed = vectors, queries, allowed
        # the same memory for every tile: fresh pages would cost a tenth of the product
        self._numbers = np.empty(len(queries) * min(TILE_ROWS, len(vectors)), dtype=np.float32)
        self._flags = np.empty(len(self._numbers), dtype=bool)
        self._scores, self._allowed = self._numbers[:0].reshape(len(queries), 0), allowed

    def multiply(self, part: slice) -> None:
        """Compute the tile of these documents."""
        shape = (len(self._queries), part.stop - part.start)
        out = self._numbers[: shape[0] * shape[1]].reshape(shape)
        self._scores = np.matmul(self._queries, self._vectors[part].T, out=out)
        self._allowed = None if self._all_allowed is None else self._all_allowed[:, part]

    def kth(self, k: int) -> np.ndarray:
        """Return a score of each query that at least k documents of the tile exceed, float32, shape (q,).

        -inf where fewer than k documents count. k is at least 1, at most the documents of the tile.
        """
        scores = self._scores if self._allowed is None else np.where(self._allowed, self._scores, -np.inf)
        return np.asarray(np.nextafter(np.partition(scores, -k, axis=1)[:, -k], np.float32(-np.inf)))

    def over(self, last: np.ndarray) -> np.ndarray:
        """Return which scores count and may exceed their query's `last` (float32, (q,)); bool, (q, documents)."""
        out = self._flags[: self._scores.size].reshape(self._scores.shape)
        np.greater(self._scores, last[:, None], out=out)
        return out if self._allowed is None else out & self._allowed

    def at(self, hits: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Return the scores at flat positions of the tile, float32; `query` is the query of each."""
        return np.asarray(self._numbers[hits])


class ExactProposer(Proposer):
    """Proposes by float32 matrix products over the whole corpus; nothing can be missed.

    Scores are compared with the k-th best that a query has so far, so nearly all of them are looked at only once and
    never sorted.
    """

    def __init__(self, corpus: VectorBlocks) -> None:
        self.corpus, self.longest = corpus, LongestVector()

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best documents of the corpus for each query."""
        parts = query_parts(len(queries))
        best = np.full((len(queries), k), NOTHING, dtype=np.uint64)

        def scan(block: Block, part: slice) -> None:
            rows = block.first + np.arange(len(block.vectors))
            best[part] = scan_products(MatrixProducts(block.vectors, queries[part]), rows, best[part])

        with single_thread():  # a thread for each part is faster than one product in several threads
            for block in self.corpus.blocks():
                in_threads(lambda part, block=block: scan(block, part), parts)  # type: ignore[misc]  # for this block
                self.longest.see(block)
        return as_proposal(best, queries, self.longest.length)


def query_parts(queries: int) -> list[slice]:
    """Return the parts of some queries that are searched in a thread each."""
    size = min(TILE_QUERIES, max(1, -(-queries // thread_count())))
    return [slice(first, first + size) for first in range(0, queries, size)]


def scan_products(products: MatrixProducts, rows: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return each query's best documents so far and among those of given rows (int64), by the products' scores.

    `best` and the result are uint64 keys, shape (q, k), the worst of a query last.
    """
    k, first, found = best.shape[1], 0, TopKBuffer(best)
    while first < len(rows):
        full = np.isfinite(found.threshold).all()
        # until a query has k documents nearly every score is a hit where k is large
        size = TILE_ROWS if full or k <= TILE_ROWS // 4 else FIRST_ROWS
        part = slice(first, min(len(rows), first + size, (first // TILE_ROWS + 1) * TILE_ROWS))
        products.multiply(part)
        if not full and k <= part.stop - first:
            found.raise_threshold(products.kth(k))  # no earlier scores to compare with but the tile's own
        over = products.over(found.threshold)
        hits = np.flatnonzero(over)
        ends = np.searchsorted(hits, np.arange(1, len(over) + 1) * over.shape[1])
        query = np.repeat(np.arange(len(over)), np.diff(ends, prepend=0))
        found.add(products.at(hits, query), rows[part][hits - query * over.shape[1]], query)
        first = part.stop
    found.flush()
    return found.keys


def as_proposal(best: np.ndarray, queries: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows, bound) as `Proposer.propose` does, for the best documents by float32 products.

    `best` are uint64 keys, shape (q, k), the worst of a query last; `length` is that of the longest document vector.
    """
    bound = last_score(best) + error_bound(queries.shape[1], max_norm(queries), length)
    return np.where(best == NOTHING, -1, rows_of(best)), bound.astype(np.float32)


class TorchProposer(Proposer):
    """Proposes by torch's matrix products and top-k, block by block, on a GPU; nothing can be missed.

    Blocks stay on the device (as torch names it) while at least half of its memory is free.

    Raises:
        ConfigError: torch cannot use the device.
    """

    def __init__(self, corpus: VectorBlocks, device: str) -> None:
        import torch

        try:
            self.device = torch.device(str(choose_device(device, current_slot(), torch.cuda.device_count())))
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            message = f"index.device: torch cannot use {device!r}: {reason}; leave it out, or name another"
            raise ConfigError(message) from None
        self.corpus, self.longest = corpus, LongestVector()
        self._kept: dict[int, Any] = {}

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best documents of the corpus for each query."""
        import torch

        best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
        asked = torch.from_numpy(queries).to(self.device)
        with torch.inference_mode(), full_float32():
            for block in self.corpus.blocks():
                self.longest.see(block)
                vectors = self._on_device(block)
                step = max(1, _GPU_PAIRS // max(1, len(vectors)))
                for first in range(0, len(queries), step):
                    part = slice(first, first + step)
                    scores, places = torch.topk(asked[part] @ vectors.T, min(k, len(vectors)), dim=1, sorted=False)
                    rows = places.cpu().numpy() + block.first
                    keys, owners = pack(scores.cpu().numpy(), rows), np.repeat(np.arange(len(rows)), rows.shape[1])
                    best[part] = keep_best(best[part], keys.ravel(), owners, k)
        return as_proposal(best, queries, self.longest.length)

    def _on_device(self, block: Block) -> Any:
        import torch

        if block.first in self._kept:
            return self._kept[block.first]
        vectors = torch.from_numpy(np.ascontiguousarray(block.vectors)).to(self.device)
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            if free > total // 2:
                self._kept[block.first] = vectors
        return vectors


class IndexProposer(Proposer):
    """Proposes what a faiss index finds when asked for k documents; documents that it misses stay missed.

    `queries` are all queries of the search, float32, shape (q, dim).
    """

    def __init__(self, index: Any, queries: np.ndarray, k: int) -> None:
        _, self.rows = index.search(queries, k)

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the hits of the index, -1 where it has none."""
        return self.rows[which], np.full(len(queries), -np.inf, dtype=np.float32)


def search(corpus: VectorBlocks, queries: np.ndarray, k: int, proposer: Proposer) -> np.ndarray:
    """Return the k best documents of each query (float32, shape (q, dim)), among those that a proposer proposes.

    Returns:
        uint64 keys (see `hnmine.arrays.topk`), shape (q, k), best first; `NOTHING` pads.
    """
    best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
    trial = np.arange(len(queries)) < proposer.trial
    for part in (np.flatnonzero(trial), np.flatnonzero(~trial)):
        asked, todo = np.full(len(queries), proposer.first(k)), part
        while len(todo):
            rows, bound = proposer.propose(queries[todo], todo, int(asked[todo[0]]))
            best[todo] = _decide(corpus, queries[todo], rows, k)
            todo = todo[np.isfinite(bound) & (last_score(best[todo]) <= bound)]
            asked[todo] += asked[todo] // 2
        proposer.settled(part, asked[part], best[part])
    return best


def _decide(corpus: VectorBlocks, queries: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Return the keys of the k best of the proposed documents by exact pair scores, shape (q, k), best first."""
    keys = np.full((len(rows), max(k, rows.shape[1])), NOTHING, dtype=np.uint64)
    found = np.flatnonzero(rows >= 0)
    documents, query = rows.ravel()[found], found // max(1, rows.shape[1])
    own = pack(pair_scores(corpus, documents, queries, query), documents)
    keys[query, found - query * rows.shape[1]] = own
    keys.sort(axis=1)
    return keys[:, :k]
