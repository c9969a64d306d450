"""Everything that is known of one query: its positives, and each candidate with score, rank, verdict and text."""

import difflib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.commands.finished_run import finished_run
from hnmine.config import Config
from hnmine.errors import InputError
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.chosen import PREVIOUS_NEGATIVE, RANDOM_DOCUMENT, read_chosen
from hnmine.stages.filter.candidates import Batch
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, LEFT_OUT, QUERIES
from hnmine.storage.store import MANIFEST, Shards, read_json, read_table


def explain_query(config: Config, query_id: str, source: Path | None = None) -> dict[str, Any]:
    """Return what a run knows of one query; it reads what the stages left behind and loads no model.

    Raises:
        IncompleteStage: the run has not come as far as filter.
        InputError: there is no such query, or it was left out; the message says why.
    """
    context = finished_run(config, source, ("ingest", "retrieve", "filter"))
    table, row = _find(context, query_id)
    batch = Batch.from_table(table)
    corpus = Shards(context.reading("ingest") / "corpus", CORPUS)
    positives = corpus.take(batch.positives.values, ["doc_id", "text"]).to_pylist()
    documents = corpus.take(batch.candidates.values, ["doc_id", "text"]).to_pylist()
    chosen = _chosen(context, row)
    guide = batch.guide_scores.tolist() or [None] * len(documents)
    names = [one.label for one in config.retrieve.source]
    anchors = []
    for number, (score, verdicts) in enumerate(
        zip(table.column("anchor_scores")[0].as_py(), table.column("verdicts")[0].as_py(), strict=True)
    ):
        own = chosen.get(number, {"positions": [], "doc_rows": [], "scores": []})
        picked = set(own["positions"])
        candidates = [
            {
                "rank": int(batch.ranks[i]), "score": _number(batch.scores[i]),
                "similarity": float(batch.similarity[i]),
                "guide_score": guide[i], "source_ranks": _ranks(batch, i, names),
                "verdict": verdict, "chosen": i in picked, **documents[i],
            }
            for i, verdict in enumerate(verdicts)
        ]  # fmt: skip
        anchors.append({"anchor_score": score, "candidates": candidates, "random": _of(corpus, own, RANDOM_DOCUMENT)})
        if config.previous is not None:
            anchors[-1]["previous"] = _of(corpus, own, PREVIOUS_NEGATIVE)
    query = Shards(context.reading("ingest") / "queries", QUERIES).take(np.array([row]), ["text"])
    return {
        "query_id": query_id,
        "query": query.column(0)[0].as_py(),
        "background_score": float(batch.background_mean[0]),
        "positives": _positives(batch, positives, table.column("positive_standing")[0].as_py()),
        "anchors": anchors,
    }


def _number(value: float) -> float | None:
    """Return a number, None for NaN."""
    return None if np.isnan(value) else float(value)


def _positives(batch: Batch, texts: list[dict[str, Any]], standings: list[float]) -> list[dict[str, Any]]:
    guide = batch.guide_positive_scores.values.tolist() or [None] * len(texts)
    rows = zip(texts, batch.positive_scores.values.tolist(), guide, standings, strict=True)
    return [{**p, "score": s, "guide_score": g, "standing": standing} for p, s, g, standing in rows]


def _ranks(batch: Batch, candidate: int, names: list[str]) -> dict[str, int | None]:
    """Return a candidate's rank in each source, None where that did not find it; empty without sources."""
    return {name: int(batch.source_ranks[candidate, place]) or None for place, name in enumerate(names)}


def _find(context: RunContext, query_id: str) -> tuple[pa.Table, int]:
    shards = Shards(context.reading("filter"), JUDGED)
    for number in range(len(shards)):
        place = pc.index(shards.read(number, ["query_id"]).column(0), query_id).as_py()
        if place >= 0:
            return shards.read(number).slice(place, 1), int(shards.offsets[number]) + place
    left_out = read_table(context.reading("ingest") / "left_out.parquet").cast(LEFT_OUT).to_pylist()
    for entry in left_out:
        if entry["kind"] == "query" and entry["id"] == query_id:
            raise InputError(f"query {query_id!r} was left out: {entry['reason']}")
    names = [name for n in range(len(shards)) for name in shards.read(n, ["query_id"]).column(0).to_pylist()]
    near = difflib.get_close_matches(query_id, names, n=3)
    raise InputError(f"there is no query {query_id!r}" + (f"; near it: {', '.join(near)}" if near else ""))


def _chosen(context: RunContext, row: int) -> dict[int, dict[str, Any]]:
    folder = context.reading("emit")
    if read_json(folder / MANIFEST) is None:
        return {}
    chosen = read_chosen(folder)
    own = chosen.filter(pc.equal(chosen.column("query_row"), row)).to_pylist()
    return {entry["anchor"]: entry for entry in own}


def _of(corpus: Shards, chosen: dict[str, Any], position: int) -> list[dict[str, Any]]:
    """Return the negatives of an anchor with this position, which stands for such as are no candidates."""
    positions = np.array(chosen["positions"], dtype=np.int64)
    drawn = np.flatnonzero(positions == position)
    texts = corpus.take(np.array(chosen["doc_rows"], dtype=np.int64)[drawn], ["doc_id", "text"]).to_pylist()
    return [{"score": chosen["scores"][i], **text} for i, text in zip(drawn, texts, strict=True)]
