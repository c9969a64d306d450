"""The chosen table: which candidates of all queries become negatives, and the random documents beside them."""

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config import Config
from hnmine.runtime.memory import CHOOSING_THREADS
from hnmine.runtime.stage import RunContext, Tick
from hnmine.runtime.threads import in_threads
from hnmine.stages.emit.choose import Chooser, cells_of, teacher_vectors
from hnmine.stages.emit.previous.refresh import Renewal, Staying
from hnmine.stages.emit.random_negatives import Filler
from hnmine.stages.filter.bad_positives import needs_negatives
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.inputs import slices
from hnmine.storage.schemas.emit import CHOSEN
from hnmine.storage.schemas.filter import JUDGED_CODED
from hnmine.storage.store import Shards

_CHOOSING = [
    "query_id", "query_row", "positive_rows", "doc_rows", "scores", "background_std", "anchor_scores", "verdicts",
    "judged_negatives", "positive_standing", "source_ranks",
]  # fmt: skip
"""The columns of a judged table that `choose_table` looks at."""


def choose_all(context: RunContext, tick: Tick) -> pa.Table:
    """Return which negatives are chosen for each anchor of each query; random documents come after all others."""
    shards, config = Shards(context.reading("filter"), JUDGED_CODED), context.config
    cosine = config.embed.similarity == "cosine"
    chooser = Chooser(config.emit, config.seed, vectors=teacher_vectors(context), cosine=cosine)
    first, renewal = 0, Renewal.open(context)
    if renewal is not None:
        renewal.count(chooser.used)

    def of_shard(number: int) -> list[pa.Table]:
        nonlocal first
        parts = []
        for piece in slices(shards.read(number, _CHOOSING)):
            staying = None
            if renewal is not None:
                anchors = int(Ragged.from_arrow(piece.column("anchor_scores")).lengths.sum())
                staying, first = renewal.slice(first, anchors), first + anchors
            parts.append(choose_table(piece, chooser, config, staying))
            tick(piece.num_rows)
        return parts

    # one after another where choices count for those that follow
    alone = chooser.each_alone and renewal is None
    found = in_threads(of_shard, range(len(shards)), CHOOSING_THREADS if alone else 1)
    chosen = pa.concat_tables([CHOSEN.empty_table(), *(part for parts in found for part in parts)])
    return _fill(chosen, shards, Filler.open(context, chooser.used)) if config.emit.draws_random else chosen


def _fill(chosen: pa.Table, shards: Shards, filler: Filler) -> pa.Table:
    """Return the same with random documents; only now, so that a cap serves all candidates first, whatever the shards.

    Args:
        chosen: what was chosen of all queries.
        shards: the judged candidates of all queries.
        filler: draws the random documents.
    """
    columns = ["query_id", "query_row", "doc_rows", "positive_rows", "anchor_scores", "background_mean"]
    parts, first = [CHOSEN.empty_table()], 0
    for number in range(len(shards)):
        for piece in slices(shards.read(number, columns)):
            anchors = int(Ragged.from_arrow(piece.column("anchor_scores")).lengths.sum())
            parts.append(filler.fill(piece, chosen.slice(first, anchors)))
            first += anchors
    return pa.concat_tables(parts)


def choose_table(table: pa.Table, chooser: Chooser, config: Config, staying: Staying | None = None) -> pa.Table:
    """Return the chosen negatives of a judged table, one row for each (query, anchor), beside those that stay."""
    batch = Batch.from_table(table)
    cells, keep = cells_of(table, batch)
    needed = needs_negatives(table, config)
    keep &= needed[cells.anchor]
    judged = Ragged.from_arrow(table.column("judged_negatives")).values
    owners, missing = cells.anchors.owners, None
    if staying is not None:
        keep = staying.free(batch, cells, keep)
        missing = config.emit.retrieved_negatives * needed - staying.documents.lengths
    chosen = chooser.choose(batch, cells, keep, table.column("query_id").to_pylist(), judged, wanted=missing)
    at = batch.candidates.starts[owners][chosen.owners] + chosen.values
    documents, scores = batch.candidates.values[at], batch.scores[at]
    if staying is not None:
        chosen, documents, scores = staying.join(chosen, documents, scores)
    columns = {
        "query_row": pa.array(batch.query_rows[owners]),
        "anchor": pa.array(cells.anchors.positions.astype(np.int32)),
        "wanted": pa.array(np.where(needed, config.emit.num_negatives, 0).astype(np.int32)),
        "positions": chosen.to_arrow(pa.int32()),
        "doc_rows": chosen.with_values(documents).to_arrow(pa.int64()),
        "scores": chosen.with_values(scores).to_arrow(pa.float32()),
    }
    return pa.Table.from_arrays([columns[name] for name in CHOSEN.names], schema=CHOSEN)
