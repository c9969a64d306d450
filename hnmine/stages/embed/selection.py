"""Which documents get a vector where `embed.documents = "candidates"`, and what says so before any is made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.errors import IncompleteStage
from hnmine.runtime.memory import cache_bytes
from hnmine.runtime.stage import Item, RunContext, Step, Tick, shard_items
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
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.embed import FOUND, SELECTED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards, read_table

SELECTED_FILE = "selected.parquet"
# Sets the sample apart from the random documents of the background.
_SALT = 0x73616D70


@dataclass(frozen=True)
class Selection:
    """The documents that get a vector.

    Attributes:
        rows: int64, ascending.
        by_chance: bool, one a row: drawn at random, and neither found by a source for any query nor labelled.
        documents: rows of the whole corpus.
    """

    rows: np.ndarray
    by_chance: np.ndarray
    documents: int

    @property
    def weight(self) -> float:
        """Return how many documents of the corpus each of those that chance alone brought stands for.

        Given what the sources found, they are a simple random sample of all other documents: N' / m with m of N'.
        """
        chance = int(self.by_chance.sum())
        return (self.documents - len(self.rows) + chance) / chance if chance else 0.0


def read_selection(embed: Path, documents: int) -> Selection:
    """Return the selection out of embed's folder; `documents` is the size of the corpus."""
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


@dataclass(frozen=True)
class _State:
    queries: Shards
    sources: list[tuple[CandidateSource, int]]


def _nothing(asked: QueryBatch, depth: int) -> Hits:
    """Stand for the teacher of [embed], which is not asked: `precedes_embed` leaves it out.

    Raises:
        IncompleteStage: always; it has no vectors yet.
    """
    raise IncompleteStage("the teacher of [embed] was asked for candidates before it has vectors")


def _setup(context: RunContext) -> _State:
    config, embed = context.config, context.folder("embed")
    opened = open_sources(context, _nothing, cache_bytes(config), MetadataFilter.open(context, embed), embed)
    triples = zip(opened, config.retrieve.depths, config.retrieve.source, strict=True)
    cheap = [(find, depth) for find, depth, source in triples if source.precedes_embed]
    return _State(Shards(context.reading("ingest") / "queries", QUERIES), cheap)


def _plan_found(context: RunContext, key: str) -> list[Item]:
    shards = Shards(context.reading("ingest") / "queries", QUERIES)
    return shard_items(shards, context.folder("embed") / "found", key)


def _find(state: _State, item: Item, tick: Tick) -> pa.Table:
    """Return the documents that any source finds for any query of a shard."""
    table = state.queries.read(item.number, ["text", "positive_rows"])
    found = np.zeros(0, dtype=np.int64)
    for start in range(0, table.num_rows, QUERY_BLOCK):
        part = table.slice(start, QUERY_BLOCK)
        texts = part.column("text").to_pylist()
        none = np.zeros((len(texts), 0), dtype=np.float32)
        asked = QueryBatch(item.first + start, texts, none, Ragged.from_arrow(part.column("positive_rows")))
        lists = [find(asked, depth).rows.values for find, depth in state.sources]
        found = np.unique(np.concatenate([found, *lists]))
        tick(part.num_rows)
    return pa.Table.from_arrays([pa.array(found, pa.int64())], schema=FOUND)


def _plan_selected(context: RunContext, key: str) -> list[Item]:
    rows = Shards(context.reading("ingest") / "corpus", CORPUS).rows
    output = context.folder("embed") / SELECTED_FILE
    return [Item(output, rows=rows, key=item_key(key, "selected", 0, rows))]


def _select(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    """Return the rows of all documents that get a vector; in the memory of two flags a document."""
    config = context.config
    known, drawn = np.zeros(item.rows, dtype=bool), np.zeros(item.rows, dtype=bool)
    found = Shards(context.folder("embed") / "found", FOUND)
    for number in range(len(found)):
        known[found.read(number).column("row").to_numpy()] = True
    queries, labels = Shards(context.reading("ingest") / "queries", QUERIES), ("positive", "negative", "relevant")
    for name in (f"{label}_rows" for label in labels):
        for number in range(len(queries)):
            known[Ragged.from_arrow(queries.read(number, [name]).column(name)).values] = True
    drawn[sample_rows(item.rows, config.retrieve.background, config.seed)] = True
    drawn[sample_rows(item.rows, config.embed.sample, config.seed, _SALT)] = True
    rows = np.flatnonzero(known | drawn)
    tick(item.rows)
    return pa.Table.from_arrays([pa.array(rows, pa.int64()), pa.array(~known[rows])], schema=SELECTED)


def _planned(plan: Callable[[RunContext, str], list[Item]]) -> Callable[[RunContext, str], list[Item]]:
    """Return a plan that is empty where all documents are embedded."""
    return lambda context, key: plan(context, key) if context.config.embeds_candidates_only else []


def _as_it_is(context: RunContext) -> RunContext:
    return context


STEPS = (
    Step(
        "fields",
        "rows",
        _planned(lambda context, key: plan_field_values(context, key, "embed")),
        _as_it_is,
        read_field_values,
    ),
    Step("sources", "documents", _planned(plan_sources), _as_it_is, build_source),
    Step("found", "queries", _planned(_plan_found), _setup, _find),
    Step("select", "documents", _planned(_plan_selected), _as_it_is, _select),
)
"""The steps of embed that come between the teachers of sources and the teacher of [embed]."""
