"""Dense search: the documents that a teacher scores highest for each query, labelled positives not counted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hnmine.arrays.dots import indexed_dots
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import NOTHING, BestBounds, merge, pack, unpack
from hnmine.search.bfloat16_products import RoundedProposer
from hnmine.search.candidate_pool import Hits
from hnmine.search.exact import (
    ExactProposer,
    LongestVector,
    MatrixProducts,
    Proposer,
    TorchProposer,
    all_of,
    scan_products,
    search,
)
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.pair_scores import VectorBlocks
from hnmine.storage.vectors import VectorStore

StoredKeys = Callable[[np.ndarray], np.ndarray]
"""Returns the stored keys of some queries, given their rows (int64, consecutive)."""

# Classes of at least this many queries: copying the vectors of their documents costs less than multiplying all of them.
_LARGE = 16
# Queries of smaller classes that are searched together: their scores to a whole block are held at once.
_TOGETHER = 64


class FilteredProposer(Proposer):
    """Proposes by matrix products over the documents that each query allows; nothing allowed can be missed.

    `rows` are the rows of the search's queries among all queries (int64), `held` is as in `ExactSearch`.
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

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[Ragged, np.ndarray]:
        """Return all allowed documents that may be among the k best of each query."""
        numbers, inverse, sizes = np.unique(self.classes[which], return_inverse=True, return_counts=True)
        large = [np.flatnonzero(inverse == place) for place in np.flatnonzero(sizes >= _LARGE)]
        small = np.flatnonzero(sizes[inverse] < _LARGE)
        groups = [*large, *(small[first : first + _TOGETHER] for first in range(0, len(small), _TOGETHER))]
        best, longest = [BestBounds(len(own), k) for own in groups], LongestVector()
        for block in self.corpus.blocks():
            length, span = longest.of(block), (block.first, block.first + len(block.vectors))
            for number, own in enumerate(groups):
                kinds = numbers[inverse[own]]
                if number < len(large):
                    rows = np.flatnonzero(self._mask(int(kinds[0]), *span))
                    products = MatrixProducts(block.vectors[rows], queries[own], length)
                else:
                    rows = np.arange(len(block.vectors))
                    masks = np.stack([self._mask(int(kind), *span) for kind in kinds])
                    products = MatrixProducts(block.vectors, queries[own], length, masks)
                scan_products(products, rows + block.first, best[number])
        order = np.argsort(np.concatenate([np.zeros(0, dtype=np.int64), *groups]))
        return all_of(best).take(order), np.full(len(queries), -np.inf, dtype=np.float32)


@dataclass(frozen=True)
class ExactSearch:
    """Exact search among the documents that the metadata filter `where` allows, or all.

    Attributes:
        held: int64, ascending: the row of the document at each place of the corpus; None where they are the same.
        device: torch's device for matrix products without a filter; None for the CPU.
        rounded_room: memory for documents rounded to bfloat16, where the CPU is to multiply these; None for float32.
    """

    corpus: VectorBlocks
    where: MetadataFilter | None
    held: np.ndarray | None
    device: str | None = None
    rounded_room: int | None = None

    @cached_property
    def _unfiltered(self) -> Proposer:
        if self.device is not None:
            return TorchProposer(self.corpus, self.device)
        return (
            ExactProposer(self.corpus) if self.rounded_room is None else RoundedProposer(self.corpus, self.rounded_room)
        )

    def search(self, queries: np.ndarray, which: np.ndarray, k: int, proposer: Proposer | None = None) -> np.ndarray:
        """Return the keys of the k best allowed documents of each query, as `hnmine.search.exact.search` does.

        `which` are the queries' rows among all queries, int64, shape (q,). `proposer` is that of an approximate index,
        used where there is no filter; exact search by default.
        """
        if self.where is not None:
            proposer = FilteredProposer(self.corpus, self.where, which, self.held)
        return search(self.corpus, queries, k, proposer or self._unfiltered)


@dataclass(frozen=True)
class DenseSearch(ExactSearch):
    """Search by one teacher, exact or by an approximate index.

    `stored` are the results of a search in parts, used instead of searching: keys of each query's best allowed
    documents down to its depth, and as many more as it has positives.
    """

    corpus: VectorStore
    stored: StoredKeys | None = None

    def find(
        self, queries: np.ndarray, which: np.ndarray, positives: Ragged, depth: int, proposer: Proposer | None = None
    ) -> Hits:
        """Return the documents that score highest, up to each query's `depth`-th that is not a labelled positive.

        Labelled positives (rows of documents) are found whether the filter allows them or not. `which` and `proposer`
        are as in `search`.
        """
        at = positives.with_values(self.corpus.positions(positives.values))
        if self.stored is not None:
            keys = self.stored(which)
        else:
            k = min(depth + int(positives.lengths.max(initial=0)), self.corpus.rows)
            keys = self.search(queries, which, k, proposer)
        if self.where is not None:
            allowed = self.where.allows(which[positives.owners], positives.values)
            keys = add_positives(keys, self.corpus.gather(positives.values), at, queries, allowed)
        scores, places = unpack(keys)
        real, owner = keys != NOTHING, np.repeat(np.arange(len(keys)), keys.shape[1])
        counted = real & ~at.contains(owner, places.ravel()).reshape(keys.shape)
        taken = real & (np.cumsum(counted, axis=1) - counted < depth)
        return Hits(Ragged.from_lengths(self.corpus.row_of(places[taken]), taken.sum(axis=1)), scores[taken])


def add_positives(
    keys: np.ndarray, vectors: np.ndarray, positives: Ragged, queries: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Return each query's hits (uint64, (queries, k), best first) and the labelled positives that its filter excludes.

    Positives are places in the corpus, with a vector each (float32). Those `allowed` (bool, one each) are among the
    hits already, down to their depth.
    """
    wide, others = int(positives.lengths.max(initial=0)), ~allowed
    added = np.full((len(keys), wide), NOTHING, dtype=np.uint64)
    scores = indexed_dots(vectors, np.flatnonzero(others), queries, positives.owners[others])
    added[positives.owners[others], positives.positions[others]] = pack(scores, positives.values[others])
    return merge(keys, added, keys.shape[1] + wide)
