"""Everything that a run knows of one query: its positives, and each candidate with score, rank, verdict and text."""

import difflib
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
from hnmine.stages.filter.candidates import Batch
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, LEFT_OUT, QUERIES
from hnmine.storage.store import MANIFEST, Shards, read_json, read_table


def explain_query(config: Config, query_id: str, source: Path | None = None) -> dict[str, Any]:
    """Return what the stages of a run stored of one query; no model is loaded.

    Before emit is complete, no candidate is marked as chosen.

    Raises:
        IncompleteStage: the run is not complete as far as filter.
        InputError: the query does not exist, or was left out; the message says why.
    """
    context = finished_run(config, source, ("ingest", "retrieve", "filter"))
    table, row = _find(context, query_id)
    batch = Batch.from_table(table)
    corpus = Shards(context.reading("ingest") / "corpus", CORPUS)
    documents = corpus.take(batch.candidates.values, ["doc_id", "text"]).to_pylist()
    positives = corpus.take(batch.positives.values, ["doc_id", "text"]).to_pylist()
    percentiles = table.column("positive_standing")[0].as_py()
    positive_guide_scores = batch.guide_positive_scores.values.tolist() or [None] * len(positives)
    guide_scores = batch.guide_scores.tolist() or [None] * len(documents)
    names = [one.label for one in config.retrieve.source]
    anchor_scores, verdicts = (table.column(name)[0].as_py() for name in ("anchor_scores", "verdicts"))
    chosen: dict[int, dict[str, Any]] = {}
    if read_json(context.reading("emit") / MANIFEST) is not None:
        own_rows = rows_of(read_chosen(context.reading("emit")), row, row + 1)
        chosen = {entry["anchor"]: entry for entry in own_rows.to_pylist()}
    anchors = []
    for number, (anchor_score, own_verdicts) in enumerate(zip(anchor_scores, verdicts, strict=True)):
        own = chosen.get(number, {"positions": [], "doc_rows": [], "scores": []})
        candidates = [
            {
                "rank": int(batch.ranks[i]),
                "score": None if np.isnan(batch.scores[i]) else float(batch.scores[i]),
                "similarity": float(batch.similarity[i]),
                "guide_score": guide_scores[i],
                "source_ranks": {name: int(batch.source_ranks[i, at]) or None for at, name in enumerate(names)},
                "verdict": verdict,
                "chosen": i in own["positions"],
                **documents[i],
            }
            for i, verdict in enumerate(own_verdicts)
        ]
        random = _negatives_at(corpus, own, RANDOM_DOCUMENT)
        anchors.append({"anchor_score": anchor_score, "candidates": candidates, "random": random})
        if config.previous is not None:
            anchors[-1]["previous"] = _negatives_at(corpus, own, PREVIOUS_NEGATIVE)
    query = Shards(context.reading("ingest") / "queries", QUERIES).take(np.array([row]), ["text"])
    return {
        "query_id": query_id,
        "query": query.column(0)[0].as_py(),
        "background_score": float(batch.background_mean[0]),
        "positives": [
            {**text, "score": score, "guide_score": guide_score, "standing": percentile}
            for text, score, guide_score, percentile in zip(
                positives, batch.positive_scores.values.tolist(), positive_guide_scores, percentiles, strict=True
            )
        ],
        "anchors": anchors,
    }


def _find(context: RunContext, query_id: str) -> tuple[pa.Table, int]:
    """Return the judged table's row of a query, and the query's row number."""
    shards = Shards(context.reading("filter"), JUDGED)
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
