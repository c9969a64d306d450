"""Exact search over parts of the corpus (`index.splits`): the parts' files, their searches and the merges.

The vectors that a dense source searches are split by rows. Each part and each shard of queries give a file of keys; a
tree of merges joins them until one file a shard of queries has the best of the whole corpus, which the search of
retrieve then reads. A file's path names the rows it covers, so it can be reused under another number of parts.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache, partial, reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import NOTHING, merge, within
from hnmine.config.models import TeacherTable
from hnmine.config.retrieve import MAX_SPLITS, teacher_table
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.models.vector_folders import vector_folder
from hnmine.runtime.stage import Item, RunContext, Step, Tick, shard_items, write_plain
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.search.bfloat16_products import bfloat16_budget
from hnmine.search.dense_search import ExactSearch, StoredKeys
from hnmine.search.exact import QUERY_BLOCK
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.ingest import QUERIES
from hnmine.storage.schemas.retrieve import SPLIT_KEYS
from hnmine.storage.store import Shards, item_key, part_name, read_key, read_table, remove_folder
from hnmine.storage.vectors import VectorRange, VectorStore

FOLDER = "splits"
FAN_IN = 8
Span = tuple[int, int]
"""Rows [first, last) of the corpus."""

_NO_KEYS = Ragged(np.zeros(0, dtype=np.uint64), np.zeros(1, dtype=np.int64))


def even_spans(rows: int, parts: int) -> list[Span]:
    """Cut rows into n consecutive spans whose sizes differ by at most one; span i begins at floor(i rows / n).

    `parts` is n, at least 1. Fewer rows than parts give one span a row; no rows give one empty span.
    """
    if parts < 1:
        raise ValueError(f"{parts} parts")
    count = max(1, min(parts, rows))
    return list(pairwise(number * rows // count for number in range(count + 1)))


def tree_levels(leaves: list[Span], fan_in: int) -> list[list[Span]]:
    """Return the spans of each level of a merge tree, from the leaves (consecutive, at least one) to the root.

    The n spans of a level are joined to ceil(n / fan_in) spans of about equally many neighbours. With a fan-in of 3 or
    more (2 is the least), every node but a leaf has at least two children, so no span occurs twice.
    """
    if not leaves or fan_in < 2:
        raise ValueError(f"{len(leaves)} leaves, fan-in {fan_in}")
    levels = [leaves]
    while len(below := levels[-1]) > 1:
        groups = even_spans(len(below), -(-len(below) // fan_in))
        levels.append([(below[first][0], below[last - 1][1]) for first, last in groups])
    return levels


def children(parent: Span, below: list[Span]) -> list[Span]:
    """Return the spans of the level below that a span is joined from, in their order."""
    return [span for span in below if parent[0] <= span[0] and span[1] <= parent[1]]


MERGES = len(tree_levels(even_spans(MAX_SPLITS, MAX_SPLITS), FAN_IN)) - 1
"""Levels of merges for the largest number of parts."""


@dataclass(frozen=True)
class SplitSearch:
    """A dense source that is searched in parts, with its depth: candidates a query, positives not counted.

    `number` is its position among the sources, 0 where there are none.
    """

    number: int
    table: TeacherTable
    depth: int

    def folder(self, retrieve: Path, span: Span) -> Path:
        """Return the folder of the keys of some rows of the corpus, in retrieve's folder."""
        return retrieve / FOLDER / str(self.number) / f"{span[0]}-{span[1]}"


@dataclass(frozen=True)
class SplitItem(Item):
    """The best of some rows of the corpus for a shard of queries; `inputs` are the files it is merged from, if any."""

    search: SplitSearch = SplitSearch(0, "embed", 0)
    span: Span = (0, 0)
    inputs: tuple[Path, ...] = ()


def searches_in_parts(config: Config) -> list[SplitSearch]:
    """Return the dense sources that are searched in parts; none where `index.splits` is 1."""
    retrieve = config.retrieve
    if config.index.splits == 1:
        return []
    if not retrieve.source:
        return [SplitSearch(0, "embed", retrieve.top_k)]
    return [
        SplitSearch(number, "embed" if source.teacher is None else teacher_table(number), depth)
        for number, (source, depth) in enumerate(zip(retrieve.source, retrieve.depths, strict=True))
        if source.kind == "dense"
    ]


def split_bytes(config: Config, queries: int) -> int:
    """Return the disk space of the parts' files in bytes: a key a candidate and part."""
    depths = sum(search.depth for search in searches_in_parts(config))
    return 8 * queries * depths * (config.index.splits + 1)


def split_problem(config: Config, kind: str) -> str | None:
    """Return why the corpus cannot be searched in parts with an index of this kind; None where it can."""
    if config.index.splits == 1 or kind == "flat":
        return None
    return (
        f'index.splits: index.kind = "auto" takes {kind} here, an index over the whole corpus, and only exact '
        'search can be done in parts; set index.kind = "flat", or index.splits = 1'
    )


@dataclass(frozen=True)
class _Tree:
    """The merge tree of one search: a node is some rows of the corpus, with a file for each shard of queries.

    `levels` are the spans of each level, from the parts to the whole, in places of the teacher's vectors; `retrieve`
    and `key` are the folder and the key of the stage.
    """

    retrieve: Path
    key: str
    search: SplitSearch
    levels: list[list[Span]]

    @cached_property
    def below(self) -> dict[Span, list[Span]]:
        """The spans that each node is merged from; parts have no entry."""
        pairs = pairwise(self.levels)
        return {parent: children(parent, below) for below, above in pairs for parent in above}

    def item(self, span: Span, shard: Item) -> SplitItem:
        """Return a node's file for a shard of queries."""
        inputs = [self.search.folder(self.retrieve, child) / shard.output.name for child in self.below.get(span, [])]
        name = f"{FOLDER} {self.search.number} {span[0]}-{span[1]}"
        return SplitItem(
            self.search.folder(self.retrieve, span) / shard.output.name, shard.number, shard.first, shard.rows,
            item_key(self.key, name, shard.first, shard.rows), self.search, span, tuple(inputs),
        )  # fmt: skip

    def needed(self, level: int, shards: list[Item]) -> list[SplitItem]:
        """Return the files of a level that are inputs of missing files above it, node by node.

        Level 0 are the parts; none are needed above the tree. `shards` are the missing shards of candidates.
        """
        top = len(self.levels) - 1
        if level > top:
            return []
        wanted = [self.item(self.levels[top][0], shard) for shard in shards]
        for _ in range(top - level):
            missing = [item for item in wanted if read_key(item.output) != item.key]
            wanted = [self.item(span, item) for item in missing for span in self.below[item.span]]
        return sorted(wanted, key=lambda item: (item.span, item.number))

    def remove_unused(self, level: int) -> None:
        """Remove files that are neither inputs of a level nor above it: merged ones, and those of other splits."""
        spans = [span for known in self.levels[max(0, min(level, len(self.levels)) - 1) :] for span in known]
        kept = {self.search.folder(self.retrieve, span) for span in spans}
        folder = self.retrieve / FOLDER / str(self.search.number)
        for path in sorted(folder.glob("*")) if folder.exists() else []:
            if path not in kept:
                remove_folder(path)


def plan_level(level: int, context: RunContext, key: str) -> list[Item]:
    """Return the items of one level of the tree: 0 is the search of the parts, and `MERGES` + 1 is above every tree.

    Items are ordered part by part, so that a worker goes through the queries with one part in memory. The level below
    must be complete when a level is planned; files below that one are removed.
    """
    searches = searches_in_parts(context.config)
    if not searches:
        return []
    choice = read_table(context.reading("index") / "choice.parquet").to_pylist()[0]
    if problem := split_problem(context.config, choice["kind"]):
        raise ConfigError(problem)
    retrieve, queries = context.folder("retrieve"), Shards(context.reading("ingest") / "queries", QUERIES)
    shards = [item for item in shard_items(queries, retrieve, key) if read_key(item.output) != item.key]
    found: list[Item] = []
    for search in searches:
        rows = VectorStore(context.reading("embed") / vector_folder(context.config, search.table, "corpus")).rows
        spans = even_spans(rows, context.config.index.splits)
        tree = _Tree(retrieve, key, search, tree_levels(spans, FAN_IN))
        tree.remove_unused(level)
        found.extend(tree.needed(level, shards))
    return found


class _State:
    """State shared by the tasks of a worker: the queries, the metadata filter and the part that is searched."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.queries = Shards(context.reading("ingest") / "queries", QUERIES)
        self._at: tuple[SplitSearch, Span] | None = None
        self._part: tuple[VectorStore, ExactSearch] | None = None

    @cached_property
    def where(self) -> MetadataFilter | None:
        return MetadataFilter.open(self.context, self.context.folder("retrieve"))

    def depths(self, item: SplitItem) -> np.ndarray:
        """Return the documents wanted of each query, int64: positives are not counted, so they come on top."""
        column = self.queries.read(item.number, ["positive_rows"]).column(0)
        return np.asarray(item.search.depth + Ragged.from_arrow(column).lengths)

    def part(self, item: SplitItem) -> tuple[VectorStore, ExactSearch]:
        """Return (vectors of all queries, search of the item's part); one part is open at a time."""
        if self._part is not None and self._at == (item.search, item.span):
            return self._part
        self._part = None  # before another takes its memory
        config, embed = self.context.config, self.context.reading("embed")
        corpus, queries = (
            VectorStore(embed / vector_folder(config, item.search.table, side)) for side in ("corpus", "queries")
        )
        room = bfloat16_budget(config, (item.span[1] - item.span[0], queries.rows, corpus.dim))
        cache = cache_bytes(config) - (room or 0)
        part = VectorRange(corpus.shards, *item.span, max(0, cache))
        self._part = queries, ExactSearch(part, self.where, corpus.held, config.index.device, room)
        self._at = (item.search, item.span)
        return self._part


def _search(state: _State, item: Item, tick: Tick) -> pa.Table:
    """Return the best documents of a part for each query of a shard."""
    assert isinstance(item, SplitItem)
    (queries, part), depths, found = state.part(item), state.depths(item), [_NO_KEYS]
    vectors = queries.span(item.first, item.first + item.rows)
    for start in range(0, item.rows, QUERY_BLOCK):
        block = slice(start, min(item.rows, start + QUERY_BLOCK))
        which = item.first + np.arange(block.start, block.stop)
        k = min(int(depths[block].max()), item.span[1] - item.span[0])
        found.append(_within(part.search(vectors[block], which, k), depths[block]))
        tick(len(which))
    return pa.table([Ragged.concatenate(found).to_arrow(pa.uint64())], schema=SPLIT_KEYS)


def _merge(state: _State, item: Item, tick: Tick) -> pa.Table:
    """Return the best documents of all inputs for each query of a shard."""
    assert isinstance(item, SplitItem)
    depths, tables = state.depths(item), (_read(path) for path in item.inputs)
    merged = reduce(lambda found, more: _merged(found, more, depths), tables)  # one is read at a time
    tick(item.rows)
    return pa.table([merged.to_arrow(pa.uint64())], schema=SPLIT_KEYS)


def _merged(one: Ragged, other: Ragged, depths: np.ndarray) -> Ragged:
    """Return the best of two lists for each query, down to its depth."""
    found = [_NO_KEYS]
    for start in range(0, len(one), QUERY_BLOCK):
        block = slice(start, min(len(one), start + QUERY_BLOCK))
        best = merge(_padded(one, block), _padded(other, block), int(depths[block].max()))
        found.append(_within(best, depths[block]))
    return Ragged.concatenate(found)


def _within(keys: np.ndarray, depths: np.ndarray) -> Ragged:
    """Return each query's best keys down to its depth."""
    inside = within(keys, depths)
    return Ragged.from_lengths(keys[inside], inside.sum(axis=1))


def _padded(found: Ragged, block: slice) -> np.ndarray:
    """Return the keys of some rows, uint64, shape (rows, the longest of them); `NOTHING` pads."""
    part = found.take(np.arange(block.start, block.stop))
    keys = np.full((len(part), int(part.lengths.max(initial=0))), NOTHING, dtype=np.uint64)
    keys[part.owners, part.positions] = part.values
    return keys


def _read(path: Path) -> Ragged:
    table = conform(read_table(path), SPLIT_KEYS, f"{path.parent.name}/{path.name}")
    return Ragged.from_arrow(table.column("keys"))


def _stored_keys(folder: Path, offsets: np.ndarray) -> StoredKeys:
    """Return the keys of one search of the whole corpus, from the files of the last merge; one is kept in memory."""
    read = lru_cache(maxsize=1)(_read)

    def find(which: np.ndarray) -> np.ndarray:  # consecutive queries of one shard
        number = int(np.searchsorted(offsets, which[0], side="right")) - 1
        start = int(which[0] - offsets[number])
        return _padded(read(folder / part_name(number)), slice(start, start + len(which)))

    return find


def merged_searches(context: RunContext) -> dict[TeacherTable, StoredKeys]:
    """Return the stored results of each teacher that searched in parts."""
    found: dict[TeacherTable, StoredKeys] = {}
    for search in searches_in_parts(context.config):
        rows = VectorStore(context.reading("embed") / vector_folder(context.config, search.table, "corpus")).rows
        offsets = Shards(context.reading("ingest") / "queries", QUERIES).offsets
        found[search.table] = _stored_keys(search.folder(context.folder("retrieve"), (0, rows)), offsets)
    return found


STEPS = tuple(
    Step(name, "queries", partial(plan_level, level), _State, _merge if level else _search, write_plain)
    for level, name in enumerate(("parts", "merge", *(f"merge-{level}" for level in range(2, MERGES + 1))))
)
"""The steps of retrieve before its search; without items where `index.splits` is 1."""
