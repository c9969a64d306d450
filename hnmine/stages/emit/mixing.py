"""The table of mixtures (`emit.mixing`): which negatives of an example to mix into synthetic ones, and how."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.runtime.stage import Item, RunContext, Tick, shard_items
from hnmine.science.mixing import draw_mixtures
from hnmine.stages.emit.batches.step import batches_of
from hnmine.stages.emit.chosen import read_chosen, rows_of, text_seeds
from hnmine.stages.emit.emitted import PAIR_COLUMNS, EmittedPairs
from hnmine.stages.emit.formats import gets_rows
from hnmine.stages.emit.relabel.relabelled import judged_folder
from hnmine.storage.schemas.emit import MIXING
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards

MIXING_FOLDER = "mixing"


@dataclass(frozen=True)
class MixingState:
    """What the table is made of: judged candidates, chosen negatives, batches (None without any), queries, corpus."""

    config: Config
    judged: Shards
    chosen: pa.Table
    batches: pa.Table | None
    queries: Shards
    corpus: Shards


def plan_mixing(context: RunContext, key: str) -> list[Item]:
    """Return an item for each shard of queries; none where nothing is mixed."""
    if not context.config.emit.mixes:
        return []
    judged = Shards(judged_folder(context, context.folder("emit")), JUDGED)
    return shard_items(judged, context.folder("emit") / MIXING_FOLDER, key)


def open_mixing(context: RunContext) -> MixingState:
    """Return the state of the step, for a run whose negatives are chosen."""
    config, ingest, emit = context.config, context.reading("ingest"), context.folder("emit")
    return MixingState(
        config,
        Shards(judged_folder(context, emit), JUDGED),
        read_chosen(emit),
        batches_of(config, emit),
        Shards(ingest / "queries", QUERIES),
        Shards(ingest / "corpus", CORPUS),
    )


def mixtures_of(state: MixingState, item: Item, tick: Tick) -> pa.Table:
    """Return the mixtures of a shard's examples that get rows, by query and positive, by the schema `MIXING`."""
    config, end, emit = state.config, item.first + item.rows, state.config.emit
    table = state.judged.read(item.number, [*PAIR_COLUMNS])
    batches = None if state.batches is None else rows_of(state.batches, item.first, end)
    pairs = EmittedPairs.of(table, rows_of(state.chosen, item.first, end), batches, config)
    tick(item.rows)
    has = gets_rows(emit.formats, pairs.lengths, emit.num_negatives)
    positives = Ragged.from_arrow(table.column("positive_rows")).values[pairs.which[has]]
    queries = state.queries.take(item.first + pairs.owners[has], ["query_id"]).column(0)
    documents = state.corpus.take(positives, ["doc_id"]).column(0)
    names = zip(queries.to_pylist(), documents.to_pylist(), strict=True)
    seeds = text_seeds(f"{config.seed} mixing {query} {document}" for query, document in names)
    found = draw_mixtures(seeds, pairs.lengths[has], emit.mixing, emit.mixing_query)
    lists = Ragged.from_lengths(found.first, found.lengths)
    columns = {
        "query_id": queries,
        "positive_id": documents,
        "first": lists.to_arrow(pa.int32()),
        "second": lists.with_values(found.second).to_arrow(pa.int32()),
        "alpha": lists.with_values(found.alpha).to_arrow(pa.float32()),
    }
    return pa.table(columns, schema=MIXING)


def count_mixtures(context: RunContext) -> int:
    """Return the number of mixtures of a run whose table of them is written."""
    column = Shards(context.folder("emit") / MIXING_FOLDER, MIXING).column("second")
    return int(np.sum(Ragged.from_arrow(column).lengths))
