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
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, no_setup, shard_items, write_lists
from hnmine.runtime.worker_slot import kept_texts
from hnmine.stages.emit.batches.step import BATCHES_PATH, assign_batches, count_batches, read_batches
from hnmine.stages.emit.card import write_card
from hnmine.stages.emit.choose import choose_all
from hnmine.stages.emit.chosen import CHOSEN_PATH, RANDOM_DOCUMENT, read_chosen, rows_of
from hnmine.stages.emit.emitted import PAIR_COLUMNS, EmittedPairs
from hnmine.stages.emit.formats import FORMATS, OF_IDS, Examples, ending, format_folders, gets_rows
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


def _plan_write(context: RunContext, key: str) -> list[Item]:
    judged = Shards(judged_folder(context, context.folder("emit")), JUDGED)
    folders = format_folders(context.folder("emit"), context.config.emit.formats).items()
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


def _setup_write(context: RunContext) -> _WriteState:
    config, ingest, emit = context.config, context.reading("ingest"), context.folder("emit")
    return _WriteState(
        config,
        Shards(judged_folder(context, emit), JUDGED),
        Shards(ingest / "corpus", CORPUS, kept_texts(config)),
        Shards(ingest / "queries", QUERIES),
        read_chosen(emit),
        Shards(context.reading("rescore"), RESCORES) if _writes_raw_scores(config) else None,
        read_batches(emit) if config.emit.batch_size is not None else None,
        read_previous(emit) if config.previous is not None else None,
        read_relabelled(emit) if config.emit.relabels else RELABELLED.empty_table(),
    )


def _writes_raw_scores(config: Config) -> bool:
    """Return whether rows have the cross-encoder's scores: in a column of their own, or as those to distil."""
    distilled = uses_rescored(config) and not set(OF_IDS).isdisjoint(config.emit.formats)
    return distilled or "rescore_score" in config.emit.extra_columns


def _raw_scores_of_positives(state: _WriteState, table: pa.Table, first: int, which: np.ndarray) -> dict[str, pa.Array]:
    """Return the column `positive_rescore_score` where the cross-encoder's scores are those of the filter."""
    if state.rescored is None or not uses_rescored(state.config):
        return {}
    positives = Ragged.from_arrow(table.column("positive_rows"))
    queries, rows, places = first + positives.owners[which], positives.values[which], positives.positions[which]
    return {"positive_rescore_score": rescores_of_positives(state.rescored, queries, rows, places)}


def _process_write(state: _WriteState, item: Item, tick: Tick) -> pa.Table:
    examples = _examples(state, item)
    tick(item.rows)
    emit = state.config.emit
    added = [*(["positive_source"] if emit.relabels else []), *(["batch_id"] if state.batches is not None else [])]
    extra = list(dict.fromkeys([*emit.extra_columns, *added]))
    names = emit.formats
    return FORMATS[item.output.parent.name if len(names) > 1 else names[0]](examples, extra)


def _examples(state: _WriteState, item: Item) -> Examples:
    """Return the emitted (query, positive) pairs of a shard with their negatives, texts, ids and scores."""
    config, end = state.config, item.first + item.rows
    table, chosen = state.judged.read(item.number, _WRITE_COLUMNS), rows_of(state.chosen, item.first, end)
    previous = None if state.previous is None else rows_of(state.previous, item.first, end)
    batches = None if state.batches is None else rows_of(state.batches, item.first, end)
    which, owners, served_by, lengths, batch_ids = EmittedPairs.of(table, chosen, batches, config)
    positives, anchors = (Ragged.from_arrow(table.column(name)) for name in ("positive_rows", "anchor_scores"))
    lists = {name: Ragged.from_arrow(chosen.column(name)) for name in ("positions", "doc_rows", "scores")}
    spread = lists["doc_rows"].places(served_by)
    positions, rows = (lists[name].values[spread] for name in ("positions", "doc_rows"))
    of_negatives, ranks = np.repeat(owners, lengths), Ragged.from_arrow(table.column("ranks"))
    at = pa.array(ranks.starts[of_negatives] + positions, mask=positions < 0)
    negatives = EmittedNegatives(positions, at, np.repeat(served_by, lengths), rows)
    queries = state.queries.take(item.first + owners, ["query_id", "text"])
    documents = state.corpus.take(positives.values[which], ["doc_id", "text"])
    texts = state.corpus.take(rows, ["doc_id", "text"])
    weights = weights_of_positives(table, config.filter.bad_positive_quantile)[which]
    relabelled = rows_of(state.relabelled, item.first, end)
    known = source_of_positives(relabelled, item.first + owners, positives.values[which])
    rules = pa.array(["+".join(rule_names(config.filter)) or "none"])  # random documents have passed none
    return Examples(
        wanted=config.emit.num_negatives,
        columns={
            "anchor": queries.column("text"), "query_id": queries.column("query_id"),
            "positive": documents.column("text"), "positive_id": documents.column("doc_id"),
            "positive_score": pa.array(Ragged.from_arrow(table.column("positive_scores")).values[which]),
            "anchor_score": pa.array(anchors.values[served_by]),
            "positive_weight": pc.multiply(pa.array(weights), known["positive_probability"].fill_null(1.0)),
            **known,
            **({} if batch_ids is None else {"batch_id": batch_ids}),
            **_raw_scores_of_positives(state, table, item.first, which),
        },
        lengths=lengths,
        negatives={
            "negative": texts.column("text"), "negative_id": texts.column("doc_id"),
            "negative_score": pa.array(lists["scores"].values[spread]),
            "rank": pa.array(ranks.values).take(at),
            "rule": rules.take(pa.array(np.zeros(len(rows), dtype=np.int64), mask=positions == RANDOM_DOCUMENT)),
            "source": source_labels(table, negatives, config),
            **rescore_column(state.rescored, item.first + of_negatives, rows),
            **filter_columns(config, table, negatives, previous),
        },
        soft_labels=config.emit.soft_labels,
    )  # fmt: skip


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
    elif emit.choose == "diverse" or draws:
        stages = ("embed", "retrieve") if draws and config.retrieve.where else ("embed",)
    uses_scores = emit.relabels and reads_rescored(config)
    return (*stages, "rescore") if uses_scores or _writes_raw_scores(config) else stages


def _parts(context: RunContext) -> dict[str, Any]:
    parts: dict[str, Any] = {"emit": context.config.emit.semantic(), "seed": context.config.seed}
    if context.config.previous is not None:
        parts["previous"] = context.config.previous.part() | {"key": find_previous(context).emit["key"]}
    return parts


STAGE = Stage(
    name="emit",
    version=3,
    reads=("ingest", "filter"),
    also_reads=_also_reads,
    parts=_parts,
    steps=(
        _one_item("relabel", RELABELLED_PATH, relabel_all, lambda config: config.emit.relabels),
        Step("judge", "queries", plan_judging, open_judging, judge_again, write_lists),
        _one_item("previous", PREVIOUS_PATH, refresh_all, lambda config: config.previous is not None),
        _one_item("choose", CHOSEN_PATH, choose_all, lambda config: True),
        _one_item("batches", BATCHES_PATH, assign_batches, lambda config: config.emit.batch_size is not None),
        Step("write", "queries", _plan_write, _setup_write, _process_write, _write),
        Step("texts", "texts", plan_texts, open_texts, texts_of),
        Step("mixing", "queries", plan_mixing, open_mixing, mixtures_of),
    ),
    finish=_finish,
)
