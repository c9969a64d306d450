"""What the report draws: histograms of scores and margins, hardness by place, near-copies, and each negative's facts.

One pass over the judged candidates, some queries at a time. What is kept of it is small: counts, and a few numbers for
each chosen negative.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.histogram import bins, borders, counts, tally
from hnmine.arrays.ragged import Ragged
from hnmine.config import Config
from hnmine.runtime.stage import RunContext
from hnmine.runtime.threads import in_threads
from hnmine.science.eci import hardness
from hnmine.stages.emit.choose import cells_of
from hnmine.stages.emit.source_labels import RANDOM_DOCUMENT, shares, source_sets
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.inputs import pieces
from hnmine.storage.schemas.filter import JUDGED_CODED
from hnmine.storage.schemas.report import QUERY_REPORT
from hnmine.storage.store import Shards

NEAR_COPY = 0.95
"""A chosen negative with this cosine to a positive, or a higher one, is counted as a near-copy that was let through."""
NEAR_CHECKS = ("copy_of_positive", "copy_of_query", "copy_of_negative", "near_copy_of_positive", "near_copy_of_query")


_SERIES = ("kept", "rejected", "positive")
_COLUMNS = [
    "query_row", "positive_rows", "positive_scores", "doc_rows", "scores", "similarities", "query_overlaps",
    "background_mean", "source_ranks", "anchor_scores", "verdicts", "probabilities",
]  # fmt: skip


@dataclass(frozen=True)
class Negatives:
    """Facts of every chosen negative, in the order of the chosen table; all of shape (negatives,).

    Attributes:
        anchor: row of the chosen table it belongs to, int64.
        query: its query's row, int64.
        document: its document's row, int64.
        place: its place among the anchor's negatives, from 0.
        score: the teacher's score, float32.
        margin: anchor score minus score, float32.
        hardness: H, float64.
        similarity: cosine to the most similar positive; NaN for a random document.
        overlap: share of the query's word weight it holds; NaN for a random document.
        probability: P(false negative); NaN where it has none.
        found_by: the sources that found it, int64: see `hnmine.stages.emit.source_labels`.
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
        """Which are random documents, bool."""
        return np.asarray(self.found_by == RANDOM_DOCUMENT)

    @property
    def retrieved(self) -> np.ndarray:
        """Which are candidates of their query, bool."""
        return np.asarray(self.found_by >= 0)


@dataclass(frozen=True)
class Spread:
    """What one pass over the candidates found.

    Attributes:
        negatives: facts of the chosen.
        score_edges: borders of the score bins.
        kept: counts of cells with the verdict keep.
        rejected: counts of cells with any other verdict, labelled positives apart.
        positive: counts of labelled positives.
    """

    negatives: Negatives
    score_edges: np.ndarray
    kept: np.ndarray
    rejected: np.ndarray
    positive: np.ndarray


def spread(context: RunContext, chosen: pa.Table) -> Spread:
    """Return the facts of the chosen negatives and the histograms of all candidates."""
    shards = Shards(context.reading("filter"), JUDGED_CODED)
    edges = _score_edges(shards, chosen)
    starts = chosen.column("query_row").to_numpy()

    def look(number: int) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        return [_look(piece, edges, starts, chosen) for _, piece in pieces(shards.read(number, _COLUMNS))]

    parts = [part for found in in_threads(look, range(len(shards))) for part in found]
    totals = {
        name: sum((counted[name] for counted, _ in parts), np.zeros(len(edges) - 1, dtype=np.int64)) for name in _SERIES
    }
    names = tuple(Negatives.__dataclass_fields__)
    facts = {name: np.concatenate([np.zeros(0), *(own[name] for _, own in parts)]) for name in names}
    whole = {name: facts[name].astype(np.int64) for name in ("anchor", "query", "document", "place", "found_by")}
    return Spread(Negatives(**(facts | whole)), edges, **totals)


def _look(
    piece: pa.Table, edges: np.ndarray, starts: np.ndarray, chosen: pa.Table
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return a piece's counts of each series and the facts of its chosen; `starts` are the queries of `chosen`."""
    batch = Batch.from_table(piece)
    cells, keep = cells_of(piece, batch)
    kept = np.bincount(cells.candidate[keep], minlength=len(batch.scores))
    rejected = np.where(batch.counted, cells.anchors.lengths[batch.owners] - kept, 0)
    place = bins(batch.scores, edges)
    counted = {
        "kept": tally(place, len(edges) - 1, kept),
        "rejected": tally(place, len(edges) - 1, rejected),
        "positive": counts(batch.positive_scores.values, edges),
    }
    low, high = np.searchsorted(starts, batch.query_rows[[0, -1]] + np.array([0, 1]))
    return counted, _facts(piece, batch, cells, (int(low), chosen.slice(low, high - low)))


def _score_edges(shards: Shards, chosen: pa.Table) -> np.ndarray:
    """Return borders that hold every score of a candidate, a positive or a chosen negative."""

    def ends(number: int) -> list[np.ndarray]:
        table, found = shards.read(number, ["scores", "positive_scores"]), []
        for name in table.column_names:
            values = Ragged.from_arrow(table.column(name)).values
            values = values[~np.isnan(values)]  # candidates that were not rescored have none
            found.append(np.array([values.min(), values.max()]) if len(values) else values)
        return found

    found = [Ragged.from_arrow(chosen.column("scores")).values]
    found += [values for some in in_threads(ends, range(len(shards))) for values in some]
    every = np.concatenate(found).astype(np.float64)
    return borders(float(every.min()), float(every.max())) if len(every) else np.array([0.0, 1.0])


def _facts(piece: pa.Table, batch: Batch, cells: Cells, chosen: tuple[int, pa.Table]) -> dict[str, np.ndarray]:
    """Return the facts of a piece's chosen negatives; `chosen` is their first row, and their rows, of the table."""
    first, rows = chosen
    lists = {name: Ragged.from_arrow(rows.column(name)) for name in ("positions", "doc_rows", "scores")}
    positions, scores = lists["positions"], lists["scores"].values
    owners, places = positions.owners, positions.values.astype(np.int64)
    query = cells.anchors.owners[owners]
    retrieved = places >= 0
    at = batch.candidates.offsets[:-1][query] + np.where(retrieved, places, 0)
    anchor, s0 = cells.anchors.values[owners], batch.background_mean[query]
    similarity = np.full(len(at), np.nan)
    similarity[retrieved] = batch.similarity_of(at[retrieved])
    return {
        "anchor": owners + first,
        "query": batch.query_rows[query],
        "document": lists["doc_rows"].values,
        "place": np.arange(len(owners)) - positions.offsets[:-1][owners],
        "score": scores,
        "margin": anchor - scores,
        "hardness": hardness(scores, anchor, s0),
        "similarity": similarity,
        "overlap": _at(batch.query_overlaps, at, retrieved),
        "probability": _probability(piece, owners, places, retrieved),
        "found_by": np.where(
            retrieved, np.append(source_sets(batch.source_ranks), RANDOM_DOCUMENT)[np.where(retrieved, at, -1)], places
        ),
    }


def _at(values: np.ndarray, at: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return values at positions, NaN where not real."""
    found = np.full(len(at), np.nan)
    found[real] = values[at[real]]
    return found


def _probability(piece: pa.Table, anchor: np.ndarray, places: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return P(false negative) of candidates at `places` of each anchor's list; NaN where there is none."""
    of_anchors = Ragged.from_arrow(piece.column("probabilities").combine_chunks().flatten())
    given = real & (of_anchors.lengths[anchor] > 0)
    return _at(of_anchors.values, of_anchors.offsets[:-1][anchor] + np.where(real, places, 0), given)


def histograms(found: Spread, context: RunContext) -> dict[str, Any]:
    """Return the report's histograms: borders, and a count for each bin of each series."""
    negatives = found.negatives
    eci = Shards(context.folder("report") / "queries", QUERY_REPORT).column("eci").to_numpy()
    return {
        "score": {
            "edges": found.score_edges.tolist(),
            "positive": found.positive.tolist(),
            "kept": found.kept.tolist(),
            "rejected": found.rejected.tolist(),
            "chosen": counts(negatives.score, found.score_edges).tolist(),
        },
        "margin": binned({"chosen": negatives.margin}),
        "eci": binned({"queries": eci}, (0.0, float(np.log1p(context.config.emit.num_negatives))), 25),
    }


def binned(series: dict[str, np.ndarray], hold: tuple[float, ...] = (), bins: int = 40) -> dict[str, Any]:
    """Return series of numbers counted on common borders that hold them and the numbers of `hold`.

    Nothing at all gives one empty bin from 0 to 1.
    """
    every = np.concatenate([*series.values(), np.array(hold)]).astype(np.float64)
    edges = borders(float(every.min()), float(every.max()), bins) if len(every) else np.array([0.0, 1.0])
    return {"edges": edges.tolist()} | {name: counts(values, edges).tolist() for name, values in series.items()}


def hardness_by_place(negatives: Negatives) -> list[dict[str, Any]]:
    """Return hardness and margin for each place among an anchor's negatives, the first place first."""
    found = []
    for place in range(int(negatives.place.max(initial=-1)) + 1):
        own = negatives.place == place
        found.append(
            {
                "place": place + 1,
                "negatives": int(own.sum()),
                "hardness": float(negatives.hardness[own].mean()),
                "margin": float(negatives.margin[own].mean()),
            }
        )
    return found


def near_copies(negatives: Negatives, verdicts: dict[str, int]) -> dict[str, Any]:
    """Return how many copies and near-copies the checks took out, and how many of the chosen come near one."""
    close = int((negatives.similarity >= NEAR_COPY).sum())
    return {
        "taken_out": {name: verdicts[name] for name in NEAR_CHECKS},
        "chosen": close,
        "chosen_share": close / max(1, len(negatives.place)),
        "similarity": NEAR_COPY,
    }


def sources(negatives: Negatives, config: Config) -> dict[str, Any]:
    """Return where the negatives come from: counts, shares and mean hardness of retrieved and of random documents.

    With several sources of candidates also of each source.
    """
    found = {}
    wheres = [("retrieved", negatives.retrieved)]
    if config.previous is not None:
        wheres.append(("previous", ~negatives.retrieved & ~negatives.random))
    for name, own in (*wheres, ("random", negatives.random)):
        count = int(own.sum())
        mean = float(negatives.hardness[own].mean()) if count else None
        found[name] = {"negatives": count, "share": count / max(1, len(own)), "hardness": mean}
    return found | shares(negatives.found_by, negatives.hardness, config)
