"""Searching only the documents that a query allows: what takes the place of the exact search over all of them."""

import numpy as np

from hnmine.ragged import Ragged
from hnmine.science.dots import pair_dots
from hnmine.science.topk import NOTHING, merge, pack
from hnmine.vectors import Block
from hnmine.where import Where

# From so many queries of a class on, copying the vectors of its documents costs less than going through all of them.
_TOGETHER = 16
# Queries of small classes are searched this many at a time: their scores to a whole block are held at once.
_ALONE = 64


class AllowedProposer:
    """Proposes by matrix products over the documents that each query allows; nothing allowed can be missed.

    Args:
        where: the conditions.
        rows: int64, shape (queries of the search,): their rows among all queries.
    """

    def __init__(self, where: Where, rows: np.ndarray) -> None:
        self.where, self.classes = where, where.classes[rows]

    def propose(self, block: Block, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best allowed documents of the block for each query, and the score of the last."""
        count = len(block.vectors)
        width = min(k, count)
        positions = np.full((len(queries), width), -1, dtype=np.int64)
        bound = np.full(len(queries), -np.inf, dtype=np.float32)
        numbers, inverse, sizes = np.unique(self.classes[which], return_inverse=True, return_counts=True)
        inverse = inverse.reshape(-1)
        for place in np.flatnonzero(sizes >= _TOGETHER):
            own = np.flatnonzero(inverse == place)
            allowed = np.flatnonzero(self.where.mask(int(numbers[place]), block.first, block.first + count))
            found, bound[own] = _together(block.vectors, allowed, queries[own], k)
            positions[own, : found.shape[1]] = found
        few = np.flatnonzero(sizes[inverse] < _TOGETHER)
        for first in range(0, len(few), _ALONE):
            own = few[first : first + _ALONE]
            masks = [self.where.mask(int(numbers[n]), block.first, block.first + count) for n in inverse[own]]
            positions[own], bound[own] = _masked(block.vectors, np.stack(masks), queries[own], width)
        return positions, bound


def _together(vectors: np.ndarray, allowed: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (positions, bound) for queries that allow the same documents: a search of those alone."""
    if k >= len(allowed):
        return np.broadcast_to(allowed, (len(queries), len(allowed))), np.full(len(queries), -np.inf, np.float32)
    import faiss

    scores, places = faiss.knn(queries, vectors[allowed], k, metric=faiss.METRIC_INNER_PRODUCT)
    return allowed[places], scores[:, -1]


def _masked(vectors: np.ndarray, allowed: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (positions, bound) for queries that allow different documents: all scores, those not allowed last."""
    scores = np.where(allowed, queries @ vectors.T, np.float32(-np.inf))
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    taken = np.take_along_axis(scores, best, axis=1)
    positions = np.where(np.take_along_axis(allowed, best, axis=1), best, -1)
    return positions, np.where(allowed.sum(axis=1) > k, taken.min(axis=1), np.float32(-np.inf))


def with_positives(
    keys: np.ndarray, vectors: np.ndarray, positives: Ragged, queries: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Return the best allowed documents of each query with its labelled positives among them, allowed or not.

    Args:
        keys: uint64, shape (queries, k): as `hnmine.search.search` gives them.
        vectors: float32, one for each of the positives' values.
        positives: rows of the labelled positives.
        queries: float32, shape (queries, dim).
        allowed: bool, one a positive: those are found by the search already, as far as it goes down.
    """
    wide = int(positives.lengths.max(initial=0))
    added = np.full((len(keys), wide), NOTHING, dtype=np.uint64)
    place = np.arange(len(positives.values)) - positives.offsets[:-1][positives.owners]
    others = ~allowed
    scores = pair_dots(vectors[others], queries[positives.owners[others]])
    added[positives.owners[others], place[others]] = pack(scores, positives.values[others])
    return merge(keys, added, keys.shape[1] + wide)
