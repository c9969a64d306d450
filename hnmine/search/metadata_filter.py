"""The conditions of `[[retrieve.where]]` as they hold in a run: which documents may be candidates of which queries.

Queries that allow the same documents are one class, so that a search goes through the corpus once a class and not
once a query.
"""

import itertools
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
from hnmine.errors import InputError, Problems
from hnmine.readers.fields import order_of, read_fields, wanted_fields
from hnmine.runtime.stage import Item, RunContext, Tick
from hnmine.search.imported_run import rows_by_id
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.retrieve import FIELD_VALUES
from hnmine.storage.store import Shards, read_table

_KEPT_BYTES = 64_000_000


@dataclass(frozen=True)
class FieldCondition:
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
        ends = self.queries.offsets[1:] - 1 if self.config.must == "before" else self.queries.starts
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
        hit = lists_with_any(self.documents.values, offsets, self._wanted(own))
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
    first[some], last[some] = lists.values[lists.starts[some]], lists.values[lists.offsets[1:][some] - 1]
    return first, last


@dataclass(frozen=True)
class MetadataFilter:
    """All conditions of a run together.

    Attributes:
        conditions: all must hold.
        classes: int64, one a query: the same where the same documents are allowed.
        speakers: int64, one a class: a query of it.
    """

    conditions: list[FieldCondition]
    classes: np.ndarray
    speakers: np.ndarray
    _kept: dict[tuple[int, int, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, conditions: list[FieldCondition]) -> "MetadataFilter":
        """Return the conditions with the classes of queries that they make."""
        numbers = [number_lists(one.compared.values, one.compared.offsets) for one in conditions]
        return cls(conditions, *row_classes(numbers))

    @classmethod
    def open(cls, context: RunContext, folder: Path) -> "MetadataFilter | None":
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
            held = load_field_values(folder, "corpus", one.field)
            asked = load_field_values(folder, "queries", one.query_column) if one.query_column is not None else None
            names = pc.unique(pa.chunked_array([*held[1].chunks, *(asked[1].chunks if asked else [])], pa.string()))
            numbers = _numbers(names.to_pylist(), one)
            own = _lists(held, (names, numbers), documents)
            theirs = _lists(asked, (names, numbers), queries.rows) if asked else _united(own, positives)
            made.append(FieldCondition(one, own, theirs, int(numbers.max(initial=-1)) + 1))
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


def filter_summary(where: MetadataFilter, queries: int) -> dict[str, Any]:
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


SIDES = ("corpus", "queries")
_PART = 65_536


def field_file(folder: Path, side: str) -> Path:
    """Return where the values of documents (`side` is corpus) or queries lie in retrieve's folder."""
    return folder / "fields" / f"{side}.parquet"


def plan_field_values(context: RunContext, key: str, stage: str = "retrieve") -> list[Item]:
    """Return an item for each side that has columns to read, in a stage's folder; none where there are no conditions.

    Retrieve is the stage that needs them, and embed where the conditions say which documents are embedded.
    """
    if not context.config.retrieve.where:
        return []
    ingest, folder = context.reading("ingest"), context.folder(stage)
    rows = {"corpus": Shards(ingest / "corpus", CORPUS).rows, "queries": Shards(ingest / "queries", QUERIES).rows}
    return [
        Item(field_file(folder, side), number, rows=rows[side], key=item_key(key, f"fields-{side}", 0, rows[side]))
        for number, side in enumerate(SIDES)
        if wanted_fields(context.config)[side]
    ]


def read_field_values(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    """Return the values of one side as a table of `schemas.FIELD_VALUES`; the item's number says which.

    Copies of a text are one document, which has the values of all of them. What ingest left out is left out.

    Raises:
        InputError: a column is not there, or holds what is no value; all problems are named.
    """
    side, problems = SIDES[item.number], Problems()
    ids, rows = rows_by_id(context.reading("ingest"), "document" if side == "corpus" else "query")
    place_of = dict(zip(ids.to_pylist(), rows.tolist(), strict=True))
    held = read_fields(context.config, side, problems)
    parts = [FIELD_VALUES.empty_table()]
    while part := list(itertools.islice(held, _PART)):
        found = [(place_of.get(id_, -1), field, value) for id_, field, values in part for value in values]
        columns = list(zip(*found, strict=True)) or [(), (), ()]
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, FIELD_VALUES, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=FIELD_VALUES)
        parts.append(table.filter(pc.greater_equal(table.column("row"), 0)))
    problems.raise_if_any()
    tick(item.rows)
    keys = FIELD_VALUES.names
    once = pa.concat_tables(parts).group_by(keys).aggregate([]).sort_by([(name, "ascending") for name in keys])
    return conform(once, FIELD_VALUES, f"retrieve/fields/{side}")


def load_field_values(folder: Path, side: str, field: str) -> tuple[np.ndarray, pa.ChunkedArray]:
    """Return (rows int64 ascending, values) of one field, out of retrieve's folder."""
    table = conform(read_table(field_file(folder, side)), FIELD_VALUES, f"retrieve/fields/{side}")
    table = table.filter(pc.equal(table.column("field"), field))
    return table.column("row").to_numpy(), table.column("value")


def lists_with_any(values: np.ndarray, offsets: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Tell for each list whether it holds a wanted value: any over i in the list of wanted[values[i]].

    Args:
        values: int64, shape (total,), each in [0, len(wanted)).
        offsets: int64, shape (rows + 1,), ascending: list i is values[offsets[i]:offsets[i + 1]].
        wanted: bool, one a value there is.

    Returns:
        bool, shape (rows,); an empty list holds nothing.
    """
    first = int(offsets[0])
    until = np.concatenate([[0], np.cumsum(wanted[values[first : int(offsets[-1])]])])
    return np.asarray(until[offsets[1:] - first] > until[offsets[:-1] - first])


def number_lists(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return numbers of the lists that are equal exactly where the lists are.

    One place of the lists after another, the number so far and the value there make a new number.

    Args:
        values: int64, shape (total,), at least 0; as sets, lists must be sorted and without repeats.
        offsets: int64, shape (rows + 1,).

    Returns:
        int64, shape (rows,), from 0 on without gaps.
    """
    lengths = np.diff(offsets)
    numbers = np.zeros(len(lengths), dtype=np.int64)
    span = int(values.max(initial=0)) + 2
    for place in range(int(lengths.max(initial=0))):
        long = lengths > place
        there = np.full(len(lengths), span - 1, dtype=np.int64)
        there[long] = values[offsets[:-1][long] + place]
        numbers = np.unique(numbers * span + there, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers


def row_classes(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return (class of each row, a row of each class), int64; rows are in one class where all columns agree.

    Args:
        columns: at least one, each int64 of shape (rows,). Classes are numbered by their rows' values, ascending.
    """
    _, first, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    return inverse.reshape(-1).astype(np.int64), first.astype(np.int64)
