"""The tables of texts beside rows of ids (`emit.format = "distillation"`): each query and document of the rows once."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import TypeVar

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config.emit import EmitConfig
from hnmine.config.tables import Config
from hnmine.runtime.stage import Item, RunContext, Tick, shard_items
from hnmine.runtime.threads import in_threads
from hnmine.stages.emit.batches.step import batches_of
from hnmine.stages.emit.chosen import read_chosen, rows_of
from hnmine.stages.emit.emitted import PAIR_COLUMNS, EmittedPairs
from hnmine.stages.emit.formats import OF_IDS, format_folders
from hnmine.stages.emit.relabel.relabelled import judged_folder
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards

PathT = TypeVar("PathT", bound=PurePath)
TEXT_TABLES = {"queries": "query_id", "documents": "document_id"}
"""The tables, each a folder beside the rows, and their column of ids. The other column is `text`."""


def text_folders(emit: PathT, config: EmitConfig) -> list[PathT]:
    """Return the folders that tables of texts are in: those of the rows of ids; none where all rows have texts."""
    return [folder for name, folder in format_folders(emit, config.formats).items() if name in OF_IDS]


@dataclass(frozen=True)
class TextState:
    """What the tables are made of.

    Attributes:
        judged: candidates that the negatives were chosen from.
        corpus, queries: of ingest.
        used: bool, one a row of the corpus: whether a row of ids names the document.
        asked: bool, one a query: likewise.
    """

    judged: Shards
    corpus: Shards
    queries: Shards
    used: np.ndarray
    asked: np.ndarray


def plan_texts(context: RunContext, key: str) -> list[Item]:
    """Return an item for each shard of queries and one for each shard of the corpus."""
    ingest, items = context.reading("ingest"), []
    for folder in text_folders(context.folder("emit"), context.config.emit):
        judged = Shards(judged_folder(context, context.folder("emit")), JUDGED)
        items += shard_items(judged, folder / "queries", key)
        items += shard_items(Shards(ingest / "corpus", CORPUS), folder / "documents", key)
    return items


def open_texts(context: RunContext) -> TextState:
    """Return the state of the step, for a run whose negatives are chosen."""
    config, ingest, emit = context.config, context.reading("ingest"), context.folder("emit")
    judged = Shards(judged_folder(context, emit), JUDGED)
    corpus, queries = Shards(ingest / "corpus", CORPUS), Shards(ingest / "queries", QUERIES)
    chosen, batches = read_chosen(emit), batches_of(config, emit)
    used, asked = np.zeros(corpus.rows, dtype=bool), np.zeros(queries.rows, dtype=bool)

    def mark(number: int) -> None:
        first, end = (int(offset) for offset in judged.offsets[number : number + 2])
        own = None if batches is None else rows_of(batches, first, end)
        rows, documents = _named(judged.read(number, [*PAIR_COLUMNS]), rows_of(chosen, first, end), own, config)
        asked[first + rows], used[documents] = True, True

    in_threads(mark, range(len(judged)))
    return TextState(judged, corpus, queries, used, asked)


def _named(
    table: pa.Table, chosen: pa.Table, batches: pa.Table | None, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Return the queries (positions in the table) and the documents (rows) of a shard's examples with negatives."""
    pairs = EmittedPairs.of(table, chosen, batches, config)
    has = pairs.lengths > 0
    positives = Ragged.from_arrow(table.column("positive_rows")).values[pairs.which[has]]
    negatives = Ragged.from_arrow(chosen.column("doc_rows")).take(np.unique(pairs.served_by[has])).values
    return pairs.owners[has], np.concatenate([positives, negatives])


def texts_of(state: TextState, item: Item, tick: Tick) -> pa.Table:
    """Return the ids and texts of the item's queries or documents that rows name, in the order of their rows."""
    name = item.output.parent.name
    shards, marked, column = (
        (state.queries, state.asked, "query_id") if name == "queries" else (state.corpus, state.used, "doc_id")
    )
    rows = item.first + np.flatnonzero(marked[item.first : item.first + item.rows])
    tick(item.rows)
    return shards.take(rows, [column, "text"]).rename_columns([TEXT_TABLES[name], "text"])
