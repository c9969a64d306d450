"""Selection of the documents that get a vector where `embed.documents = "candidates"`, and its steps of embed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.errors import IncompleteStage
from hnmine.runtime.stage import Item, RunContext, Step, Tick, no_setup, shard_items
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.search.candidate_pool import Hits
from hnmine.search.exact import QUERY_BLOCK
from hnmine.search.metadata_filter import MetadataFilter, plan_field_values, read_field_values
from hnmine.search.sources import (
    CandidateSource,
    QueryBatch,
    build_source,
    open_sources,
    plan_sources,
    source_key_parts,
)
from hnmine.search.sparse_source import encoding_steps
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.embed import FOUND, SELECTED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards, item_key, read_table

SELECTED_FILE = "selected.parquet"
_SALT = 0x73616D70  # makes the sample independent of the background documents


@dataclass(frozen=True)
class Selection:
    """The documents that get a vector.

    Attributes:
        rows: int64, ascending.
        by_chance: bool, one a row: only in the random sample, neither found for any query nor labelled.
        documents: number of documents of the whole corpus.
    """

    rows: np.ndarray
    by_chance: np.ndarray
    documents: int

    @property
    def weight(self) -> float:
        """How many documents each one chosen by chance represents, N' / m; 0 without any.

        Given what the sources found, the m documents are a simple random sample of the N' that they did not find.
        """
        chance = int(self.by_chance.sum())
        return (self.documents - len(self.rows) + chance) / chance if chance else 0.0


def read_selection(embed: Path, documents: int) -> Selection:
    """Return the selection stored in embed's folder; `documents` is the size of the corpus."""
    table = conform(read_table(embed / SELECTED_FILE), SELECTED, f"embed/{SELECTED_FILE}")
    chance = table.column("by_chance").to_numpy()
    return Selection(table.column("row").to_numpy(), chance, documents)


def selection_parts(context: RunContext) -> dict[str, Any]:
    """Return what determines the selection, for the key of embed; nothing where all documents are embedded."""
    config = context.config
    if not config.embeds_candidates_only:
        return {}
    pairs = zip(config.retrieve.source, config.retrieve.depths, strict=True)
    parts: dict[str, Any] = {
        "sample": config.embed.sample,
        "background": config.retrieve.background,
        "seed": config.seed,
        "depths": {source.label: depth for source, depth in pairs if source.precedes_embed},
        **source_key_parts(context),
    }
    if config.retrieve.where:
        parts["where"] = [one.part() for one in config.retrieve.where]
    return {"documents": parts}


def _no_vectors(asked: QueryBatch, depth: int) -> Hits:
    raise IncompleteStage("the teacher of [embed] was asked for candidates before it has vectors")


def _setup(context: RunContext) -> tuple[Shards, list[tuple[CandidateSource, int]]]:
    """Return the queries, and the sources that precede [embed] with their depths."""
    config, embed = context.config, context.folder("embed")
    opened = open_sources(context, _no_vectors, cache_bytes(config), MetadataFilter.open(context, embed), embed)
    triples = zip(opened, config.retrieve.depths, config.retrieve.source, strict=True)
    sources = [(find, depth) for find, depth, source in triples if source.precedes_embed]
    return Shards(context.reading("ingest") / "queries", QUERIES), sources


def _plan_found(context: RunContext, key: str) -> list[Item]:
    return shard_items(Shards(context.reading("ingest") / "queries", QUERIES), context.folder("embed") / "found", key)


def _find(state: tuple[Shards, list[tuple[CandidateSource, int]]], item: Item, tick: Tick) -> pa.Table:
    """Return the documents that any source finds for any query of a shard."""
    queries, sources = state
    table = queries.read(item.number, ["text", "positive_rows"])
    found = np.zeros(0, dtype=np.int64)
    for start in range(0, table.num_rows, QUERY_BLOCK):
        part = table.slice(start, QUERY_BLOCK)
        texts = part.column("text").to_pylist()
        none = np.zeros((len(texts), 0), dtype=np.float32)
        asked = QueryBatch(
            item.first + start + np.arange(part.num_rows), texts, none, Ragged.from_arrow(part.column("positive_rows"))
        )
        lists = [find(asked, depth).rows.values for find, depth in sources]
        found = np.unique(np.concatenate([found, *lists]))
        tick(part.num_rows)
    return pa.Table.from_arrays([pa.array(found, pa.int64())], schema=FOUND)


def _plan_selected(context: RunContext, key: str) -> list[Item]:
    rows = Shards(context.reading("ingest") / "corpus", CORPUS).rows
    output = context.folder("embed") / SELECTED_FILE
    return [Item(output, rows=rows, key=item_key(key, "selected", 0, rows))]


def _select(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    """Return the rows of all documents that get a vector, using the memory of two flags a document."""
    config = context.config
    known, drawn = np.zeros(item.rows, dtype=bool), np.zeros(item.rows, dtype=bool)
    for found in Shards(context.folder("embed") / "found", FOUND):
        known[found.column("row").to_numpy()] = True
    queries = Shards(context.reading("ingest") / "queries", QUERIES)
    for number in range(len(queries)):
        for name in ("positive_rows", "negative_rows", "relevant_rows"):
            known[Ragged.from_arrow(queries.read(number, [name]).column(name)).values] = True
    drawn[sample_rows(item.rows, config.retrieve.background, config.seed)] = True
    drawn[sample_rows(item.rows, config.embed.sample, config.seed, _SALT)] = True
    rows = np.flatnonzero(known | drawn)
    tick(item.rows)
    return pa.Table.from_arrays([pa.array(rows, pa.int64()), pa.array(~known[rows])], schema=SELECTED)


def _if_partial(plan: Callable[[RunContext, str], list[Item]]) -> Callable[[RunContext, str], list[Item]]:
    """Return a plan that is empty where all documents are embedded."""
    return lambda context, key: plan(context, key) if context.config.embeds_candidates_only else []


STEPS = (
    Step("fields", "rows", _if_partial(partial(plan_field_values, stage="embed")), no_setup, read_field_values),
    *encoding_steps("embed", lambda config: config.embeds_candidates_only),
    Step("sources", "documents", _if_partial(plan_sources), no_setup, build_source),
    Step("found", "queries", _if_partial(_plan_found), _setup, _find),
    Step("select", "documents", _if_partial(_plan_selected), no_setup, _select),
)
"""The steps of embed between the teachers of sources and the teacher of [embed]."""
