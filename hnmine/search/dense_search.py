"""The documents that a teacher scores highest, down to a depth that labelled positives do not count in."""

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
"""Returns the keys of what was found before for some queries, given their rows (int64, consecutive)."""


def exact_proposer(corpus: VectorBlocks, device: str | None, byte_room: int | None) -> Proposer:
    """Return what proposes by exact search.

    Args:
        corpus: vectors of documents.
        device: of torch's; None for the CPU.
        byte_room: bytes that documents rounded to bytes may take, where a CPU is to multiply those; None for floats.
    """
    if device is not None:
        return TorchProposer(corpus, device)
    return ExactProposer(corpus) if byte_room is None else ByteProposer(corpus, byte_room)


@dataclass(frozen=True)
class DenseSearch:
    """Finds the best documents of some queries, by one teacher.

    Attributes:
        corpus: vectors of documents, of all or some.
        where: the conditions on candidates; None where all documents may be candidates.
        device: where torch makes the matrix products of a search without conditions; None for the CPU.
        byte_room: bytes that documents rounded to bytes may take, where a CPU is to multiply those; None for floats.
        found: gives the best allowed documents where the corpus was searched in parts before: places for each query,
            down to its depth and as many more as it has positives.
    """

    corpus: VectorStore
    where: MetadataFilter | None
    device: str | None = None
    byte_room: int | None = None
    found: StoredKeys | None = None

    @cached_property
    def _exact(self) -> Proposer:
        return exact_proposer(self.corpus, self.device, self.byte_room)

    def find(
        self, queries: np.ndarray, which: np.ndarray, positives: Ragged, depth: int, proposer: Proposer | None = None
    ) -> Hits:
        """Return the documents that score highest, down to each query's `depth`-th that is no positive.

        Labelled positives are found whether the query allows them or not.

        Args:
            queries: float32, shape (queries, dim).
            which: int64, shape (queries,): their rows among all queries.
            positives: rows of the queries' labelled positives.
            depth: how many that are no positives.
            proposer: finds the pairs worth scoring where there are no conditions; exact search by default.
        """
        at = positives.with_values(self.corpus.positions(positives.values))
        k = min(depth + int(positives.lengths.max(initial=0)), self.corpus.rows)
        if self.where is not None:
            proposer = FilteredProposer(self.corpus, self.where, which, self.corpus.held)
        keys = self.found(which) if self.found is not None else search(self.corpus, queries, k, proposer or self._exact)
        if self.where is not None:
            allowed = self.where.allows(which[positives.owners], positives.values)
            keys = add_positives(keys, self.corpus.gather(positives.values), at, queries, allowed)
        found = _cut(keys, at, depth)
        scores, places = unpack(found.values)
        return Hits(Ragged(self.corpus.row_of(places), found.offsets), scores)


def _cut(keys: np.ndarray, positives: Ragged, top_k: int) -> Ragged:
    """Return each query's hits up to and including its `top_k`-th that is not a labelled positive."""
    _, rows = unpack(keys)
    real = keys != NOTHING
    owner = np.repeat(np.arange(len(keys)), keys.shape[1]).reshape(keys.shape)
    positive = positives.contains(owner.ravel(), rows.ravel()).reshape(keys.shape)
    others_before = np.cumsum(real & ~positive, axis=1) - (real & ~positive)
    taken = real & (others_before < top_k)
    return Ragged.from_lengths(keys[taken], taken.sum(axis=1))
