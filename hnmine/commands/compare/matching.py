"""Matches the queries and documents of several mined sets, by their ids or by their texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.commands.compare.sets import MinedSet
from hnmine.science.agreement import agreement, jaccard


@dataclass(frozen=True)
class MatchedSet:
    """A mined set whose queries and documents have numbers that are the same in all sets of a match.

    Attributes:
        mined: the set.
        queries: int64, one per query of the set.
        owners: int64, ascending: the query of each negative, of the queries that all sets have.
        documents: int64: the document of each.
        at: int64: its position among the negatives of the set.
        sets: int64: how many of the sets have it.
    """

    mined: MinedSet
    queries: np.ndarray
    owners: np.ndarray
    documents: np.ndarray
    at: np.ndarray
    sets: np.ndarray


@dataclass(frozen=True)
class Match:
    """Mined sets over the queries that all of them have.

    Attributes:
        by_ids: whether they are matched by ids: all of them are runs. Otherwise by texts, without case, punctuation
            and spacing.
        sets: the sets, in the order given.
        queries: int64, ascending: numbers of the queries that all sets have.
        shared: int64, one per query: negatives that all sets have.
        union: int64, likewise: negatives that any set has.
        jaccard: float64, likewise: shared / union; NaN without negatives.
    """

    by_ids: bool
    sets: list[MatchedSet]
    queries: np.ndarray
    shared: np.ndarray
    union: np.ndarray
    jaccard: np.ndarray


def match(sets: Sequence[MinedSet]) -> Match:
    """Return the match of mined sets."""
    by_ids = all(mined.run is not None for mined in sets)
    queries = _numbers([m.run.query_ids if by_ids and m.run else pa.array(m.query_keys) for m in sets])
    documents = _numbers([m.run.doc_ids if by_ids and m.run else pa.array(m.doc_keys) for m in sets])
    common = np.unique(queries[0])
    for own in queries[1:]:
        common = np.intersect1d(common, own)
    span = max(int(names.max(initial=0)) for names in documents) + 1
    pairs = []
    for mined, own, names in zip(sets, queries, documents, strict=True):
        codes, at = np.unique(own[mined.owners] * span + names, return_index=True)
        inside = np.isin(codes // span, common)
        pairs.append((codes[inside], at[inside]))
    unique, counts = np.unique(np.concatenate([codes for codes, _ in pairs]), return_counts=True)
    matched = [
        MatchedSet(mined, own, codes // span, codes % span, at, counts[np.searchsorted(unique, codes)])
        for mined, own, (codes, at) in zip(sets, queries, pairs, strict=True)
    ]
    lists = [(np.searchsorted(common, one.owners), one.documents) for one in matched]
    shared, union = agreement(lists, len(common))
    return Match(by_ids, matched, common, shared, union, jaccard(shared, union))


def _numbers(columns: list[pa.Array]) -> list[np.ndarray]:
    """Return a number for each name, the same for equal names."""
    names = pc.unique(pa.chunked_array(columns))
    return [pc.index_in(column, value_set=names).to_numpy().astype(np.int64) for column in columns]
