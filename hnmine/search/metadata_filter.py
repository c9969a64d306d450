"""Metadata filter: the conditions of `[[retrieve.where]]` on which documents may be candidates of which queries.

The columns that conditions compare are read once and stored in retrieve's folder. Queries that allow the same documents
are one class, so a search goes through the corpus once a class and not once a query.
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
from hnmine.config.retrieve import WhereConfig
from hnmine.errors import InputError, Problems
from hnmine.readers.metadata import order_of, read_fields, wanted_fields
from hnmine.runtime.stage import Item, RunContext, Tick
from hnmine.search.imported_run import rows_by_id
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.retrieve import FIELD_VALUES
from hnmine.storage.store import Shards, item_key, read_table

SIDES = ("corpus", "queries")
# Memory for masks, in bytes.
_CACHE_BYTES = 64_000_000
# Rows of the input whose values are converted at a time.
_ROWS = 65_536


@dataclass(frozen=True)
class FieldCondition:
    """One condition over the whole run. Values are numbered from 0 on, in the order of the values.

    Attributes:
        documents: the values of each document, ascending.
        queries: the values of each query that they are compared with, ascending.
        values: number of different values.
    """

    config: WhereConfig
    documents: Ragged
    queries: Ragged
    values: int

    @cached_property
    def compared(self) -> Ragged:
        """The values of each query that are compared: all, or the one that allows most for before and after."""
        if self.config.must not in ("before", "after"):
            return self.queries
        some = self.queries.lengths > 0
        first, last = _first_and_last(self.queries, self.values)
        return Ragged.from_lengths((last if self.config.must == "before" else first)[some], some.astype(np.int64))

    def mask(self, query: int, first: int, last: int) -> np.ndarray:
        """Return which documents of rows [first, last) a query allows, bool."""
        own = self.queries.values[self.queries.offsets[query] : self.queries.offsets[query + 1]]
        if not len(own):
            return np.full(last - first, self.config.allows_missing)
        numbers = np.arange(self.values)
        wanted = {"before": numbers <= own[-1], "after": numbers >= own[0]}.get(self.config.must)
        if wanted is None:
            wanted = np.isin(numbers, own)
        offsets = self.documents.offsets[first : last + 1]
        return self._decide(lists_with_any(self.documents.values, offsets, wanted), np.diff(offsets) > 0)

    def pairs(self, lists: Ragged, which: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return for each pair of a list of values (ascending) and a document whether the document is allowed, bool.

        `which` are the lists and `documents` the rows of the pairs, int64, shape (n,).
        """
        own = self.documents.take(documents)
        if self.config.must in ("before", "after"):
            least, most = _first_and_last(own, self.values)
            lowest, highest = _first_and_last(lists.take(which), self.values)
            hit = least <= highest if self.config.must == "before" else most >= lowest
        else:
            unique, inverse = np.unique(which, return_inverse=True)
            shared = lists.take(unique).contains(inverse[own.owners], own.values)
            hit = np.bincount(own.owners[shared], minlength=len(which)) > 0
        return self._decide(hit, (own.lengths > 0) & (lists.lengths[which] > 0))

    def _decide(self, hit: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.where(known, hit ^ (self.config.must == "differ"), self.config.allows_missing)


def _first_and_last(lists: Ragged, above: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (first, last) value of each ascending list; (above, -1) of an empty one."""
    some = lists.lengths > 0
    first, last = np.full(len(lists), above), np.full(len(lists), -1)
    first[some], last[some] = lists.values[lists.starts[some]], lists.values[lists.offsets[1:][some] - 1]
    return first, last


@dataclass(frozen=True)
class MetadataFilter:
    """All conditions of a run; a document is allowed where all of them hold.

    Attributes:
        classes: int64, one a query: equal where the same documents are allowed.
        class_representatives: int64, one a class: a query of it.
    """

    conditions: list[FieldCondition]
    classes: np.ndarray
    class_representatives: np.ndarray
    _masks: dict[tuple[int, int, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, conditions: list[FieldCondition]) -> "MetadataFilter":
        """Return the filter of some conditions, at least one."""
        return cls(conditions, *row_classes([number_lists(one.compared) for one in conditions]))

    @classmethod
    def open(cls, context: RunContext, folder: Path) -> "MetadataFilter | None":
        """Return the filter of a run whose field values are stored in `folder`; None where there are no conditions.

        Raises:
            InputError: a column that is compared by size holds both numbers and dates.
        """
        if not context.config.retrieve.where:
            return None
        ingest = context.reading("ingest")
        documents, queries = Shards(ingest / "corpus", CORPUS).rows, Shards(ingest / "queries", QUERIES)
        positives = Ragged.from_arrow(queries.column("positive_rows"))
        conditions = []
        for config in context.config.retrieve.where:
            stored = [_load_field_values(folder, "corpus", config.field)]
            if config.query_column is not None:
                stored.append(_load_field_values(folder, "queries", config.query_column))
            names = pc.unique(pa.chunked_array([chunk for _, values in stored for chunk in values.chunks], pa.string()))
            numbers = _value_numbers(names.to_pylist(), config)
            coded = [numbers[pc.index_in(values, value_set=names).to_numpy().astype(np.int64)] for _, values in stored]
            own = _value_lists(stored[0][0], coded[0], documents)
            if config.query_column is not None:
                theirs = _value_lists(stored[1][0], coded[1], queries.rows)
            else:
                of_positives = own.take(positives.values)
                theirs = _value_lists(positives.owners[of_positives.owners], of_positives.values, len(positives))
            conditions.append(FieldCondition(config, own, theirs, int(numbers.max(initial=-1)) + 1))
        return cls.of(conditions)

    def mask(self, number: int, first: int, last: int) -> np.ndarray:
        """Return which documents of rows [first, last) the queries of a class allow, bool."""
        key = (number, first, last)
        if key not in self._masks:
            if sum(map(len, self._masks.values())) + last - first > _CACHE_BYTES:
                self._masks.clear()
            query = int(self.class_representatives[number])
            self._masks[key] = np.logical_and.reduce([one.mask(query, first, last) for one in self.conditions])
        return self._masks[key]

    def masks_with_positives(self, first: int, positives: Ragged, documents: int) -> Iterator[np.ndarray]:
        """Yield which documents each query from row `first` on allows or has as a labelled positive, bool."""
        for query in range(len(positives)):
            mask = self.mask(int(self.classes[first + query]), 0, documents).copy()
            mask[positives.values[positives.offsets[query] : positives.offsets[query + 1]]] = True
            yield mask

    def allows(self, queries: np.ndarray, documents: np.ndarray, positives: np.ndarray | None = None) -> np.ndarray:
        """Return for each (row of a query, row of a document) whether the query allows it, bool.

        Where `positives` are given, each query has that document as its only labelled positive.
        """
        found = [
            one.pairs(one.queries, queries, documents)
            if positives is None or one.config.with_ == "query"
            else one.pairs(one.documents, positives, documents)
            for one in self.conditions
        ]
        return np.asarray(np.logical_and.reduce(found))


def filter_summary(where: MetadataFilter, queries: int) -> dict[str, Any]:
    """Return the queries and documents without a value by condition, and a warning where a side has none at all."""
    found, warnings = [], []
    for one in where.conditions:
        lacking, documents = (int((lists.lengths == 0).sum()) for lists in (one.queries, one.documents))
        counts = {"queries_without_value": lacking, "documents_without_value": documents}
        found.append({"condition": one.config.label, **counts})
        for side, count, total in (("query", lacking, queries), ("document", documents, len(one.documents))):
            if total and count == total:
                then = "every document is allowed" if one.config.allows_missing else "no document is allowed"
                warnings.append(f"retrieve.where: {one.config.label}: no {side} has a value there, so {then}")
    return {"where": found} | ({"warning": "; ".join(warnings)} if warnings else {})


def _value_numbers(names: list[str], config: WhereConfig) -> np.ndarray:
    """Return a number for each value, int64: by size where sizes are compared, else in any order."""
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
    return np.unique(sizes, return_inverse=True)[1].astype(np.int64)


def _value_lists(rows: np.ndarray, values: np.ndarray, count: int) -> Ragged:
    """Return the values of each of `count` rows, ascending and once each, from (row, value) pairs in any order."""
    span = int(values.max(initial=0)) + 1
    keys = np.unique(rows * span + values)
    return Ragged.from_lengths(keys % span, np.bincount(keys // span, minlength=count))


def lists_with_any(values: np.ndarray, offsets: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return for each list, values[offsets[i]:offsets[i + 1]], whether it holds a wanted value, bool, shape (rows,).

    Values are int64 in [0, len(wanted)), and `wanted` is bool, one a value. An empty list holds none.
    """
    first = int(offsets[0])
    until = np.concatenate([[0], np.cumsum(wanted[values[first : int(offsets[-1])]])])
    return np.asarray(until[offsets[1:] - first] > until[offsets[:-1] - first])


def number_lists(lists: Ragged) -> np.ndarray:
    """Return a number for each list of values >= 0, the same for equal lists and no others; int64, 0 on without gaps.

    As sets, lists must be sorted and without repeats.
    """
    numbers = np.zeros(len(lists), dtype=np.int64)
    span = int(lists.values.max(initial=0)) + 2
    for place in range(int(lists.lengths.max(initial=0))):  # a list's number so far and its next value make a new one
        long = lists.lengths > place
        there = np.full(len(lists), span - 1, dtype=np.int64)
        there[long] = lists.values[lists.starts[long] + place]
        numbers = np.unique(numbers * span + there, return_inverse=True)[1].astype(np.int64)
    return numbers


def row_classes(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return (class of each row, a row of each class), int64; rows are in one class where all columns agree.

    Columns are int64 of shape (rows,), at least one. Classes are numbered by their rows' values, ascending.
    """
    _, first, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    return inverse.reshape(-1).astype(np.int64), first.astype(np.int64)


def plan_field_values(context: RunContext, key: str, stage: str = "retrieve") -> list[Item]:
    """Return an item for each side that has columns to read, in a stage's folder; none without conditions.

    The stage is retrieve, and embed where the filter decides which documents are embedded.
    """
    if not context.config.retrieve.where:
        return []
    ingest, folder = context.reading("ingest"), context.folder(stage) / "fields"
    rows = {"corpus": Shards(ingest / "corpus", CORPUS).rows, "queries": Shards(ingest / "queries", QUERIES).rows}
    return [
        Item(folder / f"{side}.parquet", number, rows=rows[side], key=item_key(key, f"fields-{side}", 0, rows[side]))
        for number, side in enumerate(SIDES)
        if wanted_fields(context.config)[side]
    ]


def read_field_values(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    """Return the field values of one side (`SIDES[item.number]`) as a table of `schemas.FIELD_VALUES`.

    Copies of a text are one document, which has the values of all of them. Rows that ingest left out are left out.

    Raises:
        InputError: a column does not exist, or holds something other than values; all problems are named.
    """
    side, problems = SIDES[item.number], Problems()
    ids, rows = rows_by_id(context.reading("ingest"), "document" if side == "corpus" else "query")
    row_of = dict(zip(ids.to_pylist(), rows.tolist(), strict=True))
    entries = read_fields(context.config, side, problems)
    parts = [FIELD_VALUES.empty_table()]
    while part := list(itertools.islice(entries, _ROWS)):
        found = [(row_of.get(id_, -1), name, value) for id_, name, values in part for value in values]
        columns = list(zip(*found, strict=True)) or [(), (), ()]
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, FIELD_VALUES, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=FIELD_VALUES)
        parts.append(table.filter(pc.greater_equal(table.column("row"), 0)))
    problems.raise_if_any()
    tick(item.rows)
    keys = FIELD_VALUES.names
    once = pa.concat_tables(parts).group_by(keys).aggregate([]).sort_by([(name, "ascending") for name in keys])
    return conform(once, FIELD_VALUES, f"retrieve/fields/{side}")


def _load_field_values(folder: Path, side: str, name: str) -> tuple[np.ndarray, pa.ChunkedArray]:
    """Return (rows int64 ascending, values) of one field."""
    table = conform(read_table(folder / "fields" / f"{side}.parquet"), FIELD_VALUES, f"retrieve/fields/{side}")
    table = table.filter(pc.equal(table.column("field"), name))
    return table.column("row").to_numpy(), table.column("value")
