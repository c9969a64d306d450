"""Exact top-k search: matrix products propose documents, exact pair scores decide.

The corpus is read in blocks. A matrix product gives a lower and an upper bound of each score, and documents are
proposed whose upper bound reaches the k-th highest lower bound of their query: none of the k best can be missed. Their
scores are computed again pair by pair, and the k best are kept by (score, row). So results do not depend on ties and
rounding at the k-th place, on blocks or on threads, and memory is set by the block and not by the corpus.

A GPU proposes somewhat more than k documents instead, with a bound on the scores of all others. Where these could still
reach the top k, the query is searched again for half as many more.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from hnmine.arrays.dots import error_bound, max_norm
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.single_thread import single_thread
from hnmine.arrays.topk import NOTHING, BestBounds, keep_best, last_score, pack, rows_of
from hnmine.errors import ConfigError
from hnmine.runtime.threads import in_threads
from hnmine.runtime.torch_settings import full_float32
from hnmine.runtime.worker_slot import choose_device, current_slot, thread_count
from hnmine.search.pair_scores import VectorBlocks, pair_scores
from hnmine.storage.vectors import Block

# Documents that a GPU proposes beyond k.
SLACK = 16
# Queries searched at a time: more make the matrix product no faster and take more memory.
QUERY_BLOCK = 1024
# Queries and documents of a tile of scores: what fits into a core's cache.
TILE_QUERIES, TILE_ROWS = 512, 4096
# A first guess of what is to be beaten is such that GUESSED times k documents of a block are expected to beat it.
GUESSED = 2
# Queries whose proposals are sorted together hold up to this many times k documents each.
_ALIKE = 8
# Scores that a GPU holds at a time: 1 GiB of float32.
_GPU_PAIRS = 1 << 28


class Proposer(ABC):
    """Proposes documents that may be among a query's best."""

    @abstractmethod
    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[Ragged, np.ndarray]:
        """Return (rows, bound) for the queries.

        Args:
            queries: float32, shape (q, dim).
            which: int64, shape (q,): the queries' positions in the whole search.
            k: documents wanted.

        Returns:
            rows: for each query, rows of the corpus, none twice.
            bound: float32, shape (q,): no document that is not proposed scores above it; -inf if none matters.
        """


class LongestVector:
    """Length of the longest vector of each block; a block is measured once."""

    def __init__(self) -> None:
        self._lengths = dict[int, float]()

    def of(self, block: Block) -> float:
        """Return the length of the longest vector of a block."""
        if block.first not in self._lengths:
            self._lengths[block.first] = float(block.norms.max(initial=0))
        return self._lengths[block.first]

    @property
    def length(self) -> float:
        """Length of the longest vector of the blocks seen so far."""
        return max(self._lengths.values(), default=0.0)


class IndistinctScores(Exception):
    """Bounds are too far apart to tell the documents of most queries apart."""


class MatrixProducts:
    """Bounds of the scores of queries to documents by float32 products, a tile at a time: all queries, some documents.

    Args:
        vectors: of the documents, float32, shape (n, dim).
        queries: float32, shape (q, dim).
        length: of the longest vector.
        allowed: bool, shape (q, n), the scores that count; None for all of them.
    """

    most: int | None = None
    """`IndistinctScores` is raised where most queries hold more than so many times k documents; None for never."""

    def __init__(
        self, vectors: np.ndarray, queries: np.ndarray, length: float, allowed: np.ndarray | None = None
    ) -> None:
        self._vectors, self._queries, self._length, self._all_allowed = vectors, queries, length, allowed
        self._error = score_errors(queries, length)
        # the same memory for every tile: fresh pages would cost a tenth of the product
        self._numbers = np.empty(len(queries) * min(TILE_ROWS, len(vectors)), dtype=np.float32)
        self._flags = np.empty(len(self._numbers), dtype=bool)
        self._scores, self._allowed = self._numbers[:0].reshape(len(queries), 0), allowed

    def of(self, which: np.ndarray) -> "MatrixProducts":
        """Return the products of some of the queries (int64)."""
        allowed = None if self._all_allowed is None else self._all_allowed[which]
        return MatrixProducts(self._vectors, self._queries[which], self._length, allowed)

    def multiply(self, part: slice) -> None:
        """Compute the tile of these documents."""
        shape = (len(self._queries), part.stop - part.start)
        out = self._numbers[: shape[0] * shape[1]].reshape(shape)
        self._scores = np.matmul(self._queries, self._vectors[part].T, out=out)
        self._allowed = None if self._all_allowed is None else self._all_allowed[:, part]

    def kth(self, k: int) -> np.ndarray:
        """Return the k-th highest lower bound of each query in the tile, float32, shape (q,).

        -inf where fewer than k documents count. k is at least 1, at most the documents of the tile.
        """
        scores = self._scores if self._allowed is None else np.where(self._allowed, self._scores, -np.inf)
        return np.asarray(np.partition(scores, -k, axis=1)[:, -k] - self._error)

    def over(self, least: np.ndarray) -> np.ndarray:
        """Return which scores count and have an upper bound above their query's `least` (float32, (q,)); bool.

        Shape (q, documents). A few more may be included, whose bound is within rounding.
        """
        out = self._flags[: self._scores.size].reshape(self._scores.shape)
        np.greater(self._scores, np.nextafter(least - self._error, np.float32(-np.inf))[:, None], out=out)
        return out if self._allowed is None else out & self._allowed

    def bounds(self, hits: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper bounds of the scores at flat positions of the tile, float32; `query` is each one's."""
        scores, error = self._numbers[hits], self._error[query]
        return scores - error, scores + error


def score_errors(queries: np.ndarray, length: float) -> np.ndarray:
    """Return how far a product of float32 may be from the exact score, for queries (float32, shape (q, dim)).

    `length` is that of the longest document vector. Float32, shape (q,).
    """
    norms = np.sqrt(np.einsum("qd,qd->q", queries, queries))
    # four more, since scores and bounds made of them are rounded too
    return np.asarray(norms * error_bound(queries.shape[1] + 4, 1.0, length), dtype=np.float32)


ProductsOf = Callable[[slice], MatrixProducts]
"""Returns the products of some queries with the documents of a block."""


class ExactProposer(Proposer):
    """Proposes by float32 matrix products over the whole corpus; nothing can be missed.

    Scores are compared with the k-th best that a query has so far, so nearly all of them are looked at only once and
    never sorted.
    """

    def __init__(self, corpus: VectorBlocks) -> None:
        self.corpus, self.longest = corpus, LongestVector()

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[Ragged, np.ndarray]:
        """Return all documents of the corpus that may be among the k best of each query."""
        parts, products_of = query_parts(len(queries)), self.products_of(queries)
        best = [BestBounds(len(queries[part]), k) for part in parts]

        def scan(number: int, products: ProductsOf, rows: np.ndarray) -> None:
            scan_products(products(parts[number]), rows, best[number])

        with single_thread():  # a thread for each part is faster than one product in several threads
            for block in self.corpus.blocks():
                products, rows = products_of(block)
                in_threads(partial(scan, products=products, rows=rows), range(len(parts)))
        return all_of(best), np.full(len(queries), -np.inf, dtype=np.float32)

    def products_of(self, queries: np.ndarray) -> Callable[[Block], tuple[ProductsOf, np.ndarray]]:
        """Return a function of a block: its products with these queries, and the rows of its documents (int64)."""

        def products(block: Block) -> tuple[ProductsOf, np.ndarray]:
            length = self.longest.of(block)
            rows = block.first + np.arange(len(block.vectors))
            return lambda part: MatrixProducts(block.vectors, queries[part], length), rows

        return products


def query_parts(queries: int) -> list[slice]:
    """Return the parts of some queries that are searched in a thread each."""
    size = min(TILE_QUERIES, max(1, -(-queries // thread_count())))
    return [slice(first, first + size) for first in range(0, queries, size)]


def all_of(best: list[BestBounds]) -> Ragged:
    """Return the rows of the documents that may be among the best, for the queries of one part after another."""
    none = Ragged(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64))
    return Ragged.concatenate([none, *(own.rows() for own in best)])


def scan_products(products: MatrixProducts, rows: np.ndarray, best: BestBounds) -> None:
    """Add the documents of given rows (int64, none seen before) that may be among the best of the products' queries.

    A query without k documents yet starts with a guess of what is to be beaten. The few for which it was too high are
    scanned again without.
    """
    before, whole = best.snapshot(), np.arange(len(best.least))
    guess = _scan(products, rows, best, whole, GUESSED)
    best.settle()
    unsure = np.flatnonzero(best.least < guess)
    if len(unsure):
        best.restore(before, unsure)
        _scan(products.of(unsure), rows, best, unsure, None)


def _scan(
    products: MatrixProducts, rows: np.ndarray, best: BestBounds, which: np.ndarray, guessed: int | None
) -> np.ndarray:
    """Add what may be among the best of some queries (positions in `best`, int64); return what was guessed for each.

    A guess is such that `guessed` times k documents are expected to beat it; -inf where none is needed, or wanted.
    """
    guess = np.full(len(which), -np.inf, dtype=np.float32)
    for first in range(0, len(rows), TILE_ROWS):
        part = slice(first, min(len(rows), first + TILE_ROWS))
        products.multiply(part)
        size = part.stop - part.start
        if not first and not np.isfinite(best.least[which]).all():
            expected = best.k if guessed is None else -(-guessed * best.k * size // len(rows))
            if expected < best.k:
                guess = products.kth(expected)
            elif best.k <= size:  # no earlier scores to compare with but the tile's own
                best.raise_least(products.kth(best.k), which)
        over = products.over(np.maximum(best.least[which], guess))
        hits = np.flatnonzero(over)
        ends = np.searchsorted(hits, np.arange(1, len(over) + 1) * over.shape[1])
        query = np.repeat(np.arange(len(over)), np.diff(ends, prepend=0))
        best.add(*products.bounds(hits, query), rows[part][hits - query * over.shape[1]], which[query])
        if products.most is not None and best.crowded(products.most):
            raise IndistinctScores
    return guess


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

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[Ragged, np.ndarray]:
        """Return somewhat more than the k best documents of the corpus for each query."""
        import torch

        k += SLACK
        best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
        asked = torch.from_numpy(queries).to(self.device)
        with torch.inference_mode(), full_float32():
            for block in self.corpus.blocks():
                self.longest.of(block)
                vectors = self._on_device(block)
                step = max(1, _GPU_PAIRS // max(1, len(vectors)))
                for first in range(0, len(queries), step):
                    part = slice(first, first + step)
                    scores, places = torch.topk(asked[part] @ vectors.T, min(k, len(vectors)), dim=1, sorted=False)
                    rows = places.cpu().numpy() + block.first
                    keys, owners = pack(scores.cpu().numpy(), rows), np.repeat(np.arange(len(rows)), rows.shape[1])
                    best[part] = keep_best(best[part], keys.ravel(), owners, k)
        bound = last_score(best) + error_bound(queries.shape[1], max_norm(queries), self.longest.length)
        real = best != NOTHING
        return Ragged.from_lengths(rows_of(best[real]), real.sum(axis=1)), bound.astype(np.float32)

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

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[Ragged, np.ndarray]:
        """Return the hits of the index."""
        found = self.rows[which]  # -1 where the index has none
        hits = Ragged.from_lengths(found[found >= 0], (found >= 0).sum(axis=1))
        return hits, np.full(len(queries), -np.inf, dtype=np.float32)


def search(corpus: VectorBlocks, queries: np.ndarray, k: int, proposer: Proposer) -> np.ndarray:
    """Return the k best documents of each query (float32, shape (q, dim)), among those that a proposer proposes.

    Returns:
        uint64 keys (see `hnmine.arrays.topk`), shape (q, k), best first; `NOTHING` pads.
    """
    best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
    todo, asked = np.arange(len(queries)), k
    while len(todo):
        rows, bound = proposer.propose(queries[todo], todo, asked)
        best[todo] = _decide(corpus, queries[todo], rows, k)
        todo = todo[np.isfinite(bound) & (last_score(best[todo]) <= bound)]
        asked += max(1, asked // 2)
    return best


def _decide(corpus: VectorBlocks, queries: np.ndarray, proposed: Ragged, k: int) -> np.ndarray:
    """Return the keys of the k best of the proposed documents by exact pair scores, shape (q, k), best first."""
    own = pack(pair_scores(corpus, proposed.values, queries, proposed.owners), proposed.values)
    lengths = proposed.lengths
    wide = min(int(lengths.max(initial=0)), _ALIKE * k)
    keys = np.full((len(proposed), max(k, wide)), NOTHING, dtype=np.uint64)
    alike = lengths <= wide
    inside = alike[proposed.owners]
    keys[proposed.owners[inside], proposed.positions[inside]] = own[inside]
    for query in np.flatnonzero(~alike):  # it ties with much of the corpus
        keys[query, :k] = np.sort(own[proposed.offsets[query] : proposed.offsets[query + 1]])[:k]
    keys.sort(axis=1)
    return keys[:, :k]
