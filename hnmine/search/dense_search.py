"""Dense search: the documents that a teacher scores highest for each query, labelled positives not counted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import NOTHING, unpack
from hnmine.search.byte_products import ByteProposer
from hnmine.search.candidate_pool import Hits
from hnmine.search.exact import ExactProposer, Proposer, search
from hnmine.search.filtered_search import FilteredProposer, add_positives
from hnmine.search.gpu import TorchProposer
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.pair_scores import VectorBlocks
from hnmine.storage.vectors import VectorStore

StoredKeys = Callable[[np.ndarray], np.ndarray]
"""Returns the stored keys of some queries, given their rows (int64, consecutive)."""


@dataclass(frozen=True)
class ExactSearch:
    """Exact search among the documents that the metadata filter allows.

    Attributes:
        corpus: vectors of documents.
        where: the metadata filter; None where all documents are allowed.
        held: int64, ascending: the row of the document at each place of the corpus; None where they are the same.
        device: torch's device for matrix products without a filter; None for the CPU.
        byte_room: memory for documents rounded to bytes, where the CPU is to multiply bytes; None for floats.
    """

    corpus: VectorBlocks
    where: MetadataFilter | None
    held: np.ndarray | None
    device: str | None = None
    byte_room: int | None = None

    @cached_property
    def _unfiltered(self) -> Proposer:
        if self.device is not None:
            return TorchProposer(self.corpus, self.device)
        return ExactProposer(self.corpus) if self.byte_room is None else ByteProposer(self.corpus, self.byte_room)

    def search(self, queries: np.ndarray, which: np.ndarray, k: int, proposer: Proposer | None = None) -> np.ndarray:
        """Return the keys of the k best allowed documents of each query, as `hnmine.search.exact.search` does.

        Args:
            queries: float32, shape (q, dim).
            which: int64, shape (q,): their rows among all queries.
            k: documents wanted.
            proposer: of an approximate index, used where there is no filter.
        """
        if self.where is not None:
            proposer = FilteredProposer(self.corpus, self.where, which, self.held)
        return search(self.corpus, queries, k, proposer or self._unfiltered)


@dataclass(frozen=True)
class DenseSearch(ExactSearch):
    """Search by one teacher, exact or by an approximate index.

    Attributes:
        corpus: vectors of documents, of all or some.
        stored: results of a search in parts, used instead of searching: keys of each query's best allowed documents
            down to its depth, and as many more as it has positives.
    """

    corpus: VectorStore
    stored: StoredKeys | None = None

    def find(
        self, queries: np.ndarray, which: np.ndarray, positives: Ragged, depth: int, proposer: Proposer | None = None
    ) -> Hits:
        """Return the documents that score highest, up to each query's `depth`-th that is not a labelled positive.

        Labelled positives are found whether the filter allows them or not.

        Args:
            queries: float32, shape (queries, dim).
            which: int64, shape (queries,): their rows among all queries.
            positives: rows of the queries' labelled positives.
            depth: documents wanted, positives not counted.
            proposer: of an approximate index, used where there is no filter; exact search by default.
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
        found = _cut(keys, at, depth)
        scores, places = unpack(found.values)
        return Hits(Ragged(self.corpus.row_of(places), found.offsets), scores)


def _cut(keys: np.ndarray, positives: Ragged, depth: int) -> Ragged:
    """Return each query's keys up to and including its `depth`-th that is not a labelled positive."""
    _, places = unpack(keys)
    real = keys != NOTHING
    owner = np.repeat(np.arange(len(keys)), keys.shape[1])
    counted = real & ~positives.contains(owner, places.ravel()).reshape(keys.shape)
    taken = real & (np.cumsum(counted, axis=1) - counted < depth)
    return Ragged.from_lengths(keys[taken], taken.sum(axis=1))
