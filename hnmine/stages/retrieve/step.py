"""The stage retrieve: every query's candidates, with all numbers that filters need, so that none reads vectors."""

from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, cut_shard_items, no_setup, write_lists
from hnmine.search.metadata_filter import MetadataFilter, filter_summary, plan_field_values, read_field_values
from hnmine.search.sources import write_source_names
from hnmine.search.split_search import FOLDER, MERGES, STEPS, merged_searches, plan_level
from hnmine.stages.retrieve.candidate_search import CandidateSearch
from hnmine.storage.schemas.ingest import QUERIES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards, remove_folder

PAIRS, FEWEST_QUERIES = 8_000_000, 256
"""(candidate, positive) pairs of a shard at most, unless it has no more queries: each pass over the vectors serves
those of a shard."""
_OF_OTHERS = ("source", "where", "max_top_k")
"""Settings of the table that are written otherwise into the key, or that another stage uses."""


def _parts(context: RunContext) -> dict[str, Any]:
    index, retrieve = context.config.index.semantic(), context.config.retrieve
    parts: dict[str, Any] = {
        "retrieve": {key: value for key, value in retrieve.semantic().items() if key not in _OF_OTHERS},
        "index": {key: value for key, value in index.items() if key != "kind"},
        "seed": context.config.seed,
    }
    if retrieve.source:  # in their order, which is that of the columns
        parts["sources"] = [source.part() for source in retrieve.source]
    if retrieve.where:
        parts["where"] = [one.part() for one in retrieve.where]
    return parts


def _plan(context: RunContext, key: str) -> list[Item]:
    plan_level(MERGES + 1, context, key)  # no items, but removes what has been merged
    queries, candidates = Shards(context.reading("ingest") / "queries", QUERIES), context.config.retrieve.max_candidates
    return cut_shard_items(queries, context.folder("retrieve"), key, candidates, PAIRS, FEWEST_QUERIES)


def _setup(context: RunContext) -> CandidateSearch:
    return CandidateSearch.open(context, context.folder("retrieve"), merged_searches(context))


def _process(search: CandidateSearch, item: Item, tick: Tick) -> pa.Table:
    number = int(np.searchsorted(search.queries.offsets, item.first, side="right")) - 1
    table = search.queries.read(number).slice(item.first - int(search.queries.offsets[number]), item.rows)
    # by row and not by shard: vectors may have been made under another shard size than the queries now have
    return search.find(table, np.arange(item.first, item.first + item.rows), tick=tick)


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    folder, retrieve = context.folder("retrieve"), context.config.retrieve
    shards = Shards(folder, CANDIDATES)
    read = (shards.read(number, ["doc_rows"]).column(0) for number in range(len(shards)))
    lengths = np.concatenate([Ragged.from_arrow(column).lengths for column in read])
    write_source_names(context.config, folder, key)
    remove_folder(folder / FOLDER)  # all candidates are written
    short = int((lengths < min(retrieve.top_k, retrieve.max_candidates)).sum())
    counts = {"queries": shards.rows, "candidates": int(lengths.sum()), "queries_with_fewer_than_top_k": short}
    where = MetadataFilter.open(context, folder)
    return counts if where is None else counts | filter_summary(where, shards.rows)


STAGE = Stage(
    name="retrieve",
    version=8,
    reads=("ingest.corpus", "ingest.queries", "embed", "index"),
    parts=_parts,
    steps=(
        Step("fields", "rows", plan_field_values, no_setup, read_field_values),
        *STEPS,
        Step("search", "queries", _plan, _setup, _process, write_lists),
    ),
    finish=_finish,
)
