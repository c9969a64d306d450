"""Matches the queries and documents of several mined sets, by their ids or by their texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.commands.compare.sets import MinedSet


@dataclass(frozen=True)
class Coded:
    """A mined set whose queries and documents have numbers that are the same in several sets.

    Attributes:
        mined: the set.
        queries: int64, one per query of the set.
        owners: int64, ascending: the query's number, one per (query, document).
        documents: int64: the document's number.
        at: int64: its position among the negatives of the set.
    """

    mined: MinedSet
    queries: np.ndarray
    owners: np.ndarray
    documents: np.ndarray
    at: np.ndarray

    def within(self, queries: np.ndarray) -> "Coded":
        """Return the set with only the negatives of the given queries (int64 numbers)."""
        own = np.isin(self.owners, queries)
        return Coded(self.mined, self.queries, self.owners[own], self.documents[own], self.at[own])


def by_ids(sets: Sequence[MinedSet]) -> bool:
    """Return whether sets are matched by ids: all of them are runs."""
    return all(mined.run is not None for mined in sets)


def coded(sets: Sequence[MinedSet], with_ids: bool) -> list[Coded]:
    """Return the sets with numbers that are equal for the same query and for the same document.

    Args:
        sets: mined sets.
        with_ids: whether to match by ids (all sets are runs); else by texts, without case, punctuation and spacing.
    """
    queries = _numbers([m.run.query_ids if with_ids and m.run else pa.array(m.query_keys) for m in sets])
    documents = _numbers([m.run.doc_ids if with_ids and m.run else pa.array(m.doc_keys) for m in sets])
    out = []
    for mined, own, names in zip(sets, queries, documents, strict=True):
        owners = own[mined.owners]
        span = int(names.max(initial=0)) + 1
        pairs, at = np.unique(owners * span + names, return_index=True)
        out.append(Coded(mined, own, pairs // span, pairs % span, at))
    return out


def _numbers(columns: list[pa.Array]) -> list[np.ndarray]:
    names = pc.unique(pa.chunked_array(columns))
    return [pc.index_in(column, value_set=names).to_numpy().astype(np.int64) for column in columns]


def common(left: Coded, right: Coded) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions, in each of two sets, of the (query, document) pairs that both have."""
    span = int(max(left.documents.max(initial=0), right.documents.max(initial=0))) + 1
    codes = [side.owners * span + side.documents for side in (left, right)]
    _, here, there = np.intersect1d(codes[0], codes[1], assume_unique=True, return_indices=True)
    return here, there


def shared_by_all(sets: list[Coded]) -> np.ndarray:
    """Return the numbers of the queries that every set has, int64, ascending."""
    shared = np.unique(sets[0].queries)
    for one in sets[1:]:
        shared = np.intersect1d(shared, one.queries)
    return shared


def times(sets: list[Coded]) -> list[np.ndarray]:
    """Return the number of sets that have each (query, document), one array per set."""
    span = max(int(one.documents.max(initial=0)) for one in sets) + 1
    codes = [one.owners * span + one.documents for one in sets]
    unique, counts = np.unique(np.concatenate(codes), return_counts=True)
    return [counts[np.searchsorted(unique, own)] for own in codes]
