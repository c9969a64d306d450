"""The stage emit: chooses negatives over all queries, then writes the training files shard by shard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, no_setup, row_items, shard_items, write_lists
from hnmine.runtime.worker_slot import kept_texts
from hnmine.stages.emit.batches.step import BATCHES_PATH, assign_batches, batches_of, count_batches, read_batches
from hnmine.stages.emit.card import write_card
from hnmine.stages.emit.choose import choose_all
from hnmine.stages.emit.chosen import CHOSEN_PATH, RANDOM_DOCUMENT, read_chosen, rows_of_queries
from hnmine.stages.emit.clusters import CLUSTERS_PATH, Clusters, cluster_documents
from hnmine.stages.emit.emitted import PAIR_COLUMNS, EmittedPairs
from hnmine.stages.emit.example_scores import ORDER_PATH, focal_weights, order_examples, read_order
from hnmine.stages.emit.formats import FORMATS, OF_IDS, Examples, ending, format_folders, gets_rows
from hnmine.stages.emit.image_columns import SideImages, with_features
from hnmine.stages.emit.mixing import count_mixtures, mixtures_of, open_mixing, plan_mixing
from hnmine.stages.emit.negative_columns import EmittedNegatives, filter_columns, source_labels
from hnmine.stages.emit.previous.previous_run import PREVIOUS_PATH, find_previous
from hnmine.stages.emit.previous.refresh import read_previous, refresh_all
from hnmine.stages.emit.random_negatives import count_random
from hnmine.stages.emit.relabel.judging import judge_again, open_judging, plan_judging
from hnmine.stages.emit.relabel.relabelled import (
    RELABELLED_PATH,
    count_relabelled,
    judged_folder,
    read_relabelled,
    relabel_all,
    source_of_positives,
)
from hnmine.stages.emit.text_tables import TEXT_TABLES, open_texts, plan_texts, text_folders, texts_of
from hnmine.stages.filter.bad_positives import count_treated, weights_of_positives
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.rescore.rescored import reads_rescored, rescore_column, rescores_of_positives, uses_rescored
from hnmine.storage.schemas.emit import RELABELLED
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.rescore import RESCORES
from hnmine.storage.store import Shards, count_rows, item_key, write_table, write_text

_WRITE_COLUMNS = [*PAIR_COLUMNS, "doc_rows", "ranks", "source_ranks", "probabilities", "guide_scores"]


def _one_item(
    step: str, path: str, process: Callable[[RunContext, Tick], pa.Table], applies: Callable[[Config], bool]
) -> Step:
    """Return a step that writes one file for all queries, if `applies` is true of the config."""

    def plan(context: RunContext, key: str) -> list[Item]:
        if not applies(context.config):
            return []
        rows = Shards(context.reading("filter"), JUDGED).rows
        return [Item(context.folder("emit") / path, rows=rows, key=item_key(key, step, 0, rows))]

    return Step(step, "queries", plan, no_setup, lambda context, item, tick: process(context, tick))


def _clusters(config: Config) -> bool:
    return "cluster_weight" in config.emit.extra_columns


def _orders(config: Config) -> bool:
    return config.emit.order != "by_query"


def _plan_write(context: RunContext, key: str) -> list[Item]:
    folders = format_folders(context.folder("emit"), context.config.emit.formats).items()
    if _orders(context.config):
        rows, most = read_order(context.folder("emit")).num_rows, context.config.shard_rows
        return [item for name, folder in folders for item in row_items(rows, most, folder, key, ending(name))]
    judged = Shards(judged_folder(context, context.folder("emit")), JUDGED)
    return [item for name, folder in folders for item in shard_items(judged, folder, key, ending(name))]


@dataclass(frozen=True)
class _WriteState:
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


def _setup_write(context: RunContext) -> _WriteState:
    config, ingest, emit = context.config, context.reading("ingest"), context.folder("emit")
    return _WriteState(
        config,
        Shards(judged_folder(context, emit), JUDGED),
        Shards(ingest / "corpus", CORPUS, kept_texts(config)),
        Shards(ingest / "queries", QUERIES),
        read_chosen(emit),
        Shards(context.reading("rescore"), RESCORES) if _writes_raw_scores(config) else None,
        batches_of(config, emit),
        read_previous(emit) if config.previous is not None else None,
        read_relabelled(emit) if config.emit.relabels else RELABELLED.empty_table(),
        Clusters.read(emit) if _clusters(config) else None,
        read_order(emit) if _orders(config) else None,
        SideImages.of_documents(context),
        SideImages.of_queries(context),
    )


def _writes_raw_scores(config: Config) -> bool:
    """Return whether rows have the cross-encoder's scores: in a column of their own, or as those to distil."""
    distilled = uses_rescored(config) and not set(OF_IDS).isdisjoint(config.emit.formats)
    return distilled or "rescore_score" in config.emit.extra_columns


def _raw_scores_of_positives(
    state: _WriteState, queries: np.ndarray, rows: np.ndarray, places: np.ndarray
) -> dict[str, pa.Array]:
    """Return the column `positive_rescore_score` where the cross-encoder's scores are those of the filter.

    Queries and documents are rows, `places` each document's among its query's positives.
    """
    if state.rescored is None or not uses_rescored(state.config):
        return {}
    return {"positive_rescore_score": rescores_of_positives(state.rescored, queries, rows, places)}


def _process_write(state: _WriteState, item: Item, tick: Tick) -> pa.Table:
    examples = _in_order(state, item) if state.order is not None else _of_shard(state, item)
    tick(item.rows)
    emit = state.config.emit
    added = [*(["positive_source"] if emit.relabels else []), *(["batch_id"] if state.batches is not None else [])]
    extra = list(dict.fromkeys([*emit.extra_columns, *added]))
    names = emit.formats
    rows = FORMATS[item.output.parent.name if len(names) > 1 else names[0]](examples, extra)
    return with_features(rows) if state.config.input.uses_images else rows


def _of_shard(state: _WriteState, item: Item) -> Examples:
    """Return the examples of a shard of queries."""
    table = state.judged.read(item.number, _WRITE_COLUMNS)
    return _examples(state, table, np.arange(item.first, item.first + item.rows))[0]


def _in_order(state: _WriteState, item: Item) -> Examples:
    """Return the examples of a part of `emit/order`, in that order."""
    assert state.order is not None
    part = state.order.slice(item.first, item.rows)
    queries, positives = (part.column(name).to_numpy() for name in ("query_row", "positive_row"))
    rows = np.unique(queries)
    examples, of_query, of_positive = _examples(state, state.judged.take(rows, _WRITE_COLUMNS), rows)
    found, wanted = (q * state.corpus.rows + p for q, p in ((of_query, of_positive), (queries, positives)))
    by_number = np.argsort(found)
    return examples.take(by_number[np.searchsorted(found, wanted, sorter=by_number)])


def _examples(state: _WriteState, table: pa.Table, rows: np.ndarray) -> tuple[Examples, np.ndarray, np.ndarray]:
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


def _write(table: pa.Table, item: Item) -> None:
    if item.output.suffix == ".jsonl":
        write_text("".join(f"{line}\n" for line in table.column("line").to_pylist()), item.output, item.key)
    else:
        write_table(table, item.output, item.key)


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    config, emit, batch_size = context.config, context.folder("emit"), context.config.emit.batch_size
    chosen = read_chosen(emit)
    chosen = chosen.filter(pc.greater(chosen.column("wanted"), 0))
    lengths = Ragged.from_arrow(chosen.column("positions")).lengths
    wanted, queries = (chosen.column(name).to_numpy() for name in ("wanted", "query_row"))
    previous = read_previous(emit).column("stays") if config.previous is not None else None
    folders = format_folders(emit, config.emit.formats)
    rows = {name: sum(map(_count_rows, folder.glob("part-*"))) for name, folder in folders.items()}
    counts = {
        "rows": sum(rows.values()),
        "examples": len(lengths),
        "examples_full": int((lengths == wanted).sum()),
        "examples_short": int(((lengths > 0) & (lengths < wanted)).sum()),
        "examples_without_negatives": int((lengths == 0).sum()),
        "queries_with_negatives": len(np.unique(queries[lengths > 0])),
        "negatives": int(lengths.sum()),
        "negatives_wanted": int(wanted.sum()),
        **count_random(chosen, config),
        **({} if previous is None else {"negatives_previous": pc.sum(pc.list_flatten(previous)).as_py() or 0}),
        **count_treated(Shards(judged_folder(context, emit), JUDGED), config),
        **(count_relabelled(read_relabelled(emit)) if config.emit.relabels else {}),
        **({"formats": _count_formats(rows, lengths, config)} if len(rows) > 1 else {}),
        **(count_batches(read_batches(emit), batch_size) if batch_size is not None else {}),
        **({"mixtures": count_mixtures(context)} if config.emit.mixes else {}),
        **({"texts": _count_texts(emit, config)} if text_folders(emit, config.emit) else {}),
    }
    write_card(context, counts)
    return counts


def _count_formats(rows: Mapping[str, int], lengths: np.ndarray, config: Config) -> dict[str, dict[str, int]]:
    """Return the rows of each of several formats, and the examples with negatives that get none in it.

    Negatives of each anchor are given by `lengths`, int64.
    """
    left_out = {
        name: int(((lengths > 0) & ~gets_rows([name], lengths, config.emit.num_negatives)).sum()) for name in rows
    }
    return {name: {"rows": count, "examples_left_out": left_out[name]} for name, count in rows.items()}


def _count_texts(emit: Path, config: Config) -> dict[str, int]:
    """Return the rows of each table of texts."""
    (folder,) = text_folders(emit, config.emit)
    return {name: sum(map(_count_rows, (folder / name).glob("part-*"))) for name in TEXT_TABLES}


def _count_rows(path: Path) -> int:
    if path.suffix == ".parquet":
        return count_rows(path)
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _also_reads(context: RunContext) -> tuple[str, ...]:
    config, emit = context.config, context.config.emit
    draws = emit.draws_random or config.previous is not None
    stages: tuple[str, ...] = ()
    if emit.batch_size is not None or emit.relabels:
        stages = ("embed", "retrieve")
    elif emit.choose == "diverse" or draws or _clusters(config):
        stages = ("embed", "retrieve") if draws and config.retrieve.where else ("embed",)
    if emit.relabels and normalises_hubs(config):
        stages = (*stages, "hubs")
    uses_scores = emit.relabels and reads_rescored(config)
    return (*stages, "rescore") if uses_scores or _writes_raw_scores(config) else stages


def _parts(context: RunContext) -> dict[str, Any]:
    parts: dict[str, Any] = {"emit": context.config.emit.semantic(), "seed": context.config.seed}
    if context.config.previous is not None:
        parts["previous"] = context.config.previous.part() | {"key": find_previous(context).emit["key"]}
    return parts


STAGE = Stage(
    name="emit",
    version=4,
    reads=("ingest", "filter"),
    also_reads=_also_reads,
    parts=_parts,
    steps=(
        _one_item("relabel", RELABELLED_PATH, relabel_all, lambda config: config.emit.relabels),
        Step("judge", "queries", plan_judging, open_judging, judge_again, write_lists),
        _one_item("previous", PREVIOUS_PATH, refresh_all, lambda config: config.previous is not None),
        _one_item("choose", CHOSEN_PATH, choose_all, lambda config: True),
        _one_item("batches", BATCHES_PATH, assign_batches, lambda config: config.emit.batch_size is not None),
        _one_item("clusters", CLUSTERS_PATH, cluster_documents, _clusters),
        _one_item("order", ORDER_PATH, order_examples, _orders),
        Step("write", "queries", _plan_write, _setup_write, _process_write, _write),
        Step("texts", "texts", plan_texts, open_texts, texts_of),
        Step("mixing", "queries", plan_mixing, open_mixing, mixtures_of),
    ),
    finish=_finish,
)
