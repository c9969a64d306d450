"""Searching one part of the corpus, merging what parts found, and reading what the last merge left."""

from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.merge_tree import Span
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import NOTHING, merge, within
from hnmine.config import TeacherTable
from hnmine.models.teachers import folder_of
from hnmine.runtime.memory import TORCH_BYTES, cache_bytes
from hnmine.runtime.stage import Item, RunContext, Step, Tick
from hnmine.search.byte_products import byte_room
from hnmine.search.exact import QUERY_BLOCK, Proposer, search
from hnmine.search.filtered_search import AllowedProposer
from hnmine.search.metadata_filter import Where
from hnmine.search.nearest import Found, exact
from hnmine.search.splits import MERGES, SplitItem, SplitSearch, plan_level, split_searches
from hnmine.storage.part_vectors import PartStore
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.ingest import QUERIES
from hnmine.storage.schemas.retrieve import SPLIT_KEYS
from hnmine.storage.store import Shards, part_name, read_table, write_table
from hnmine.storage.vectors import VectorStore


@dataclass(frozen=True)
class _Part:
    """What the search of one part of the corpus needs.

    Attributes:
        queries: vectors of all queries.
        part: vectors of some documents.
        held: the row of the document at each place of the whole store; None where they are the same.
        proposer: proposes by exact search of the part.
    """

    queries: VectorStore
    part: PartStore
    held: np.ndarray | None
    proposer: Proposer


class _Split:
    """What tasks of a worker process share: the queries' labels and conditions, and the part that it is at."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.queries = Shards(context.reading("ingest") / "queries", QUERIES)
        self._at: tuple[SplitSearch, Span] | None = None
        self._part: _Part | None = None

    @cached_property
    def where(self) -> Where | None:
        """Return the conditions on candidates."""
        return Where.open(self.context, self.context.folder("retrieve"))

    def depths(self, item: SplitItem) -> np.ndarray:
        """Return how many documents of each query matter, int64: its labelled positives take no place."""
        column = self.queries.read(item.number, ["positive_rows"]).column(0)
        return np.asarray(item.search.depth + Ragged.from_arrow(column).lengths)

    def part(self, item: SplitItem) -> _Part:
        """Return the part that an item is about; one is open at a time."""
        if self._part is None or self._at != (item.search, item.span):
            self._part = None  # before another takes its memory
            self._part, self._at = self._open(item), (item.search, item.span)
        return self._part

    def _open(self, item: SplitItem) -> _Part:
        config, embed, table = self.context.config, self.context.reading("embed"), item.search.table
        whole = VectorStore(embed / folder_of(config, table, "corpus"))
        queries = VectorStore(embed / folder_of(config, table, "queries"))
        room = byte_room(config, (item.span[1] - item.span[0], queries.rows, whole.dim))
        cache = cache_bytes(config) - (0 if room is None else room + TORCH_BYTES)
        part = PartStore(whole, *item.span, max(0, cache))
        return _Part(queries, part, whole.held, exact(part, config.index.device, room))


def _search(state: _Split, item: Item, tick: Tick) -> pa.Table:
    """Return the best documents of a part for each query of a shard."""
    assert isinstance(item, SplitItem)
    opened, depths, parts = state.part(item), state.depths(item), []
    vectors = opened.queries.span(item.first, item.first + item.rows)
    for start in range(0, item.rows, QUERY_BLOCK):
        block = slice(start, min(item.rows, start + QUERY_BLOCK))
        which = item.first + np.arange(block.start, block.stop)
        proposer = opened.proposer
        if state.where is not None:
            proposer = AllowedProposer(opened.part, state.where, which, opened.held)
        k = min(int(depths[block].max()), opened.part.rows)
        parts.append(_first(search(opened.part, vectors[block], k, proposer), depths[block]))
        tick(block.stop - block.start)
    return _table(_joined(parts))


def _merge(state: _Split, item: Item, tick: Tick) -> pa.Table:
    """Return the best documents of all inputs for each query of a shard."""
    assert isinstance(item, SplitItem)
    depths, tables = state.depths(item), (_read(path) for path in item.inputs)
    merged = reduce(lambda found, more: _merged(found, more, depths), tables)  # one is read at a time
    tick(item.rows)
    return _table(merged)


def _merged(one: Ragged, other: Ragged, depths: np.ndarray) -> Ragged:
    """Return the best of two lists for each query, down to its depth."""
    parts = []
    for start in range(0, len(one), QUERY_BLOCK):
        block = slice(start, min(len(one), start + QUERY_BLOCK))
        best = merge(_padded(one, block), _padded(other, block), int(depths[block].max()))
        parts.append(_first(best, depths[block]))
    return _joined(parts)


def _joined(parts: list[Ragged]) -> Ragged:
    """Return the lists of several blocks as one."""
    none = Ragged(np.zeros(0, dtype=np.uint64), np.zeros(1, dtype=np.int64))
    found = [none, *parts]
    return Ragged.from_lengths(np.concatenate([p.values for p in found]), np.concatenate([p.lengths for p in found]))


def _first(keys: np.ndarray, depths: np.ndarray) -> Ragged:
    """Return each query's best keys down to its depth."""
    inside = within(keys, depths)
    return Ragged.from_lengths(keys[inside], inside.sum(axis=1))


def _table(keys: Ragged) -> pa.Table:
    return pa.table([keys.to_arrow(pa.uint64())], schema=SPLIT_KEYS)


def _read(path: Path) -> Ragged:
    table = conform(read_table(path), SPLIT_KEYS, f"{path.parent.name}/{path.name}")
    return Ragged.from_arrow(table.column("keys"))


def _padded(found: Ragged, block: slice) -> np.ndarray:
    """Return the keys of some rows, uint64, shape (rows, the longest of them); `NOTHING` pads."""
    part = found.take(np.arange(block.start, block.stop))
    keys = np.full((len(part), int(part.lengths.max(initial=0))), NOTHING, dtype=np.uint64)
    keys[np.arange(keys.shape[1]) < part.lengths[:, None]] = part.values
    return keys


class _Merged:
    """The best of the whole corpus by one search, as the last merge left them."""

    def __init__(self, folder: Path, offsets: np.ndarray) -> None:
        self.folder, self.offsets = folder, offsets
        self._number, self._found = -1, Ragged(np.zeros(0, dtype=np.uint64), np.zeros(1, dtype=np.int64))

    def __call__(self, which: np.ndarray) -> np.ndarray:
        """Return the keys of consecutive queries of one shard, uint64, shape (len(which), any)."""
        number = int(np.searchsorted(self.offsets, which[0], side="right")) - 1
        if number != self._number:
            self._number, self._found = number, _read(self.folder / part_name(number))
        start = int(which[0] - self.offsets[number])
        return _padded(self._found, slice(start, start + len(which)))


def merged_searches(context: RunContext) -> dict[TeacherTable, Found]:
    """Return what was found for the queries by each teacher that searched in parts; none where none did."""
    config, found = context.config, dict[TeacherTable, Found]()
    for one in split_searches(config):
        rows = VectorStore(context.reading("embed") / folder_of(config, one.table, "corpus")).rows
        offsets = Shards(context.reading("ingest") / "queries", QUERIES).offsets
        found[one.table] = _Merged(one.folder(context.folder("retrieve"), (0, rows)), offsets)
    return found


def _write(table: pa.Table, item: Item) -> None:
    """Put keys on disk as they are: numbers that hardly repeat."""
    write_table(table, item.output, item.key, plain=True)


def _steps() -> tuple[Step, ...]:
    merges = [
        Step("merge" if level == 1 else f"merge-{level}", "queries", plan_level(level), _Split, _merge, _write)
        for level in range(1, MERGES + 1)
    ]
    return (Step("parts", "queries", plan_level(0), _Split, _search, _write), *merges)


STEPS = _steps()
"""The steps of retrieve that come before its search where `index.splits` is above 1; without items where it is 1."""
