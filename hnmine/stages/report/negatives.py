"""Facts of every chosen negative, and report sections made of them: histograms, hardness by place, copies, sources.

They are collected in one pass over the judged candidates, a batch of queries at a time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.histogram import bins, borders, counts, tally
from hnmine.arrays.ragged import Ragged, single_array
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.runtime.threads import in_threads
from hnmine.science.eci import hardness
from hnmine.stages.emit.chosen import RANDOM_DOCUMENT, cells_of
from hnmine.stages.emit.negative_columns import shares, source_sets
from hnmine.stages.emit.relabel.relabelled import judged_shards
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.inputs import slices
from hnmine.stages.report.statistics import mean, share
from hnmine.storage.schemas.filter import JUDGED_CODED
from hnmine.storage.schemas.report import QUERY_REPORT
from hnmine.storage.store import Shards

CLOSE_TO_POSITIVE = 0.95
"""Chosen negatives with at least this cosine to a positive are counted. It lies below `filter.max_positive_similarity`
by default, so it counts what that check lets through."""
COPY_VERDICTS = ("copy_of_positive", "copy_of_query", "copy_of_negative", "near_copy_of_positive", "near_copy_of_query")

_SERIES = ("kept", "rejected", "positive")
_COLUMNS = [
    "query_row", "positive_rows", "positive_scores", "doc_rows", "scores", "similarities", "query_overlaps",
    "background_mean", "source_ranks", "anchor_scores", "verdicts", "probabilities",
]  # fmt: skip


@dataclass(frozen=True)
class Negatives:
    """Facts of every chosen negative, in the order of the chosen table; all of shape (negatives,).

    Attributes:
        anchor: its row of the chosen table, int64.
        query: its query's row, int64.
        document: its document's row, int64.
        place: its place among the anchor's negatives, from 0, int64.
        score: the teacher's score.
        margin: anchor score minus score.
        hardness: H.
        similarity: cosine to the most similar positive; NaN for a document that is no candidate.
        overlap: share of the query's word weight that it holds; NaN for a document that is no candidate.
        probability: P(false negative); NaN where it has none.
        found_by: the sources that found it, int64: see `hnmine.stages.emit.negative_columns`.
    """

    anchor: np.ndarray
    query: np.ndarray
    document: np.ndarray
    place: np.ndarray
    score: np.ndarray
    margin: np.ndarray
    hardness: np.ndarray
    similarity: np.ndarray
    overlap: np.ndarray
    probability: np.ndarray
    found_by: np.ndarray

    @property
    def random(self) -> np.ndarray:
        """Whether each is a random document, bool."""
        return np.asarray(self.found_by == RANDOM_DOCUMENT)

    @property
    def retrieved(self) -> np.ndarray:
        """Whether each is a candidate of its query, bool."""
        return np.asarray(self.found_by >= 0)


def read_negatives(context: RunContext, chosen: pa.Table) -> tuple[Negatives, dict[str, np.ndarray]]:
    """Read the judged candidates once.

    Returns:
        (facts, histogram): the facts of the chosen negatives; and the histogram of scores, as bin edges and the
        counts of kept cells, of rejected cells (labelled positives left out) and of labelled positives.
    """
    shards = judged_shards(context, JUDGED_CODED)
    edges = _score_edges(shards, chosen)
    starts = chosen.column("query_row").to_numpy()

    def read(number: int) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        return [_read_piece(piece, edges, starts, chosen) for piece in slices(shards.read(number, _COLUMNS))]

    parts = [part for found in in_threads(read, range(len(shards))) for part in found]
    counted = {name: sum((own[name] for own, _ in parts), np.zeros(len(edges) - 1, dtype=np.int64)) for name in _SERIES}
    facts = {
        name: np.concatenate([np.zeros(0), *(own[name] for _, own in parts)]) for name in Negatives.__dataclass_fields__
    }
    facts |= {name: facts[name].astype(np.int64) for name in ("anchor", "query", "document", "place", "found_by")}
    return Negatives(**facts), {"edges": edges, **counted}


def _read_piece(
    piece: pa.Table, edges: np.ndarray, starts: np.ndarray, chosen: pa.Table
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the counts of each series of a batch of queries in the score bins, and the facts of its chosen negatives.

    `starts` is the query of each row of `chosen`, ascending.
    """
    batch = Batch.from_table(piece)
    cells, keep = cells_of(piece, batch)
    kept = np.bincount(cells.candidate[keep], minlength=len(batch.scores))
    rejected = np.where(batch.counted, cells.anchors.lengths[batch.owners] - kept, 0)
    bin_of = bins(batch.scores, edges)
    counted = {
        "kept": tally(bin_of, len(edges) - 1, kept),
        "rejected": tally(bin_of, len(edges) - 1, rejected),
        "positive": counts(batch.positive_scores.values, edges),
    }
    low, high = np.searchsorted(starts, batch.query_rows[[0, -1]] + np.array([0, 1]))
    facts = _facts(piece, batch, cells, chosen.slice(low, high - low))
    return counted, facts | {"anchor": facts["anchor"] + low}


def _score_edges(shards: Shards, chosen: pa.Table) -> np.ndarray:
    """Return bin edges that cover every score of a candidate, a positive or a chosen negative."""

    def extremes(number: int) -> list[np.ndarray]:
        table, found = shards.read(number, ["scores", "positive_scores"]), []
        for name in table.column_names:
            values = Ragged.from_arrow(table.column(name)).values
            values = values[~np.isnan(values)]  # candidates that were not rescored have none
            found.append(np.array([values.min(), values.max()]) if len(values) else values)
        return found

    found = [Ragged.from_arrow(chosen.column("scores")).values]
    found += [values for some in in_threads(extremes, range(len(shards))) for values in some]
    every = np.concatenate(found).astype(np.float64)
    return borders(float(every.min()), float(every.max())) if len(every) else np.array([0.0, 1.0])


def _facts(piece: pa.Table, batch: Batch, cells: Cells, chosen: pa.Table) -> dict[str, np.ndarray]:
    """Return the facts of a batch's chosen negatives; `anchor` counts from the first row of `chosen`."""
    lists = {name: Ragged.from_arrow(chosen.column(name)) for name in ("positions", "doc_rows", "scores")}
    scores, owners, positions = lists["scores"].values, lists["positions"].owners, lists["positions"].values
    query = cells.anchors.owners[owners]
    retrieved = positions >= 0
    at = batch.candidates.starts[query] + np.where(retrieved, positions, 0)
    anchor, s0 = cells.anchors.values[owners], batch.background_mean[query]
    similarity = np.full(len(at), np.nan)
    similarity[retrieved] = batch.similarity_of(at[retrieved])
    probabilities = Ragged.from_arrow(single_array(piece.column("probabilities")).flatten())
    sources = np.append(source_sets(batch.source_ranks), RANDOM_DOCUMENT)[np.where(retrieved, at, -1)]
    return {
        "anchor": owners,
        "query": batch.query_rows[query],
        "document": lists["doc_rows"].values,
        "place": lists["positions"].positions,
        "score": scores,
        "margin": anchor - scores,
        "hardness": hardness(scores, anchor, s0),
        "similarity": similarity,
        "overlap": at_positions(batch.query_overlaps, batch.candidates, query, positions),
        "probability": at_positions(probabilities.values, probabilities, owners, positions),
        "found_by": np.where(retrieved, sources, positions),
    }


def at_positions(values: np.ndarray, lists: Ragged, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the value at each (row, position) of lists; NaN for a negative position and for an empty list.

    `values` are floats, one for each element of the lists; `rows` and `positions` are int, shape (n,).
    """
    found = np.full(len(rows), np.nan, dtype=values.dtype)
    real = (positions >= 0) & (lists.lengths[rows] > 0)
    found[real] = values[lists.starts[rows[real]] + positions[real]]
    return found


def histograms(negatives: Negatives, scores: dict[str, np.ndarray], context: RunContext) -> dict[str, Any]:
    """Return the histograms of scores (see `read_negatives`), margins and ECI, each with its bin edges."""
    chosen = counts(negatives.score, scores["edges"])
    eci = Shards(context.folder("report") / "queries", QUERY_REPORT).column("eci").to_numpy()
    return {
        "score": {name: values.tolist() for name, values in (scores | {"chosen": chosen}).items()},
        "margin": _histogram("chosen", negatives.margin),
        "eci": _histogram("queries", eci, (0.0, float(np.log1p(context.config.emit.num_negatives))), 25),
    }


def _histogram(name: str, values: np.ndarray, cover: tuple[float, ...] = (), bins: int = 40) -> dict[str, Any]:
    """Return a histogram of one series whose edges cover its values and the numbers `cover`; [0, 1] without any."""
    every = np.concatenate([values, np.array(cover)]).astype(np.float64)
    edges = borders(float(every.min()), float(every.max()), bins) if len(every) else np.array([0.0, 1.0])
    return {"edges": edges.tolist(), name: counts(values, edges).tolist()}


def hardness_by_place(negatives: Negatives) -> list[dict[str, Any]]:
    """Return mean hardness and margin at each place among an anchor's negatives, the first place first."""
    found = []
    for place in range(int(negatives.place.max(initial=-1)) + 1):
        own = negatives.place == place
        means = {name: float(getattr(negatives, name)[own].mean()) for name in ("hardness", "margin")}
        found.append({"place": place + 1, "negatives": int(own.sum()), **means})
    return found


def near_copies(negatives: Negatives, verdicts: dict[str, int]) -> dict[str, Any]:
    """Return how many copies and near-copies the checks rejected, and how many chosen negatives are close to one."""
    close = int((negatives.similarity >= CLOSE_TO_POSITIVE).sum())
    return {
        "taken_out": {name: verdicts[name] for name in COPY_VERDICTS},
        "chosen": close,
        "chosen_share": share(close, len(negatives.place)),
        "similarity": CLOSE_TO_POSITIVE,
    }


def sources(negatives: Negatives, config: Config) -> dict[str, Any]:
    """Return count, share and mean hardness of retrieved and random negatives, and of those of an earlier run.

    With several sources of candidates also of each source.
    """
    groups = {"retrieved": negatives.retrieved}
    if config.previous is not None:
        groups["previous"] = ~negatives.retrieved & ~negatives.random
    groups["random"] = negatives.random
    found = {}
    for name, own in groups.items():
        count, hard = int(own.sum()), mean(negatives.hardness[own])
        found[name] = {"negatives": count, "share": share(count, len(own)), "hardness": hard}
    return found | shares(negatives.found_by, negatives.hardness, config)
