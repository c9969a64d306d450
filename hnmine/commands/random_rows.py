"""`hnmine explain --random`: random rows of a mined set, to read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.commands.finished_run import finished_run
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.science.anchors import anchor_of_positive
from hnmine.stages.emit.chosen import NO_CANDIDATE, read_chosen
from hnmine.stages.emit.formats import gets_rows
from hnmine.stages.emit.relabel.relabelled import judged_shards
from hnmine.stages.filter.bad_positives import SUSPECT_COLUMNS, is_emitted
from hnmine.stages.report.examples import ROWS_SALT
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards


def random_rows(config: Config, number: int, seed: int = 0, source: Path | None = None) -> dict[str, Any]:
    """Return random rows of the set: a query, one of its positives, and the negatives chosen for them.

    A row is an example: the format triplet writes one line for each of its negatives.

    Args:
        config: the whole config.
        number: of rows; all of them if there are fewer.
        seed: of the sample.
        source: output folder of another run to read finished stages from.

    Returns:
        rows, in the order of the set: query_id, query, anchor_score, `positive` (doc_id, text, score, standing) and
        `negatives` (doc_id, text, score, rank, verdict, p_false_negative); verdict is random or previous where a
        negative is no candidate of the query. rows_in_all, seed, and what `FinishedRun.differences` says.

    Raises:
        IncompleteStage: ingest, filter or emit is not complete.
    """
    run = finished_run(config, source, ("ingest", "filter", "emit"))
    places = _rows_of_set(run.context)
    drawn = places[sample_rows(len(places), number, seed, ROWS_SALT)]
    return {"rows": list(_shown(run.context, drawn)), "rows_in_all": len(places), "seed": seed, **run.differences}


def _rows_of_set(context: RunContext) -> np.ndarray:
    """Return (query row, position of the positive, row of the chosen table) of every row of the set, int64 (n, 3)."""
    config, judged = context.config, judged_shards(context)
    lengths = Ragged.from_arrow(read_chosen(context.reading("emit")).column("doc_rows")).lengths
    has_rows = gets_rows(config.emit.formats, lengths, config.emit.num_negatives)
    parts, before = [np.zeros((0, 3), dtype=np.int64)], 0
    for shard, first in enumerate(judged.offsets[:-1].tolist()):
        table = judged.read(shard, ["positive_rows", "anchor_scores", *SUSPECT_COLUMNS])
        positives, anchors = (Ragged.from_arrow(table.column(name)) for name in ("positive_rows", "anchor_scores"))
        serving = before + anchor_of_positive(anchors, positives)
        places = np.stack([first + positives.owners, positives.positions, serving], axis=1)
        parts.append(places[is_emitted(table, config) & has_rows[serving]])
        before += len(anchors.values)
    return np.concatenate(parts)


def _shown(context: RunContext, places: np.ndarray) -> Iterator[dict[str, Any]]:
    columns = [
        "positive_rows", "positive_scores", "positive_standing", "anchor_scores", "ranks", "verdicts", "probabilities",
    ]  # fmt: skip
    ingest = context.reading("ingest")
    corpus = Shards(ingest / "corpus", CORPUS)
    queries = Shards(ingest / "queries", QUERIES).take(places[:, 0], ["query_id", "text"]).to_pylist()
    judged = judged_shards(context).take(places[:, 0], columns).to_pylist()
    chosen = read_chosen(context.reading("emit")).take(places[:, 2]).to_pylist()
    for at, query, own, entry in zip(places[:, 1].tolist(), queries, judged, chosen, strict=True):
        rows = np.array([own["positive_rows"][at], *entry["doc_rows"]], dtype=np.int64)
        positive, *documents = corpus.take(rows, ["doc_id", "text"]).to_pylist()
        negatives = [
            {**document, "score": score, **_facts(own, entry["anchor"], position)}
            for document, score, position in zip(documents, entry["scores"], entry["positions"], strict=True)
        ]
        yield {
            "query_id": query["query_id"],
            "query": query["text"],
            "anchor_score": own["anchor_scores"][entry["anchor"]],
            "positive": {**positive, "score": own["positive_scores"][at], "standing": own["positive_standing"][at]},
            "negatives": negatives,
        }


def _facts(judged: dict[str, Any], anchor: int, position: int) -> dict[str, Any]:
    """Return rank, verdict and P(false negative) of a negative, given its position among the query's candidates."""
    if position < 0:
        return {"rank": None, "verdict": NO_CANDIDATE[position], "p_false_negative": None}
    probabilities = judged["probabilities"][anchor]
    return {
        "rank": judged["ranks"][position],
        "verdict": judged["verdicts"][anchor][position],
        "p_false_negative": probabilities[position] if probabilities else None,
    }
