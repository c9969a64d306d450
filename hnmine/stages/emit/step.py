"""The stage emit: chooses negatives over all queries, then writes the training files shard by shard."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, no_setup, write_lists
from hnmine.stages.emit.batches.step import BATCHES_PATH, assign_batches, count_batches, read_batches
from hnmine.stages.emit.card import write_card
from hnmine.stages.emit.choose import choose_all
from hnmine.stages.emit.chosen import CHOSEN_PATH, read_chosen
from hnmine.stages.emit.clusters import CLUSTERS_PATH, cluster_documents
from hnmine.stages.emit.example_scores import ORDER_PATH, order_examples
from hnmine.stages.emit.formats import format_folders, gets_rows
from hnmine.stages.emit.mixing import count_mixtures, mixtures_of, open_mixing, plan_mixing
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
)
from hnmine.stages.emit.text_tables import TEXT_TABLES, open_texts, plan_texts, text_folders, texts_of
from hnmine.stages.emit.training_rows import open_rows, plan_rows, training_rows_of, write_rows, writes_raw_scores
from hnmine.stages.filter.bad_positives import count_treated
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.rescore.rescored import reads_rescored
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.store import Shards, count_rows, item_key


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
        "documents_as_negatives": len(np.unique(Ragged.from_arrow(chosen.column("doc_rows")).values)),
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
    elif emit.choose == "diverse" or draws or emit.has_clusters:
        stages = ("embed", "retrieve") if draws and config.retrieve.where else ("embed",)
    if emit.relabels and normalises_hubs(config):
        stages = (*stages, "hubs")
    uses_scores = emit.relabels and reads_rescored(config)
    return (*stages, "rescore") if uses_scores or writes_raw_scores(config) else stages


def _parts(context: RunContext) -> dict[str, Any]:
    parts: dict[str, Any] = {"emit": context.config.emit.semantic(), "seed": context.config.seed}
    if context.config.previous is not None:
        parts["previous"] = context.config.previous.part() | {"key": find_previous(context).emit["key"]}
    return parts


STAGE = Stage(
    name="emit",
    version=5,
    reads=("ingest", "filter"),
    also_reads=_also_reads,
    parts=_parts,
    steps=(
        _one_item("relabel", RELABELLED_PATH, relabel_all, lambda config: config.emit.relabels),
        Step("judge", "queries", plan_judging, open_judging, judge_again, write_lists),
        _one_item("previous", PREVIOUS_PATH, refresh_all, lambda config: config.previous is not None),
        _one_item("choose", CHOSEN_PATH, choose_all, lambda config: True),
        _one_item("batches", BATCHES_PATH, assign_batches, lambda config: config.emit.batch_size is not None),
        _one_item("clusters", CLUSTERS_PATH, cluster_documents, lambda config: config.emit.has_clusters),
        _one_item("order", ORDER_PATH, order_examples, lambda config: config.emit.is_ordered),
        Step("write", "queries", plan_rows, open_rows, training_rows_of, write_rows),
        Step("texts", "texts", plan_texts, open_texts, texts_of),
        Step("mixing", "queries", plan_mixing, open_mixing, mixtures_of),
    ),
    finish=_finish,
)
