"""Exact search among the documents that each query's metadata filter allows."""

import numpy as np

from hnmine.arrays.dots import indexed_dots
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import NOTHING, merge, pack
from hnmine.search.exact import LongestVector, MatrixProducts, Proposer, as_proposal, scan_products
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.pair_scores import VectorBlocks

# Classes of at least this many queries: copying the vectors of their documents costs less than multiplying all of them.
_LARGE = 16
# Queries of smaller classes that are searched together: their scores to a whole block are held at once.
_TOGETHER = 64


class FilteredProposer(Proposer):
    """Proposes by matrix products over the documents that each query allows; nothing allowed can be missed.

    Args:
        corpus: vectors of all documents.
        where: the metadata filter.
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
        """Return the k best allowed documents of each query."""
        best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
        longest = LongestVector()
        numbers, inverse, sizes = np.unique(self.classes[which], return_inverse=True, return_counts=True)
        inverse = inverse.reshape(-1)
        small = np.flatnonzero(sizes[inverse] < _LARGE)
        for block in self.corpus.blocks():
            longest.see(block)
            span = (block.first, block.first + len(block.vectors))
            for place in np.flatnonzero(sizes >= _LARGE):
                own = np.flatnonzero(inverse == place)
                rows = np.flatnonzero(self._mask(int(numbers[place]), *span))
                products = MatrixProducts(block.vectors[rows], queries[own])
                best[own] = scan_products(products, rows + block.first, best[own])
            for first in range(0, len(small), _TOGETHER):
                own = small[first : first + _TOGETHER]
                masks = np.stack([self._mask(int(number), *span) for number in numbers[inverse[own]]])
                products = MatrixProducts(block.vectors, queries[own], masks)
                best[own] = scan_products(products, np.arange(*span), best[own])
        return as_proposal(best, queries, longest.length)


def add_positives(
    keys: np.ndarray, vectors: np.ndarray, positives: Ragged, queries: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Return each query's hits together with those labelled positives that its filter excludes.

    Args:
        keys: uint64, shape (queries, k), best first: hits among the allowed documents.
        vectors: float32, one for each of the positives' values.
        positives: places of the labelled positives in the corpus.
        queries: float32, shape (queries, dim).
        allowed: bool, one a positive: allowed ones are among the hits already, down to their depth.
    """
    wide = int(positives.lengths.max(initial=0))
    added = np.full((len(keys), wide), NOTHING, dtype=np.uint64)
    others = ~allowed
    scores = indexed_dots(vectors, np.flatnonzero(others), queries, positives.owners[others])
    added[positives.owners[others], positives.positions[others]] = pack(scores, positives.values[others])
    return merge(keys, added, keys.shape[1] + wide)
