"""The training rows: examples with their texts, images, scores and weights, in each format, shard by shard."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.runtime.stage import Item, RunContext, Tick, row_items, shard_items
from hnmine.runtime.worker_slot import kept_texts
from hnmine.stages.emit.batches.step import batches_of
from hnmine.stages.emit.chosen import RANDOM_DOCUMENT, read_chosen, rows_of_queries
from hnmine.stages.emit.clusters import Clusters
from hnmine.stages.emit.emitted import PAIR_COLUMNS, EmittedPairs
from hnmine.stages.emit.example_scores import focal_weights, read_order
from hnmine.stages.emit.formats import FORMATS, OF_IDS, Examples, ending, format_folders, gets_rows
from hnmine.stages.emit.image_columns import SideImages, with_features
from hnmine.stages.emit.negative_columns import EmittedNegatives, filter_columns, source_labels
from hnmine.stages.emit.previous.refresh import read_previous
from hnmine.stages.emit.relabel.relabelled import (
    judged_folder,
    read_relabelled,
    source_of_positives,
)
from hnmine.stages.filter.bad_positives import weights_of_positives
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.rescore.rescored import rescore_column, rescores_of_positives, uses_rescored
from hnmine.storage.schemas.emit import RELABELLED
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.rescore import RESCORES
from hnmine.storage.store import Shards, write_table, write_text

_COLUMNS = [*PAIR_COLUMNS, "doc_rows", "ranks", "source_ranks", "probabilities", "guide_scores"]


def plan_rows(context: RunContext, key: str) -> list[Item]:
    """Return the items of each format: one for each shard of queries, or for each part of an order of their own."""
    folders = format_folders(context.folder("emit"), context.config.emit.formats).items()
    if context.config.emit.is_ordered:
        rows, most = read_order(context.folder("emit")).num_rows, context.config.shard_rows
        return [item for name, folder in folders for item in row_items(rows, most, folder, key, ending(name))]
    judged = Shards(judged_folder(context, context.folder("emit")), JUDGED)
    return [item for name, folder in folders for item in shard_items(judged, folder, key, ending(name))]


@dataclass(frozen=True)
class RowState:
    """What the rows are made of.

    Attributes:
        config: the whole config.
        judged: candidates that the negatives were chosen from.
        corpus, queries: of ingest.
        chosen: the chosen negatives.
        rescored: raw scores of the cross-encoder; None where no row has them.
        batches, previous, clusters, order: tables of other steps; None where the config has no such step.
        relabelled: further positives; empty where nothing is relabelled.
        images, query_images: of documents and queries; None where these are texts.
    """

    config: Config
    judged: Shards
    corpus: Shards
    queries: Shards
    chosen: pa.Table
    rescored: Shards | None
    batches: pa.Table | None
    previous: pa.Table | None
    relabelled: pa.Table
    clusters: Clusters | None
    order: pa.Table | None
    images: SideImages | None = None
    query_images: SideImages | None = None


def open_rows(context: RunContext) -> RowState:
    """Return the state of the step, for a run whose negatives are chosen, and batched and ordered where they are."""
    config, ingest, emit = context.config, context.reading("ingest"), context.folder("emit")
    return RowState(
        config,
        Shards(judged_folder(context, emit), JUDGED),
        Shards(ingest / "corpus", CORPUS, kept_texts(config)),
        Shards(ingest / "queries", QUERIES),
        read_chosen(emit),
        Shards(context.reading("rescore"), RESCORES) if writes_raw_scores(config) else None,
        batches_of(config, emit),
        read_previous(emit) if config.previous is not None else None,
        read_relabelled(emit) if config.emit.relabels else RELABELLED.empty_table(),
        Clusters.read(emit) if config.emit.has_clusters else None,
        read_order(emit) if config.emit.is_ordered else None,
        SideImages.of_documents(context),
        SideImages.of_queries(context),
    )


def writes_raw_scores(config: Config) -> bool:
    """Return whether rows have the cross-encoder's scores: in a column of their own, or as those to distil."""
    distilled = uses_rescored(config) and not set(OF_IDS).isdisjoint(config.emit.formats)
    return distilled or "rescore_score" in config.emit.extra_columns


def _raw_scores_of_positives(
    state: RowState, queries: np.ndarray, rows: np.ndarray, places: np.ndarray
) -> dict[str, pa.Array]:
    """Return the column `positive_rescore_score` where the cross-encoder's scores are those of the filter.

    Queries and documents are rows, `places` each document's among its query's positives.
    """
    if state.rescored is None or not uses_rescored(state.config):
        return {}
    return {"positive_rescore_score": rescores_of_positives(state.rescored, queries, rows, places)}


def training_rows_of(state: RowState, item: Item, tick: Tick) -> pa.Table:
    """Return the item's training rows in the format that its folder, or the config alone, names."""
    examples = _in_order(state, item) if state.order is not None else _of_shard(state, item)
    tick(item.rows)
    emit = state.config.emit
    added = [*(["positive_source"] if emit.relabels else []), *(["batch_id"] if state.batches is not None else [])]
    extra = list(dict.fromkeys([*emit.extra_columns, *added]))
    names = emit.formats
    rows = FORMATS[item.output.parent.name if len(names) > 1 else names[0]](examples, extra)
    return with_features(rows) if state.config.input.uses_images else rows


def _of_shard(state: RowState, item: Item) -> Examples:
    """Return the examples of a shard of queries."""
    table = state.judged.read(item.number, _COLUMNS)
    return _examples(state, table, np.arange(item.first, item.first + item.rows))[0]


def _in_order(state: RowState, item: Item) -> Examples:
    """Return the examples of a part of `emit/order`, in that order."""
    assert state.order is not None
    part = state.order.slice(item.first, item.rows)
    queries, positives = (part.column(name).to_numpy() for name in ("query_row", "positive_row"))
    rows = np.unique(queries)
    examples, of_query, of_positive = _examples(state, state.judged.take(rows, _COLUMNS), rows)
    found, wanted = (q * state.corpus.rows + p for q, p in ((of_query, of_positive), (queries, positives)))
    by_number = np.argsort(found)
    return examples.take(by_number[np.searchsorted(found, wanted, sorter=by_number)])


def _examples(state: RowState, table: pa.Table, rows: np.ndarray) -> tuple[Examples, np.ndarray, np.ndarray]:
    """Return the examples of some queries with their negatives, texts, ids and scores, and their rows.

    Args:
        state: of the step.
        table: the queries' judged candidates.
        rows: int64, ascending: the queries.

    Returns:
        the emitted (query, positive) pairs, the row of each one's query, and that of its positive.
    """
    config, emit = state.config, state.config.emit
    chosen = rows_of_queries(state.chosen, rows)
    previous = None if state.previous is None else rows_of_queries(state.previous, rows)
    batches = None if state.batches is None else rows_of_queries(state.batches, rows)
    which, owners, served_by, lengths, batch_ids = EmittedPairs.of(table, chosen, batches, config)
    positives, anchors = (Ragged.from_arrow(table.column(name)) for name in ("positive_rows", "anchor_scores"))
    of_query, of_positive = rows[owners], positives.values[which]
    negatives = EmittedNegatives.of(table, chosen, served_by)
    scores = Ragged.from_arrow(chosen.column("scores")).take(served_by)
    queries = state.queries.take(of_query, ["query_id", "text"])
    documents = state.corpus.take(of_positive, ["doc_id", "text"])
    texts = state.corpus.take(negatives.documents, ["doc_id", "text"])
    positive_scores = Ragged.from_arrow(table.column("positive_scores")).values[which]
    weights = weights_of_positives(table, config.filter.bad_positive_quantile)[which]
    known = source_of_positives(rows_of_queries(state.relabelled, rows), of_query, of_positive)
    rules = pa.array(["+".join(rule_names(config.filter)) or "none"])  # random documents have passed none
    random = negatives.positions == RANDOM_DOCUMENT
    weighted, of_negatives = {}, {}
    if "focal_weight" in emit.extra_columns:
        weighted["focal_weight"] = pa.array(focal_weights(positive_scores, scores, emit).astype(np.float32))
    if state.clusters is not None:
        written = gets_rows(emit.formats, lengths, emit.num_negatives)[scores.owners]
        weights_of = state.clusters.weights(negatives.documents, of_positive[scores.owners], written)
        of_negatives["cluster_weight"] = pa.array(weights_of.astype(np.float32))
    examples = Examples(
        wanted=config.emit.num_negatives,
        columns={
            "anchor": _contents(state.query_images, of_query, queries), "query_id": queries.column("query_id"),
            "positive": _contents(state.images, of_positive, documents), "positive_id": documents.column("doc_id"),
            "positive_score": pa.array(positive_scores),
            "anchor_score": pa.array(anchors.values[served_by]),
            "positive_weight": pc.multiply(pa.array(weights), known["positive_probability"].fill_null(1.0)),
            **known,
            **({} if batch_ids is None else {"batch_id": batch_ids}),
            **_raw_scores_of_positives(state, of_query, of_positive, positives.positions[which]),
            **weighted,
        },
        lengths=lengths,
        negatives={
            "negative": _contents(state.images, negatives.documents, texts), "negative_id": texts.column("doc_id"),
            "negative_score": pa.array(scores.values),
            "rank": pa.array(Ragged.from_arrow(table.column("ranks")).values).take(negatives.candidates),
            "rule": rules.take(pa.array(np.zeros(len(random), dtype=np.int64), mask=random)),
            "source": source_labels(table, negatives, config),
            **rescore_column(state.rescored, of_query[scores.owners], negatives.documents),
            **filter_columns(config, table, negatives, previous),
            **of_negatives,
        },
        soft_labels=config.emit.soft_labels,
    )  # fmt: skip
    return examples, of_query, of_positive


def _contents(images: SideImages | None, rows: np.ndarray, table: pa.Table) -> pa.Array:
    """Return the texts of documents or queries, given their rows, or their images, or both."""
    texts = table.column("text")
    return texts if images is None else images.column(rows, texts)


def write_rows(table: pa.Table, item: Item) -> None:
    """Write training rows as Parquet, or as lines of JSON where the item's file ends so."""
    if item.output.suffix == ".jsonl":
        write_text("".join(f"{line}\n" for line in table.column("line").to_pylist()), item.output, item.key)
    else:
        write_table(table, item.output, item.key)
