"""Word overlap of candidates with their query and its positives, from the hashed words that ingest stored."""

from pathlib import Path

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.text_hashes import BUCKETS
from hnmine.runtime.threads import in_threads
from hnmine.science.lexical import inverse_document_frequency, shared_weights, weighted_jaccard, word_coverage
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.ingest import CORPUS, TERMS
from hnmine.storage.store import Shards, read_table

# Queries and positives compared at a time: a table of their words then fits into the processor's cache.
_TEXTS = 64


class CorpusWords:
    """The words of a corpus and their inverse document frequency (`idf`, float, one a word).

    Up to `cache_bytes` of the documents' words are kept in memory; others are read again each time.
    """

    def __init__(self, ingest: Path, cache_bytes: int = 0) -> None:
        self.corpus = Shards(ingest / "corpus", CORPUS)
        table = conform(read_table(ingest / "terms.parquet"), TERMS, "ingest/terms.parquet")
        documents_with = np.zeros(BUCKETS, dtype=np.int64)
        documents_with[table.column("term").to_numpy()] = table.column("documents").to_numpy()
        self.idf = inverse_document_frequency(documents_with, self.corpus.rows)
        self._free_bytes = cache_bytes
        self._kept: dict[int, Ragged] = {}

    def of(self, rows: np.ndarray) -> Ragged:
        """Return the words of the given rows of the corpus (int64, ascending), ascending without repeats."""
        shard_of = np.searchsorted(self.corpus.offsets, rows, side="right") - 1
        numbers, starts = np.unique(shard_of, return_index=True)
        none = Ragged(np.zeros(0, dtype=np.int32), np.zeros(1, dtype=np.int64))
        parts = [
            self._shard(int(number)).take(own - self.corpus.offsets[number])
            for number, own in zip(numbers, np.split(rows, starts[1:]), strict=True)
        ]
        return Ragged.concatenate([none, *parts])

    def _shard(self, number: int) -> Ragged:
        if number in self._kept:
            return self._kept[number]
        words = Ragged.from_arrow(self.corpus.read(number, ["terms"]).column(0))
        size = words.values.nbytes + words.offsets.nbytes
        if size <= self._free_bytes:
            self._free_bytes -= size
            self._kept[number] = words
        return words

    def overlaps(self, queries: Ragged, candidates: Ragged, positives: Ragged) -> tuple[np.ndarray, np.ndarray]:
        """Return each candidate's word overlap with its query (given by its words) and each of the query's positives.

        Candidates and positives are rows of documents.

        Returns:
            (the share of the query's word weight that the candidate has, float32, one a candidate; weighted overlap,
            float32, candidate by candidate with each positive of its query).
        """
        unique, inverse = np.unique(np.concatenate([candidates.values, positives.values]), return_inverse=True)
        words = self.of(unique)
        split = len(candidates.values)
        own, theirs = candidates.with_values(inverse[:split]), positives.with_values(inverse[split:])
        weights = np.bincount(words.owners, weights=self.idf[words.values], minlength=len(unique))
        chunk = np.cumsum(positives.lengths + 1) // _TEXTS  # positives and their query
        parts = np.split(np.arange(len(queries)), np.flatnonzero(np.diff(chunk)) + 1) if len(queries) else []

        def compare(which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            covered, shared = self._overlaps(queries.take(which), (words, weights), own.take(which), theirs.take(which))
            return covered.astype(np.float32), shared.astype(np.float32)

        none = np.zeros(0, dtype=np.float32)
        covered, shared = zip((none, none), *in_threads(compare, parts), strict=True)
        return np.concatenate(covered), np.concatenate(shared)

    def _overlaps(
        self, queries: Ragged, documents: tuple[Ragged, np.ndarray], candidates: Ragged, positives: Ragged
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the same for some queries; candidates and positives are positions in `documents`, (words, weight)."""
        words, weights = documents
        of_positives = words.take(positives.values)
        # candidates are compared with columns of words: first the query's own, then those of each of its positives
        owner = np.concatenate([queries.owners, positives.owners[of_positives.owners]])
        place = positives.positions + 1
        column = np.concatenate([np.zeros(len(queries.values), dtype=np.int64), place[of_positives.owners]])
        wanted = np.concatenate([queries.values, of_positives.values])
        held = words.take(candidates.values)
        lists = int(positives.lengths.max(initial=0)) + 1
        shared = shared_weights((owner, column, wanted), (held.owners, held.values), candidates.owners, self.idf, lists)
        of_query = np.bincount(queries.owners, weights=self.idf[queries.values], minlength=len(queries))
        covered = word_coverage(shared[:, 0], of_query[candidates.owners])
        at = np.repeat(np.arange(len(candidates.values)), positives.lengths[candidates.owners])
        other = positives.places(candidates.owners)
        own, theirs = weights[candidates.values[at]], weights[positives.values[other]]
        return covered, weighted_jaccard(shared[at, place[other]], own, theirs)
