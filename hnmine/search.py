"""Exact top-k over a corpus of any size: a matrix product proposes, exact pair scores decide.

The corpus streams by in blocks. In each block faiss proposes somewhat more than k documents a query; their scores
are computed again pair by pair, and merged into the running top-k by (score, row). A document that was not
proposed scores at most the last proposed one plus the rounding error; where that could still reach the top-k, the
query asks that block again for twice as many. So ties and rounding at the k-th place change nothing, and memory
is set by the block and not by the corpus.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from hnmine.science.dots import error_bound, pair_dots
from hnmine.science.topk import NOTHING, merge, pack, unpack
from hnmine.vectors import Block

SLACK = 16
_PAIR_ROWS = 32_768


class Proposer(Protocol):
    """Names documents of a block that may be among a query's best."""

    def propose(self, block: Block, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (positions in the block, bound) for the queries.

        Args:
            block: the block.
            queries: float32, shape (q, dim).
            which: int64, shape (q,): the queries' positions in the whole search.
            k: how many are wanted.

        Returns:
            positions: int64, shape (q, n), -1 where there is none.
            bound: float32, shape (q,): no document of the block that is not proposed scores above it, rounding
                apart; -inf where all that matter are proposed.
        """
        ...


class ExactProposer:
    """Proposes by a matrix product over the whole block: nothing can be missed."""

    def propose(self, block: Block, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best of the block for each query, and the score of the last."""
        import faiss

        count = len(block.vectors)
        if k >= count:
            everything = np.broadcast_to(np.arange(count, dtype=np.int64), (len(queries), count))
            return everything, np.full(len(queries), -np.inf, dtype=np.float32)
        scores, positions = faiss.knn(queries, block.vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return positions, scores[:, -1]


class IndexProposer:
    """Proposes what an approximate index finds in the whole corpus; what it misses stays missed.

    Args:
        index: a faiss index over the corpus.
        queries: float32, shape (q, dim), all queries of the search.
        k: how many candidates to ask the index for.
    """

    def __init__(self, index: Any, queries: np.ndarray, k: int) -> None:
        _, self.rows = index.search(queries, k)

    def propose(self, block: Block, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the hits that lie in the block; faiss's -1 (no hit) never leaves here."""
        rows = self.rows[which] - block.first
        inside = (self.rows[which] >= block.first) & (rows < len(block.vectors))
        return np.where(inside, rows, -1), np.full(len(queries), -np.inf, dtype=np.float32)


def search(blocks: Iterable[Block], queries: np.ndarray, k: int, proposer: Proposer) -> np.ndarray:
    """Return the k best documents of each query.

    Args:
        blocks: the corpus, in any order of blocks.
        queries: float32, shape (q, dim).
        k: how many.
        proposer: finds the pairs worth scoring.

    Returns:
        uint64 keys (see `hnmine.science.topk`), shape (q, at most k), best first; `NOTHING` pads.
    """
    best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
    for block in blocks:
        todo, wanted = np.arange(len(queries)), k + SLACK
        bound = error_bound(queries, block.vectors)
        while len(todo):
            positions, last = proposer.propose(block, queries[todo], todo, wanted)
            keys = _score(block, queries, todo, positions)
            best[todo] = merge(_without(best[todo], block), keys, k)
            unsure = np.isfinite(last) & (_kth(best[todo]) <= last + bound)
            todo, wanted = todo[unsure], 2 * wanted
    return best


def _kth(best: np.ndarray) -> np.ndarray:
    """Return the score at the last place, -inf where it is empty."""
    scores, _ = unpack(best[:, -1])
    return np.where(best[:, -1] == NOTHING, -np.inf, scores)


def _without(best: np.ndarray, block: Block) -> np.ndarray:
    """Return the running best without the block's documents: they are proposed anew when a block is asked again."""
    _, rows = unpack(best)
    inside = (best != NOTHING) & (rows >= block.first) & (rows < block.first + len(block.vectors))
    return np.where(inside, NOTHING, best)


def _score(block: Block, queries: np.ndarray, which: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return keys of the proposed pairs, scored one by one; shape of `positions`."""
    keys = np.full(positions.shape, NOTHING, dtype=np.uint64)
    query, place = np.nonzero(positions >= 0)
    for start in range(0, len(query), _PAIR_ROWS):
        q, p = query[start : start + _PAIR_ROWS], place[start : start + _PAIR_ROWS]
        hits = positions[q, p]
        scores = pair_dots(block.vectors[hits], queries[which[q]])
        keys[q, p] = pack(scores, hits + block.first)
    return keys
