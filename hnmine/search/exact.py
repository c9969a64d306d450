"""Exact top-k over a corpus of any size: a matrix product proposes, exact pair scores decide.

The corpus streams by in blocks. A matrix product proposes somewhat more than k documents a query; their scores are
computed again pair by pair, and the k best kept by (score, row). A document that was not proposed scores at most
the last proposed one plus the rounding error; where that could still reach the top-k, the query is asked again for
half as many more. So ties and rounding at the k-th place change nothing, nor do blocks or threads, and memory is set by
the block and not by the corpus.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from hnmine.arrays.dots import error_bound, max_norm
from hnmine.arrays.topk import NOTHING, TopKBuffer, last_score, pack, rows_of
from hnmine.runtime.threads import in_threads
from hnmine.runtime.worker_slot import thread_count
from hnmine.search.pair_scores import VectorBlocks, pair_scores
from hnmine.storage.vectors import Block

SLACK = 16
# Queries are searched this many at a time: more make the matrix product no faster and take more memory.
QUERY_BLOCK = 1024
# Scores are made this many queries by this many documents at a time: what a core's cache holds.
TILE_QUERIES, TILE_ROWS, FIRST_ROWS = 512, 4096, 512


class Proposer(ABC):
    """Names documents that may be among a query's best.

    Attributes:
        trial: how many queries to search by themselves before the others, for what is learnt from them.
    """

    trial = 0

    def first(self, k: int) -> int:
        """Return how many documents to ask for at first where k are wanted: as many as settle most queries."""
        return k + SLACK

    @abstractmethod
    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (rows, bound) for the queries.

        Args:
            queries: float32, shape (q, dim).
            which: int64, shape (q,): the queries' positions in the whole search.
            k: how many are wanted.

        Returns:
            rows: int64, shape (q, n), rows of the corpus, none twice for a query, -1 where there is none.
            bound: float32, shape (q,): no document that is not proposed scores above it; -inf where all that matter
                are proposed.
        """

    def settled(self, part: np.ndarray, asked: np.ndarray, best: np.ndarray) -> None:  # noqa: B027 - some learn from it
        """Hear how a search ended.

        Args:
            part: int64, shape (queries,): which queries of the whole search it was for.
            asked: int64, shape (queries,): how many documents each query was asked for at last.
            best: uint64 keys, shape (queries, k): what was found.
        """


class LongestVector:
    """The length of the longest vector of the blocks that went by, each looked at once."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}

    def see(self, block: Block) -> None:
        """Look at a block."""
        if block.first not in self._seen:
            self._seen[block.first] = max_norm(block.vectors)

    @property
    def longest(self) -> float:
        """Return the length of the longest vector so far."""
        return max(self._seen.values(), default=0.0)


class Products(Protocol):
    """Scores of some queries to some documents, tile by tile."""

    def multiply(self, part: slice) -> None:
        """Make the scores of a tile: of all the queries to these documents."""
        ...

    def kth(self, k: int, allowed: np.ndarray | None) -> np.ndarray:
        """Return a score of each query that at least k documents of the tile are above; float32, shape (q,).

        Args:
            k: at least 1, at most the documents of the tile.
            allowed: bool, shape (q, documents): which count; where fewer than k do, the score is -inf.
        """
        ...

    def over(self, last: np.ndarray) -> np.ndarray:
        """Return which scores of the tile may be above a query's last, bool, shape (q, documents of the tile).

        Args:
            last: float32, shape (q,).
        """
        ...

    def at(self, hits: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Return the scores at flat places of the tile, which are of these queries; float32."""
        ...

    def __len__(self) -> int:
        """Return how many documents there are."""
        ...


class MatrixProducts:
    """Scores by float32 matrix products.

    Args:
        vectors: float32, shape (n, dim).
        queries: float32, shape (q, dim).
    """

    def __init__(self, vectors: np.ndarray, queries: np.ndarray) -> None:
        self.vectors, self.queries = vectors, queries
        # the same memory for every tile: fresh pages would cost a tenth of the product
        self._numbers = np.empty(len(queries) * min(TILE_ROWS, len(vectors)), dtype=np.float32)
        self._flags = np.empty(len(self._numbers), dtype=bool)
        self._scores = self._numbers[:0].reshape(len(queries), 0)

    def __len__(self) -> int:
        return len(self.vectors)

    def multiply(self, part: slice) -> None:
        """Make the scores of a tile."""
        shape = (len(self.queries), part.stop - part.start)
        out = self._numbers[: shape[0] * shape[1]].reshape(shape)
        self._scores = np.matmul(self.queries, self.vectors[part].T, out=out)

    def kth(self, k: int, allowed: np.ndarray | None) -> np.ndarray:
        """Return a score of each query that at least k documents of the tile are above."""
        scores = self._scores if allowed is None else np.where(allowed, self._scores, -np.inf)
        return np.asarray(np.nextafter(np.partition(scores, -k, axis=1)[:, -k], np.float32(-np.inf)))

    def over(self, last: np.ndarray) -> np.ndarray:
        """Return which scores of the tile are above a query's last."""
        out = self._flags[: self._scores.size].reshape(self._scores.shape)
        return np.asarray(np.greater(self._scores, last[:, None], out=out))

    def at(self, hits: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Return the scores at flat places of the tile."""
        return np.asarray(self._numbers[hits])


class ExactProposer(Proposer):
    """Proposes by a matrix product over the whole corpus: nothing can be missed.

    Each tile of scores is held against the k-th best that a query has so far, so that nearly all of them are looked
    at once and never sorted.

    Args:
        corpus: vectors of all documents.
    """

    def __init__(self, corpus: VectorBlocks) -> None:
        self.corpus, self.lengths = corpus, LongestVector()

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best of the corpus for each query, and the score of the last with room for rounding."""
        parts = query_parts(len(queries))
        best = np.full((len(queries), k), NOTHING, dtype=np.uint64)

        def look(block: Block, part: slice) -> None:
            rows = block.first + np.arange(len(block.vectors))
            best[part] = scan_products(MatrixProducts(block.vectors, queries[part]), rows, best[part])

        with threadpool_limits(1):  # a thread for each part is faster than one product in several threads
            for block in self.corpus.blocks():
                in_threads(lambda part, block=block: look(block, part), parts)  # type: ignore[misc]  # for this block
                self.lengths.see(block)
        return as_proposal(best, queries, self.lengths.longest)


def query_parts(queries: int) -> list[slice]:
    """Return the parts of some queries that threads search by themselves."""
    size = min(TILE_QUERIES, max(1, -(-queries // thread_count())))
    return [slice(first, first + size) for first in range(0, queries, size)]


def scan_products(
    products: Products, rows: np.ndarray, best: np.ndarray, allowed: np.ndarray | None = None
) -> np.ndarray:
    """Return the running best of some queries after some documents, by the products' scores.

    Args:
        products: of the queries and the n documents.
        rows: int64, shape (n,): the documents' rows.
        best: uint64 keys, shape (q, k), the worst of a query's last.
        allowed: bool, shape (q, n): which documents count; all of them where it is not given.
    """
    k, first, found = best.shape[1], 0, TopKBuffer(best)
    while first < len(products):
        full = np.isfinite(found.threshold).all()
        # until a query has k documents nearly every score is a hit where k is large
        size = TILE_ROWS if full or k <= TILE_ROWS // 4 else FIRST_ROWS
        part = slice(first, min(len(products), first + size, (first // TILE_ROWS + 1) * TILE_ROWS))
        may = allowed[:, part] if allowed is not None else None
        products.multiply(part)
        if not full and k <= part.stop - first:
            found.raise_threshold(products.kth(k, may))  # the first tile has only its own scores to compare with
        over = products.over(found.threshold)
        hits = np.flatnonzero(over if may is None else over & may)
        ends = np.searchsorted(hits, np.arange(1, len(over) + 1) * over.shape[1])
        query = np.repeat(np.arange(len(over)), np.diff(ends, prepend=0))
        found.add(products.at(hits, query), rows[part][hits - query * over.shape[1]], query)
        first = part.stop
    found.flush()
    return found.keys


def as_proposal(best: np.ndarray, queries: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Return what a proposer gives: the rows of the best, and a bound on the score of any other document.

    Args:
        best: uint64 keys, shape (q, k), the worst of a query's last.
        queries: float32, shape (q, dim).
        length: of the longest vector of a document.
    """
    bound = last_score(best) + error_bound(queries.shape[1], max_norm(queries), length)
    return np.where(best == NOTHING, -1, rows_of(best)), bound.astype(np.float32)


class IndexProposer(Proposer):
    """Proposes what an approximate index finds in the whole corpus; what it misses stays missed.

    Args:
        index: a faiss index over the corpus.
        queries: float32, shape (q, dim), all queries of the search.
        k: how many candidates to ask the index for.
    """

    def __init__(self, index: Any, queries: np.ndarray, k: int) -> None:
        _, self.rows = index.search(queries, k)

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the index' hits, -1 where it has none."""
        return self.rows[which], np.full(len(queries), -np.inf, dtype=np.float32)


def search(corpus: VectorBlocks, queries: np.ndarray, k: int, proposer: Proposer) -> np.ndarray:
    """Return the k best documents of each query.

    Args:
        corpus: vectors of all documents, in any order of blocks.
        queries: float32, shape (q, dim).
        k: how many.
        proposer: finds the pairs worth scoring.

    Returns:
        uint64 keys (see `hnmine.arrays.topk`), shape (q, k), best first; `NOTHING` pads.
    """
    best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
    rest = np.arange(len(queries))
    for part in (rest[: proposer.trial], rest[proposer.trial :]):
        best[part] = _search(corpus, queries, k, proposer, part)
    return best


def _search(corpus: VectorBlocks, queries: np.ndarray, k: int, proposer: Proposer, part: np.ndarray) -> np.ndarray:
    best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
    asked, todo = np.full(len(queries), proposer.first(k)), part
    while len(todo):
        rows, bound = proposer.propose(queries[todo], todo, int(asked[todo[0]]))
        best[todo] = _decide(corpus, queries[todo], rows, k)
        todo = todo[np.isfinite(bound) & (last_score(best[todo]) <= bound)]
        asked[todo] += asked[todo] // 2
    proposer.settled(part, asked[part], best[part])
    return np.asarray(best[part])


def _decide(corpus: VectorBlocks, queries: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Return the keys of the k best of the proposed documents, scored one by one; shape (q, k)."""
    keys = np.full((len(rows), max(k, rows.shape[1])), NOTHING, dtype=np.uint64)
    found = np.flatnonzero(rows >= 0)
    documents, query = rows.ravel()[found], found // max(1, rows.shape[1])
    own = pack(pair_scores(corpus, documents, queries, query), documents)
    keys[query, found - query * rows.shape[1]] = own
    keys.sort(axis=1)
    return keys[:, :k]
