"""Everything that a run knows of one query: its positives, and each candidate with score, rank, verdict and text."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.commands.finished_run import finished_run
from hnmine.config.tables import Config
from hnmine.errors import InputError
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.chosen import PREVIOUS_NEGATIVE, RANDOM_DOCUMENT, read_chosen, rows_of
from hnmine.stages.emit.relabel.relabelled import (
    judged_shards,
    likely_positives,
    read_relabelled,
    source_of_positives,
)
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.rescore.rescored import checks_rescored, rescore_column
from hnmine.storage.schemas.emit import RELABELLED
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, LEFT_OUT, QUERIES
from hnmine.storage.schemas.rescore import RESCORES
from hnmine.storage.store import Shards, read_table

SHOWN = 20
"""Candidates shown of an anchor score, unless more are asked for."""


def explain_query(config: Config, query_id: str, source: Path | None = None, top: int | None = SHOWN) -> dict[str, Any]:
    """Return what the stages of a run stored of one query; no model is loaded.

    Before emit is complete, no candidate is marked as chosen, and none is a positive by emit.relabel. A candidate is a
    likely positive by `hnmine.stages.emit.relabel.relabelled.likely_positives`.

    Args:
        config: the whole config.
        query_id: the query.
        source: output folder of another run to read finished stages from.
        top: most candidates of each anchor score: its chosen negatives, and those with the highest ranks. None for all.

    Returns:
        query_id, query, background_score, positives, and for each anchor score its candidates by rank, how many are
        `not_shown`, and its random negatives; with what `FinishedRun.differences` says.

    Raises:
        IncompleteStage: the run is not complete as far as filter.
        InputError: the query does not exist, or was left out; the message says why.
    """
    stages = ("ingest", "retrieve", "filter", *(("rescore",) if checks_rescored(config) else ()))
    run = finished_run(config, source, stages, ("emit",))
    context = run.context
    judged = judged_shards(context) if "emit" in run.stages else Shards(context.reading("filter"), JUDGED)
    table, row = _find(context, judged, query_id)
    batch = Batch.from_table(table)
    corpus = Shards(context.reading("ingest") / "corpus", CORPUS)
    positives = corpus.take(batch.positives.values, ["doc_id", "text"]).to_pylist()
    guide_scores = batch.guide_scores.tolist() or [None] * len(batch.candidates.values)
    rescored = _rescored(context, batch)
    names = [one.label for one in context.config.retrieve.source]
    anchor_scores, verdicts = (table.column(name)[0].as_py() for name in ("anchor_scores", "verdicts"))
    chosen: dict[int, dict[str, Any]] = {}
    relabelled = RELABELLED.empty_table()
    likely, probabilities = likely_positives(table, context.config.emit), table.column("probabilities")[0].as_py()
    if "emit" in run.stages:
        if context.config.emit.relabels:
            relabelled = rows_of(read_relabelled(context.reading("emit")), row, row + 1)
        own_rows = rows_of(read_chosen(context.reading("emit")), row, row + 1)
        chosen = {entry["anchor"]: entry for entry in own_rows.to_pylist()}
    known = source_of_positives(relabelled, np.repeat(row, len(positives)), batch.positives.values)
    facts = {
        "score": batch.positive_scores.values.tolist(),
        "guide_score": batch.guide_positive_scores.values.tolist() or [None] * len(positives),
        "standing": table.column("positive_standing")[0].as_py(),
        "source": known["positive_source"].to_pylist(),
        "probability": known["positive_probability"].to_pylist(),
    }
    anchors = []
    for number, (anchor_score, own_verdicts) in enumerate(zip(anchor_scores, verdicts, strict=True)):
        own = chosen.get(number, {"positions": [], "doc_rows": [], "scores": []})
        at = shown(len(own_verdicts), own["positions"], top)
        documents = corpus.take(batch.candidates.values[at], ["doc_id", "text"]).to_pylist()
        candidates = [
            {
                "rank": int(batch.ranks[i]),
                "score": None if np.isnan(batch.scores[i]) else float(batch.scores[i]),
                "similarity": float(batch.similarity[i]),
                "guide_score": guide_scores[i],
                **{name: scores[i] for name, scores in rescored.items()},
                "source_ranks": {name: int(batch.source_ranks[i, at]) or None for at, name in enumerate(names)},
                "verdict": own_verdicts[i],
                "p_false_negative": probabilities[number][i] if probabilities[number] else None,
                "likely_positive": bool(likely[i]),
                "chosen": i in own["positions"],
                **document,
            }
            for i, document in zip(at.tolist(), documents, strict=True)
        ]
        anchors.append(
            {
                "anchor_score": anchor_score,
                "candidates": candidates,
                "not_shown": len(own_verdicts) - len(at),
                "random": _negatives_at(corpus, own, RANDOM_DOCUMENT),
            }
        )
        if config.previous is not None or PREVIOUS_NEGATIVE in own["positions"]:
            anchors[-1]["previous"] = _negatives_at(corpus, own, PREVIOUS_NEGATIVE)
    query = Shards(context.reading("ingest") / "queries", QUERIES).take(np.array([row]), ["text"])
    return {
        "query_id": query_id,
        "query": query.column(0)[0].as_py(),
        "background_score": float(batch.background_mean[0]),
        "positives": [
            {**text, **dict(zip(facts, values, strict=True))}
            for text, values in zip(positives, zip(*facts.values(), strict=True), strict=True)
        ],
        "anchors": anchors,
        **run.differences,
    }


def _rescored(context: RunContext, batch: Batch) -> dict[str, list[float | None]]:
    """Return the column `rescore_score` of a query's candidates where the cross-encoder checks them; else nothing."""
    if not checks_rescored(context.config):
        return {}
    rows = np.repeat(batch.query_rows, batch.candidates.lengths)
    found = rescore_column(Shards(context.reading("rescore"), RESCORES), rows, batch.candidates.values)
    return {name: column.to_pylist() for name, column in found.items()}


def shown(count: int, chosen: Sequence[int], top: int | None) -> np.ndarray:
    """Return the positions of the candidates to show, ascending: the chosen ones, then those from the first on.

    Args:
        count: number of candidates; positions count from 0, the best first.
        chosen: positions of the chosen; negative ones are no candidates.
        top: number of positions to return, of which there are more only if more are chosen; None for all.
    """
    if top is None:
        return np.arange(count)
    own = np.unique([place for place in chosen if place >= 0]).astype(np.int64)
    others = np.setdiff1d(np.arange(count), own)
    return np.union1d(own, others[: max(0, top - len(own))])


def _find(context: RunContext, shards: Shards, query_id: str) -> tuple[pa.Table, int]:
    """Return the judged table's row of a query, and the query's row number."""
    ids = shards.column("query_id")
    row = pc.index(ids, query_id).as_py()
    if row >= 0:
        number = int(np.searchsorted(shards.offsets, row, side="right")) - 1
        return shards.read(number).slice(row - int(shards.offsets[number]), 1), row
    left_out = read_table(context.reading("ingest") / "left_out.parquet").cast(LEFT_OUT).to_pylist()
    for entry in left_out:
        if entry["kind"] == "query" and entry["id"] == query_id:
            raise InputError(f"query {query_id!r} was left out: {entry['reason']}")
    similar = difflib.get_close_matches(query_id, ids.to_pylist(), n=3)
    raise InputError(f"there is no query {query_id!r}" + (f"; near it: {', '.join(similar)}" if similar else ""))


def _negatives_at(corpus: Shards, chosen: dict[str, Any], position: int) -> list[dict[str, Any]]:
    """Return an anchor's chosen negatives with a position that marks them as no candidates."""
    at = np.flatnonzero(np.array(chosen["positions"], dtype=np.int64) == position)
    texts = corpus.take(np.array(chosen["doc_rows"], dtype=np.int64)[at], ["doc_id", "text"]).to_pylist()
    return [{"score": chosen["scores"][i], **text} for i, text in zip(at, texts, strict=True)]
