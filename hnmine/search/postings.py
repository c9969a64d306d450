"""Postings: for each term the documents that have it and its score in each; their files, and exact search in them."""

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import pack, unpack
from hnmine.search.candidate_pool import Hits
from hnmine.storage.store import read_npy

Query = tuple[np.ndarray, np.ndarray]
"""The terms of a query (int64, in any order; one may occur twice), and the weight of each (float32)."""


def postings_file(table: Path, name: str) -> Path:
    """Return the file of the postings' `documents` or `scores`, beside the table of their terms."""
    return table.with_name(f"{table.stem}.{name}.npy")


class Postings:
    """Postings on disk, searched through a memory map that all workers share.

    Args:
        table: the file of the table of terms; the arrays are beside it.
        lengths: int64, shape (terms,): how many documents have each term.
        documents: number of documents of the corpus.
    """

    def __init__(self, table: Path, lengths: np.ndarray, documents: int) -> None:
        self.starts = np.concatenate([[0], np.cumsum(lengths)])
        self.rows = read_npy(postings_file(table, "documents"), "r")
        self.scores = read_npy(postings_file(table, "scores"), "r")
        self.documents = documents

    @property
    def terms(self) -> int:
        """Number of terms."""
        return len(self.starts) - 1

    def search(self, queries: Iterable[Query], wanted: np.ndarray, masks: Iterable[np.ndarray] | None = None) -> Hits:
        """Return the documents of each query that score above 0, best first, ties by document row.

        A document's score is the sum over the query's terms, in their order, of the term's weight times its score in
        the document, in float32. `wanted` is the most documents of each query (int64), `masks` which of them it may
        find (bool); None for all of them.
        """
        given = itertools.repeat(None, len(wanted)) if masks is None else masks
        parts = [self._best(query, int(k), mask) for query, k, mask in zip(queries, wanted, given, strict=True)]
        scores, rows = unpack(np.concatenate([np.zeros(0, dtype=np.uint64), *parts]))
        return Hits(Ragged.from_lengths(rows, np.array([len(part) for part in parts], dtype=np.int64)), scores)

    def _best(self, query: Query, k: int, mask: np.ndarray | None) -> np.ndarray:
        scores = self._score(*query)
        rows = np.flatnonzero(scores > 0 if mask is None else (scores > 0) & mask)
        keys = pack(scores[rows], rows)
        if len(keys) > k:
            keys = np.partition(keys, k - 1)[:k]
        return np.sort(keys)

    def _score(self, terms: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the score of every document, float32."""
        found = np.zeros(self.documents, dtype=np.float32)
        spans = [slice(*self.starts[term : term + 2]) for term in terms.tolist()]
        if spans:
            scores = [self.scores[span] * weight for span, weight in zip(spans, weights, strict=True)]
            np.add.at(found, np.concatenate([self.rows[span] for span in spans]), np.concatenate(scores))
        return found
