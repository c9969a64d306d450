"""The conditions of `[[retrieve.where]]` as they hold in a run: which documents may be candidates of which queries.

Queries that allow the same documents are one class, so that a search goes through the corpus once a class and not
once a query.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.config import WhereConfig
from hnmine.errors import InputError
from hnmine.readers.fields import order_of
from hnmine.runtime.stage import RunContext
from hnmine.search.field_values import load_values
from hnmine.search.shared_values import any_wanted, same_lists, same_rows
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards

_KEPT_BYTES = 64_000_000


@dataclass(frozen=True)
class Condition:
    """One condition over the whole run; values are numbers, ascending as the values are.

    Attributes:
        config: what must hold.
        documents: the values of each document, ascending.
        queries: the values of each query that they are compared with, ascending.
        values: how many different values there are.
    """

    config: WhereConfig
    documents: Ragged
    queries: Ragged
    values: int

    @cached_property
    def compared(self) -> Ragged:
        """Return the queries' values as far as they matter: by size, one alone."""
        if self.config.must not in ("before", "after"):
            return self.queries
        some = self.queries.lengths > 0
        # of several values any may serve, so the one that allows the most
        ends = self.queries.offsets[1:] - 1 if self.config.must == "before" else self.queries.offsets[:-1]
        return Ragged.from_lengths(self.queries.values[ends[some]], some.astype(np.int64))

    def _wanted(self, values: np.ndarray) -> np.ndarray:
        """Return which values a document may share with a query of these values."""
        numbers = np.arange(self.values)
        if self.config.must == "before":
            return np.asarray(numbers <= values.max(initial=-1))
        if self.config.must == "after":
            return np.asarray(numbers >= values.min(initial=self.values))
        return np.isin(numbers, values)

    def mask(self, query: int, first: int, last: int) -> np.ndarray:
        """Return which documents of rows [first, last) a query allows."""
        own = self.queries.values[self.queries.offsets[query] : self.queries.offsets[query + 1]]
        offsets = self.documents.offsets[first : last + 1]
        if not len(own):
            return np.full(last - first, self.config.allows_missing)
        hit = any_wanted(self.documents.values, offsets, self._wanted(own))
        return self._decide(hit, np.diff(offsets) > 0)

    def pairs(self, lists: Ragged, which: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return for each pair whether a document may serve where it is compared with a list of values.

        Args:
            lists: values, ascending in each list.
            which: int64, shape (n,): a list of each pair.
            documents: int64, shape (n,): the rows of the documents.
        """
        own = self.documents.take(documents)
        if self.config.must in ("before", "after"):
            lowest, highest = _ends(own, self.values), _ends(lists.take(which), self.values)
            hit = lowest[0] <= highest[1] if self.config.must == "before" else lowest[1] >= highest[0]
        else:
            unique, inverse = np.unique(which, return_inverse=True)
            shared = lists.take(unique).contains(inverse.reshape(-1)[own.owners], own.values)
            hit = np.bincount(own.owners[shared], minlength=len(which)) > 0
        known = (own.lengths > 0) & (lists.lengths[which] > 0)
        return self._decide(hit, known)

    def _decide(self, hit: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.where(known, hit ^ (self.config.must == "differ"), self.config.allows_missing)


def _all(flags: list[np.ndarray]) -> np.ndarray:
    return np.asarray(np.logical_and.reduce(flags))


def _ends(lists: Ragged, above: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (first, last) value of each ascending list; of an empty one (above, -1)."""
    some = lists.lengths > 0
    first, last = np.full(len(lists), above), np.full(len(lists), -1)
    first[some], last[some] = lists.values[lists.offsets[:-1][some]], lists.values[lists.offsets[1:][some] - 1]
    return first, last


@dataclass(frozen=True)
class Where:
    """All conditions of a run together.

    Attributes:
        conditions: all must hold.
        classes: int64, one a query: the same where the same documents are allowed.
        speakers: int64, one a class: a query of it.
    """

    conditions: list[Condition]
    classes: np.ndarray
    speakers: np.ndarray
    _kept: dict[tuple[int, int, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, conditions: list[Condition]) -> "Where":
        """Return the conditions with the classes of queries that they make."""
        numbers = [same_lists(one.compared.values, one.compared.offsets) for one in conditions]
        return cls(conditions, *same_rows(numbers))

    @classmethod
    def open(cls, context: RunContext, folder: Path) -> "Where | None":
        """Return the conditions of a run whose columns are read; None where there are none.

        Args:
            context: of the run.
            folder: of retrieve, where the columns lie.

        Raises:
            InputError: a column that is compared by size holds both numbers and dates.
        """
        if not context.config.retrieve.where:
            return None
        ingest = context.reading("ingest")
        documents, queries = Shards(ingest / "corpus", CORPUS).rows, Shards(ingest / "queries", QUERIES)
        positives = Ragged.from_arrow(queries.column("positive_rows"))
        made = []
        for one in context.config.retrieve.where:
            held = load_values(folder, "corpus", one.field)
            asked = load_values(folder, "queries", one.asked) if one.asked is not None else None
            names = pc.unique(pa.chunked_array([*held[1].chunks, *(asked[1].chunks if asked else [])], pa.string()))
            numbers = _numbers(names.to_pylist(), one)
            own = _lists(held, (names, numbers), documents)
            theirs = _lists(asked, (names, numbers), queries.rows) if asked else _united(own, positives)
            made.append(Condition(one, own, theirs, int(numbers.max(initial=-1)) + 1))
        return cls.of(made)

    def mask(self, number: int, first: int, last: int) -> np.ndarray:
        """Return which documents of rows [first, last) the queries of a class allow, bool."""
        key = (number, first, last)
        if key not in self._kept:
            if sum(map(len, self._kept.values())) + last - first > _KEPT_BYTES:
                self._kept.clear()
            query = int(self.speakers[number])
            self._kept[key] = _all([one.mask(query, first, last) for one in self.conditions])
        return self._kept[key]

    def allows(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return for each (row of a query, row of a document) whether the query allows it, bool."""
        return _all([one.pairs(one.queries, queries, documents) for one in self.conditions])

    def allows_or_holds(self, first: int, positives: Ragged, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the same for queries counted from row `first` on; their labelled positives are allowed too."""
        return np.asarray(self.allows(first + queries, documents) | positives.contains(queries, documents))

    def masks(self, first: int, positives: Ragged, documents: int) -> Iterator[np.ndarray]:
        """Yield which documents each query from row `first` on allows, its labelled positives too; bool."""
        for query in range(len(positives)):
            mask = self.mask(int(self.classes[first + query]), 0, documents).copy()
            mask[positives.values[positives.offsets[query] : positives.offsets[query + 1]]] = True
            yield mask

    def allows_knowing(self, queries: np.ndarray, positives: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the same where the query has one positive alone, of the given row."""
        found = [
            one.pairs(one.queries, queries, documents)
            if one.config.with_ == "query"
            else one.pairs(one.documents, positives, documents)
            for one in self.conditions
        ]
        return _all(found)


def described(where: Where, queries: int) -> dict[str, Any]:
    """Return for each condition how many queries and documents have no value, and a warning where hardly any has."""
    found, warnings = [], []
    for one in where.conditions:
        lacking, documents = (int((lists.lengths == 0).sum()) for lists in (one.queries, one.documents))
        found.append(
            {"condition": one.config.label, "queries_without_value": lacking, "documents_without_value": documents}
        )
        for side, count, total in (("query", lacking, queries), ("document", documents, len(one.documents))):
            if total and count == total:
                then = "every document is allowed" if one.config.allows_missing else "no document is allowed"
                warnings.append(f"retrieve.where: {one.config.label}: no {side} has a value there, so {then}")
    return {"where": found} | ({"warning": "; ".join(warnings)} if warnings else {})


def _numbers(names: list[str], config: WhereConfig) -> np.ndarray:
    """Return a number for each value, int64: by size where that is compared, else in any order."""
    if config.must not in ("before", "after"):
        return np.arange(len(names))
    found = {name: order_of(name) for name in names}
    example = {order[0]: name for name, order in found.items() if order is not None}
    if len(example) > 1:
        shown = " and ".join(f"{name!r} ({kind})" for kind, name in sorted(example.items()))
        raise InputError(
            f"retrieve.where: {config.label}: the columns hold numbers and dates, which cannot be compared: {shown}; "
            "write all of them as numbers, or all as ISO dates"
        )
    sizes = np.array([order[1] for order in found.values() if order is not None], dtype=np.float64)
    return np.unique(sizes, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _lists(held: tuple[np.ndarray, pa.ChunkedArray], known: tuple[pa.Array, np.ndarray], rows: int) -> Ragged:
    """Return the values of each row as numbers, ascending and once each.

    Args:
        held: rows, and a value of each.
        known: all values, and the number of each.
        rows: how many there are.
    """
    places = pc.index_in(held[1], value_set=known[0]).to_numpy().astype(np.int64)
    return _sets(held[0], known[1][places], rows)


def _united(documents: Ragged, positives: Ragged) -> Ragged:
    """Return the values of each query's positives together."""
    own = documents.take(positives.values)
    return _sets(positives.owners[own.owners], own.values, len(positives))


def _sets(rows: np.ndarray, values: np.ndarray, count: int) -> Ragged:
    span = int(values.max(initial=0)) + 1
    keys = np.unique(rows * span + values)
    return Ragged.from_lengths(keys % span, np.bincount(keys // span, minlength=count))
