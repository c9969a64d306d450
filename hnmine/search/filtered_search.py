"""Searching only the documents that a query allows: what takes the place of the exact search over all of them."""

import numpy as np

from hnmine.arrays.dots import indexed_dots
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import NOTHING, merge, pack
from hnmine.search.exact import LongestVector, MatrixProducts, Proposer, as_proposal, scan_products
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.pair_scores import VectorBlocks

# From so many queries of a class on, copying the vectors of its documents costs less than going through all of them.
_TOGETHER = 16
# Queries of small classes are searched this many at a time: their scores to a whole block are held at once.
_ALONE = 64


class FilteredProposer(Proposer):
    """Proposes by matrix products over the documents that each query allows; nothing allowed can be missed.

    Args:
        corpus: vectors of all documents.
        where: the conditions.
        rows: int64, shape (queries of the search,): their rows among all queries.
        held: int64, ascending: the row of the document at each place of the corpus; None where they are the same.
    """

    def __init__(
        self, corpus: VectorBlocks, where: MetadataFilter, rows: np.ndarray, held: np.ndarray | None = None
    ) -> None:
        self.corpus, self.where, self.classes, self.held = corpus, where, where.classes[rows], held

    def _mask(self, number: int, first: int, last: int) -> np.ndarray:
        """Return which documents at places [first, last) the queries of a class allow, bool."""
        if self.held is None:
            return self.where.mask(number, first, last)
        rows = self.held[first:last]
        return np.asarray(self.where.mask(number, int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]])

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best allowed documents of each query, and the score of the last with room for rounding."""
        best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
        lengths = LongestVector()
        numbers, inverse, sizes = np.unique(self.classes[which], return_inverse=True, return_counts=True)
        inverse = inverse.reshape(-1)
        few = np.flatnonzero(sizes[inverse] < _TOGETHER)
        for block in self.corpus.blocks():
            lengths.see(block)
            span = (block.first, block.first + len(block.vectors))
            for place in np.flatnonzero(sizes >= _TOGETHER):
                own = np.flatnonzero(inverse == place)
                rows = np.flatnonzero(self._mask(int(numbers[place]), *span))
                products = MatrixProducts(block.vectors[rows], queries[own])
                best[own] = scan_products(products, rows + block.first, best[own])
            for first in range(0, len(few), _ALONE):
                own = few[first : first + _ALONE]
                masks = np.stack([self._mask(int(number), *span) for number in numbers[inverse[own]]])
                products = MatrixProducts(block.vectors, queries[own])
                best[own] = scan_products(products, np.arange(*span), best[own], masks)
        return as_proposal(best, queries, lengths.longest)


def add_positives(
    keys: np.ndarray, vectors: np.ndarray, positives: Ragged, queries: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Return the best allowed documents of each query with its labelled positives among them, allowed or not.

    Args:
        keys: uint64, shape (queries, k): as `hnmine.search.exact.search` gives them.
        vectors: float32, one for each of the positives' values.
        positives: rows of the labelled positives.
        queries: float32, shape (queries, dim).
        allowed: bool, one a positive: those are found by the search already, as far as it goes down.
    """
    wide = int(positives.lengths.max(initial=0))
    added = np.full((len(keys), wide), NOTHING, dtype=np.uint64)
    place = np.arange(len(positives.values)) - positives.offsets[:-1][positives.owners]
    others = ~allowed
    scores = indexed_dots(vectors, np.flatnonzero(others), queries, positives.owners[others])
    added[positives.owners[others], place[others]] = pack(scores, positives.values[others])
    return merge(keys, added, keys.shape[1] + wide)
