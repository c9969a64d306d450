"""Searching the corpus in parts (`index.splits`): which files are made, in which order, and when they may go.

The vectors that a dense source searches are cut into parts by rows. Each part and each shard of queries give a file of
keys; a tree of merges joins them until one file a shard of queries holds the best of the whole corpus, which is what
the search of retrieve reads. A file is known by the rows it covers, so the same file serves any number of parts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from hnmine.arrays.merge_tree import Span, children, even_spans, tree_levels
from hnmine.config import Config, TeacherTable
from hnmine.config.retrieve import MOST_SPLITS
from hnmine.config.sources import teacher_table
from hnmine.errors import ConfigError
from hnmine.models.teachers import folder_of
from hnmine.runtime.stage import Item, RunContext, shard_items
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.ingest import QUERIES
from hnmine.storage.store import Shards, read_key, read_table, remove_folder
from hnmine.storage.vectors import VectorStore

FOLDER = "splits"
FAN_IN = 8
MERGES = len(tree_levels(even_spans(MOST_SPLITS, MOST_SPLITS), FAN_IN)) - 1
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


def split_searches(config: Config) -> list[SplitSearch]:
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
    depths = sum(search.depth for search in split_searches(config))
    return 8 * queries * depths * (config.index.splits + 1)


def in_parts(config: Config) -> str:
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
        searches = split_searches(context.config)
        if not searches:
            return []
        choice = read_table(context.reading("index") / "choice.parquet").to_pylist()[0]
        refuse_approximate(context.config, choice["kind"])
        queries = Shards(context.reading("ingest") / "queries", QUERIES)
        retrieve = context.folder("retrieve")
        shards = [item for item in shard_items(queries, retrieve, key) if not _is_made(item)]
        found: list[Item] = []
        for search in searches:
            rows = VectorStore(context.reading("embed") / folder_of(context.config, search.table, "corpus")).rows
            spans = even_spans(rows, context.config.index.splits)
            tree = _Tree(retrieve, key, search, tree_levels(spans, FAN_IN))
            tree.tidy(level)
            found.extend(tree.needed(level, shards))
        return found

    return plan


def remove_splits(retrieve: Path) -> None:
    """Remove what the search in parts left in retrieve's folder: all candidates are written."""
    remove_folder(retrieve / FOLDER)
