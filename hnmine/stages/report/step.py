"""The stage report: measures how hard, safe and complete the mined set is, from stored scores and without training."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged, single_array
from hnmine.config.served import is_served
from hnmine.config.tables import Config
from hnmine.readers.judged_samples import sample_files
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, no_setup, shard_items
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.stages.emit.chosen import cells_of, read_chosen
from hnmine.stages.emit.relabel.relabelled import judged_shards
from hnmine.stages.filter.bad_positives import BAD_POSITIVES_FILE, SUSPECT_COLUMNS, is_emitted, list_suspected
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.inputs import slices
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.report.eci_sem import Chosen, eci_sem_of_queries, weights
from hnmine.stages.report.examples import texts_of
from hnmine.stages.report.html.page import render, with_probe
from hnmine.stages.report.probe_result import emit_key, read_probe, write_probe
from hnmine.stages.report.quality import count_at_or_above, per_query, to_table
from hnmine.stages.report.report import build_report
from hnmine.stages.rescore.rescored import reads_rescored
from hnmine.storage.paths import shown_path
from hnmine.storage.schemas.filter import JUDGED_CODED
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.schemas.report import QUERY_REPORT
from hnmine.storage.store import MANIFEST, Shards, item_key, read_json, recorded, write_json, write_text
from hnmine.storage.vectors import VectorStore

REPORT, PAGE = "report.json", "report.html"
_MEASURING = [
    *SUSPECT_COLUMNS, "query_id", "query_row", "positive_rows", "doc_rows", "scores", "query_overlaps",
    "anchor_scores", "verdicts", "probabilities",
]  # fmt: skip


def _parts(context: RunContext) -> dict[str, Any]:
    sample = [context.digests.of(file) for file in sample_files(context.config)]
    parts = {"report": context.config.report.semantic(), "seed": context.config.seed}
    return parts | ({"judged_sample": sample} if sample else {})


def _plan(context: RunContext, key: str) -> list[Item]:
    return shard_items(judged_shards(context), context.folder("report") / "queries", key)


def _setup(context: RunContext) -> tuple[Config, Shards, pa.Table, VectorStore]:
    """Return the config, the judged candidates, the chosen table and the teacher's vectors."""
    vectors = VectorStore(context.reading("embed") / "corpus", cache_bytes(context.config))
    judged, chosen = judged_shards(context, JUDGED_CODED), read_chosen(context.reading("emit"))
    return context.config, judged, chosen, vectors


def _process(state: tuple[Config, Shards, pa.Table, VectorStore], item: Item, tick: Tick) -> pa.Table:
    config, judged, every, vectors = state
    parts, first, starts = [QUERY_REPORT.empty_table()], item.first, every.column("query_row").to_numpy()
    for piece in slices(judged.read(item.number, _MEASURING)):
        batch = Batch.from_table(piece)
        cells, keep = cells_of(piece, batch)
        low, high = np.searchsorted(starts, [first, first + piece.num_rows])
        rows = every.slice(low, high - low)
        chosen, served = Chosen.from_table(rows), rows.column("wanted").to_numpy() > 0
        values = per_query(batch, cells, keep, chosen.scores, config.emit.num_negatives, served)
        probabilities = Ragged.from_arrow(single_array(piece.column("probabilities")).flatten())
        weight = weights(batch, cells, chosen, probabilities)
        of_positives = is_emitted(piece, config)
        values |= count_at_or_above(batch, cells, chosen.scores, of_positives)
        values["eci_sem"] = eci_sem_of_queries(batch, cells, chosen, weight, of_positives, vectors)
        parts.append(to_table(values, piece.column("query_id")))
        tick(piece.num_rows)
        first += piece.num_rows
    return pa.concat_tables(parts)


def _plan_suspected(context: RunContext, key: str) -> list[Item]:
    rows = judged_shards(context).rows
    output = context.folder("report") / BAD_POSITIVES_FILE
    return [Item(output, rows=rows, key=item_key(key, "suspected", 0, rows))]


def _suspected(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    judged, corpus = judged_shards(context), Shards(context.reading("ingest") / "corpus", CORPUS)
    found = list_suspected(judged, corpus, context.config.filter.bad_positive_quantile)
    tick(item.rows)
    return found


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    report = build_report(context)
    write_json(report, context.folder("report") / REPORT)
    if context.config.report.html:
        page = render(report, texts_of(context, report), context.config, _run_facts(context), read_probe(context))
        write_text(page, context.folder("report") / PAGE)
    return {"numbers": len(report)}


def _run_facts(context: RunContext) -> dict[str, str]:
    """Return what says on the page which run it is: folders, config file, teacher, and the time of writing."""
    config = context.config
    facts = {"run": shown_path(context.out)}
    if context.source is not None:
        facts["other stages from"] = shown_path(context.source)
    if config.file:
        facts["config"] = shown_path(Path(config.file))
    facts["teacher"] = config.embed.label
    if is_served(config.embed.model):
        name = (recorded(context.reading("embed")) or {})["parts"]["teacher"]["model"]
        facts["teacher"] = f"{name}, served by {config.embed.model}"
    if config.embed.model == "precomputed":
        given = config.embed.corpus_vectors
        facts["teacher"] = f"precomputed vectors ({given if isinstance(given, str) else ', '.join(given or [])})"
    if config.rescore is not None and reads_rescored(config):
        facts[f"{config.filter.score} by"] = config.rescore.model
    return facts | {"made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}


def keep_probe(context: RunContext, result: dict[str, Any]) -> None:
    """Store the result of `hnmine probe`, and show it on the report page of the same negatives, if there is one."""
    write_probe(context, result)
    page, manifest = context.folder("report") / PAGE, read_json(context.folder("report") / MANIFEST)
    if manifest is not None and manifest["upstream"]["emit"] == emit_key(context) and page.exists():
        write_text(with_probe(page.read_text(encoding="utf-8"), result), page)


def _also_reads(context: RunContext) -> tuple[str, ...]:
    rescore = ("rescore",) if context.config.rescore is not None else ()
    return (*rescore, "hubs") if normalises_hubs(context.config) else rescore


STAGE = Stage(
    name="report",
    version=7,
    reads=("ingest", "embed", "index", "retrieve", "filter", "emit"),
    also_reads=_also_reads,
    parts=_parts,
    steps=(
        Step("measure", "queries", _plan, _setup, _process),
        Step("suspect", "queries", _plan_suspected, no_setup, _suspected),
    ),
    finish=_finish,
)
