"""The step of emit that assigns every example to a training batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.dots import dots
from hnmine.arrays.groups import rank_in_group
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.single_thread import single_thread
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext, Tick
from hnmine.science.anchors import anchor_of_positive
from hnmine.science.batch_packing import off_diagonal_mean
from hnmine.stages.emit.batches.conflicts import ConflictFinder, Examples
from hnmine.stages.emit.batches.fill import short_batches
from hnmine.stages.emit.batches.packing import clusters, drop_short, merge_short, pack, target_size
from hnmine.stages.emit.chosen import read_chosen, text_seeds
from hnmine.stages.emit.formats import gets_rows
from hnmine.stages.emit.relabel.relabelled import judged_folder
from hnmine.stages.filter.bad_positives import SUSPECT_COLUMNS, is_emitted
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import BATCHES
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.store import Shards, read_table

BATCHES_PATH = "batches/batches.parquet"


def read_batches(folder: Path) -> pa.Table:
    """Return the batch of each example from an emit folder, ordered by query row, then by positive."""
    return conform(read_table(folder / BATCHES_PATH), BATCHES, "emit/batches")


def batches_of(config: Config, folder: Path) -> pa.Table | None:
    """Return the batches of an emit folder as `read_batches` does; None where a config has none."""
    return read_batches(folder) if config.emit.batch_size is not None else None


def count_batches(table: pa.Table, size: int) -> dict[str, Any]:
    """Return counts of the batches in a table of `read_batches` for emit's manifest, and a warning if many are short.

    Counted are batches, batches with `size` examples, and examples that are left out since their batch was short.
    """
    batch, query = (table.column(name).to_numpy() for name in ("batch_id", "query_row"))
    sizes = np.bincount(batch[batch >= 0])
    warning = short_batches(sizes, np.unique(query, return_counts=True)[1], size)
    counts = {"batches": len(sizes), "batches_full": int((sizes == size).sum())}
    left_out = int((batch < 0).sum())
    return counts | ({"examples_unbatched": left_out} if left_out else {}) | ({"warning": warning} if warning else {})


def summary(context: RunContext) -> dict[str, Any]:
    """Return the report's section on batches; empty without batches."""
    size = context.config.emit.batch_size
    if size is None:
        return {}
    table = read_batches(context.reading("emit"))
    counts = count_batches(table, size)
    batched = table.filter(pc.greater_equal(table.column("batch_id"), 0))
    places, full = counts["batches"] * size, counts["batches_full"] * size
    found = {
        "count": counts["batches"],
        "full": counts["batches_full"],
        "examples": batched.num_rows,
        "fill": batched.num_rows / places if places else None,
        "examples_in_full": full,
        "examples_left_out": counts.get("examples_unbatched", 0),
        "clusters": len(pc.unique(table.column("cluster"))),
        "score": pc.mean(batched.column("score")).as_py(),
        "random_score": pc.mean(table.column("random_score")).as_py(),
        "conflicts": (pc.sum(table.column("conflicts")).as_py() or 0) // 2,
        "conflicts_within": (pc.sum(table.column("conflicts_within")).as_py() or 0) // 2,
        "same_query": batched.num_rows - batched.group_by(["batch_id", "query_row"]).aggregate([]).num_rows,
        "warning": counts.get("warning"),
    }
    return {"batches": found}


def read_examples(context: RunContext, emit: Path | None = None) -> Examples:
    """Return all (query, positive) pairs that get rows, ordered by query, then by positive.

    They are those of an emit folder; default: the run's own.
    """
    emit = emit or context.folder("emit")
    config, judged = context.config, Shards(judged_folder(context, emit), JUDGED)
    negatives = Ragged.from_arrow(read_chosen(emit).column("doc_rows"))
    parts = [(np.zeros(0, dtype=np.int64),) * 3]
    first = 0
    for number in range(len(judged)):
        table = judged.read(number, [*SUSPECT_COLUMNS, "query_row", "positive_rows", "anchor_scores"])
        positives, anchors = (Ragged.from_arrow(table.column(name)) for name in ("positive_rows", "anchor_scores"))
        which = np.flatnonzero(is_emitted(table, config))
        anchor = first + anchor_of_positive(anchors, positives)[which]
        has = gets_rows(config.emit.formats, negatives.lengths[anchor], config.emit.num_negatives)
        which, anchor = which[has], anchor[has]
        parts.append((table.column("query_row").to_numpy()[positives.owners[which]], positives.values[which], anchor))
        first += len(anchors.values)
    query, positive, anchor = (np.concatenate(found) for found in zip(*parts, strict=True))
    return Examples(query, positive, anchor, negatives.take(anchor))


def assign_batches(context: RunContext, tick: Tick) -> pa.Table:
    """Return the batch of every example, as the table `emit/batches`."""
    config, size = context.config, context.config.emit.batch_size
    examples = read_examples(context)
    if size is None or not len(examples):
        return BATCHES.empty_table()
    finder = ConflictFinder(context, np.unique(examples.query_row))
    query, document = finder.queries.at(examples.query_row), finder.documents.at(examples.positive_row)
    order, cluster = example_order(finder, config.seed, query, document), query_clusters(finder, config, size)[query]
    ordered, compared, rows = examples.take(order), 0, len(finder.statistics.positives)

    def compare(members: np.ndarray) -> np.ndarray:
        nonlocal compared
        before, compared = compared, min(compared + len(members), len(ordered))
        tick(compared * rows // len(ordered) - before * rows // len(ordered))
        return finder.conflicts(ordered.take(members))

    with single_thread():  # sums in another order would change the last bits
        found = pack(cluster[order], size, 2 * target_size(size), compare)
        inside = np.zeros(len(order), dtype=np.int64)
        if config.emit.batch_leftover == "drop":
            drop_short(found)
        elif config.emit.batch_leftover == "merge":
            inside = merge_short(found, finder.text_groups(ordered.query_row))
    batch, conflicts, within, random = (np.empty_like(order) for _ in range(4))
    batch[order], conflicts[order], within[order] = found.batch, np.maximum(found.conflicts, inside), inside
    random[order] = np.arange(len(order)) // size
    columns = {
        "query_row": examples.query_row,
        "positive_row": examples.positive_row,
        "batch_id": batch,
        "cluster": cluster,
        "score": pa.array(mean_scores(batch, finder, examples), from_pandas=True),
        "random_score": pa.array(mean_scores(random, finder, examples), from_pandas=True),
        "conflicts": conflicts,
        "conflicts_within": within,
    }
    return pa.table(columns, schema=BATCHES)


def example_order(finder: ConflictFinder, seed: int, query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Return an order of the examples that depends on seed and ids alone, not on the order of the input.

    Examples of one query, which cannot share a batch, are spread evenly over the order. Their queries and documents are
    int64 positions in `finder.queries` and `finder.documents`.
    """
    query_ids, doc_ids = finder.queries.ids, finder.documents.ids
    pairs = (f"{query_ids[q]} {doc_ids[d]}" for q, d in zip(query, document, strict=True))
    order = np.argsort(text_seeds(f"{seed} batches {pair}" for pair in pairs), kind="stable")
    first = _query_numbers(finder, seed).astype(np.float64) / 2.0**64
    share = (rank_in_group(query[order]) + first[query[order]]) / np.bincount(query)[query[order]]
    return np.asarray(order[np.argsort(share, kind="stable")])


def query_clusters(finder: ConflictFinder, config: Config, size: int) -> np.ndarray:
    """Return the cluster of each query that has an example, given the batch size."""
    order = np.argsort(_query_numbers(finder, config.seed), kind="stable")
    cluster = np.zeros_like(order)
    if config.emit.batch_by != "random":
        count = max(1, round(len(order) / target_size(size)))
        cluster[order] = clusters(finder.queries.vectors[order], count, config.seed)
    return cluster


def _query_numbers(finder: ConflictFinder, seed: int) -> np.ndarray:
    return text_seeds(f"{seed} batches {query_id}" for query_id in finder.queries.ids)


def mean_scores(batch: np.ndarray, finder: ConflictFinder, examples: Examples) -> np.ndarray:
    """Return each query's mean score to the other positives of its batch, float32; NaN in batches of one and in none.

    The batch is int64, one per example, -1 for none; vectors are the finder's.
    """
    query, document = finder.queries.at(examples.query_row), finder.documents.at(examples.positive_row)
    found = np.empty(len(batch), dtype=np.float32)
    order = np.argsort(batch, kind="stable")[int((batch < 0).sum()) :]
    for members in np.split(order, np.flatnonzero(np.diff(batch[order])) + 1):
        scores = dots(finder.queries.vectors[query[members]], finder.documents.vectors[document[members]])
        found[members] = off_diagonal_mean(scores)
    found[batch < 0] = np.nan
    return found
