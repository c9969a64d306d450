"""Searching the corpus in parts (`index.splits`): which files are made, in which order, and when they may go.

The vectors that a dense source searches are cut into parts by rows. Each part and each shard of queries give a file of
keys; a tree of merges joins them until one file a shard of queries holds the best of the whole corpus, which is what
the search of retrieve reads. A file is known by the rows it covers, so the same file serves any number of parts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import NOTHING, merge, within
from hnmine.config import Config, TeacherTable
from hnmine.config.tables import MAX_SPLITS, teacher_table
from hnmine.errors import ConfigError
from hnmine.models.vector_folders import vector_folder
from hnmine.runtime.memory import TORCH_BYTES, cache_bytes
from hnmine.runtime.stage import Item, RunContext, Step, Tick, shard_items
from hnmine.search.byte_products import byte_budget
from hnmine.search.dense_search import StoredKeys, exact_proposer
from hnmine.search.exact import QUERY_BLOCK, Proposer, search
from hnmine.search.filtered_search import FilteredProposer
from hnmine.search.merge_tree import Span, children, even_spans, tree_levels
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.ingest import QUERIES
from hnmine.storage.schemas.retrieve import SPLIT_KEYS
from hnmine.storage.store import Shards, part_name, read_key, read_table, remove_folder, write_table
from hnmine.storage.vectors import VectorRange, VectorStore

FOLDER = "splits"
FAN_IN = 8
MERGES = len(tree_levels(even_spans(MAX_SPLITS, MAX_SPLITS), FAN_IN)) - 1
"""Levels of merges that the most parts allowed take."""


@dataclass(frozen=True)
class SplitSearch:
    """One dense source that is searched in parts.

    Attributes:
        number: its place among the sources; 0 where there are none.
        table: of its teacher.
        depth: candidates it gives a query, positives not counted.
    """

    number: int
    table: TeacherTable
    depth: int

    def folder(self, retrieve: Path, span: Span) -> Path:
        """Return where the keys of some rows of the corpus lie within retrieve's folder."""
        return retrieve / FOLDER / str(self.number) / f"{span[0]}-{span[1]}"


@dataclass(frozen=True)
class SplitItem(Item):
    """The best of some rows of the corpus for a shard of queries; `inputs` are what is merged, none for a part."""

    search: SplitSearch = SplitSearch(0, "embed", 0)
    span: Span = (0, 0)
    inputs: tuple[Path, ...] = ()


def searches_in_parts(config: Config) -> list[SplitSearch]:
    """Return the searches of retrieve that go through all vectors of a teacher; none where they are not split."""
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
    """Return about how much disk the parts take while retrieve runs: a key a candidate and part."""
    depths = sum(search.depth for search in searches_in_parts(config))
    return 8 * queries * depths * (config.index.splits + 1)


def split_note(config: Config) -> str:
    """Return how `hnmine plan` says that the corpus is searched in parts; nothing where it is not."""
    return f", in {config.index.splits} parts of the corpus" if config.index.splits > 1 else ""


def split_warnings(config: Config, kind: str) -> Iterator[str]:
    """Yield what will be refused of a config whose search is of a kind."""
    if config.index.splits > 1 and kind != "flat":
        yield f'index.splits needs exact search, and index.kind = "auto" takes {kind} here; set it to "flat"'


def refuse_approximate(config: Config, kind: str) -> None:
    """Refuse to search in parts what is searched by an approximate index over the whole.

    Raises:
        ConfigError: the index is of such a kind.
    """
    if config.index.splits > 1 and kind != "flat":
        raise ConfigError(
            f'index.splits: index.kind = "auto" takes {kind} here, an index over the whole corpus, and only exact '
            'search can be done in parts; set index.kind = "flat", or index.splits = 1'
        )


@dataclass(frozen=True)
class _Tree:
    """The files of one search: a node is some rows of the corpus, with a file for each shard of queries.

    Attributes:
        retrieve: folder of the stage.
        key: of the stage.
        search: what is split.
        levels: the spans of each level, the parts first, the whole last; places of the vectors that there are.
    """

    retrieve: Path
    key: str
    search: SplitSearch
    levels: list[list[Span]]

    @cached_property
    def below(self) -> dict[Span, list[Span]]:
        """Return what each node is merged of; the parts are of nothing."""
        pairs = pairwise(self.levels)
        return {parent: children(parent, below) for below, above in pairs for parent in above}

    def item(self, span: Span, shard: Item) -> SplitItem:
        """Return a node's file for a shard of queries."""
        output = self.search.folder(self.retrieve, span) / shard.output.name
        below = self.below.get(span, [])
        inputs = tuple(self.search.folder(self.retrieve, child) / shard.output.name for child in below)
        name = f"{FOLDER} {self.search.number} {span[0]}-{span[1]}"
        key = item_key(self.key, name, shard.first, shard.rows)
        return SplitItem(output, shard.number, shard.first, shard.rows, key, self.search, span, inputs)

    def needed(self, level: int, shards: list[Item]) -> list[SplitItem]:
        """Return the files of a level that something above is still to be made of, node by node.

        Args:
            level: from 0, the parts; none are needed above the tree.
            shards: of candidates, those that are not made.
        """
        top = len(self.levels) - 1
        if level > top:
            return []
        wanted = [self.item(self.levels[top][0], shard) for shard in shards]
        for _ in range(top - level):
            missing = [item for item in wanted if not _is_made(item)]
            wanted = [self.item(span, item) for item in missing for span in self.below[item.span]]
        return sorted(wanted, key=lambda item: (item.span, item.number))

    def tidy(self, level: int) -> None:
        """Remove what is no input of a level nor above it: it has been merged, or is of another number of parts."""
        spans = [span for known in self.levels[max(0, min(level, len(self.levels)) - 1) :] for span in known]
        kept = {self.search.folder(self.retrieve, span) for span in spans}
        folder = self.retrieve / FOLDER / str(self.search.number)
        for path in sorted(folder.glob("*")) if folder.exists() else []:
            if path not in kept:
                remove_folder(path)


def _is_made(item: Item) -> bool:
    return read_key(item.output) == item.key


def plan_level(level: int) -> Callable[[RunContext, str], list[Item]]:
    """Return the plan of one level of the tree: 0 is the search of the parts, and `MERGES` + 1 lies above every tree.

    Items come part by part, so that a worker goes through the queries with one part in memory. A plan is made when the
    level below is complete: what lies below that is removed.
    """

    def plan(context: RunContext, key: str) -> list[Item]:
        searches = searches_in_parts(context.config)
        if not searches:
            return []
        choice = read_table(context.reading("index") / "choice.parquet").to_pylist()[0]
        refuse_approximate(context.config, choice["kind"])
        queries = Shards(context.reading("ingest") / "queries", QUERIES)
        retrieve = context.folder("retrieve")
        shards = [item for item in shard_items(queries, retrieve, key) if not _is_made(item)]
        found: list[Item] = []
        for one in searches:
            rows = VectorStore(context.reading("embed") / vector_folder(context.config, one.table, "corpus")).rows
            spans = even_spans(rows, context.config.index.splits)
            tree = _Tree(retrieve, key, one, tree_levels(spans, FAN_IN))
            tree.tidy(level)
            found.extend(tree.needed(level, shards))
        return found

    return plan


def remove_splits(retrieve: Path) -> None:
    """Remove what the search in parts left in retrieve's folder: all candidates are written."""
    remove_folder(retrieve / FOLDER)


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
    part: VectorRange
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
    def where(self) -> MetadataFilter | None:
        """Return the conditions on candidates."""
        return MetadataFilter.open(self.context, self.context.folder("retrieve"))

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
        whole = VectorStore(embed / vector_folder(config, table, "corpus"))
        queries = VectorStore(embed / vector_folder(config, table, "queries"))
        room = byte_budget(config, (item.span[1] - item.span[0], queries.rows, whole.dim))
        cache = cache_bytes(config) - (0 if room is None else room + TORCH_BYTES)
        part = VectorRange(whole.shards, *item.span, max(0, cache))
        return _Part(queries, part, whole.held, exact_proposer(part, config.index.device, room))


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
            proposer = FilteredProposer(opened.part, state.where, which, opened.held)
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


def merged_searches(context: RunContext) -> dict[TeacherTable, StoredKeys]:
    """Return what was found for the queries by each teacher that searched in parts; none where none did."""
    config, found = context.config, dict[TeacherTable, StoredKeys]()
    for one in searches_in_parts(config):
        rows = VectorStore(context.reading("embed") / vector_folder(config, one.table, "corpus")).rows
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
