"""What pairs are judged by and is the same for every pair of a query: found once, from its retrieved candidates."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config import FilterConfig
from hnmine.science.z_scores import group_moments
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.features import IN_LIST
from hnmine.stages.filter.inputs import slices
from hnmine.stages.filter.verdicts import anchor_scores
from hnmine.storage.store import Shards

_COLUMNS = (
    "query_row", "positive_rows", "positive_scores", "doc_rows", "scores", "ranks", "similarities", "query_overlaps",
    "positive_overlaps", "background_mean", "background_std", "positive_background_mean", "positive_background_std",
    "guide_scores", "guide_positive_scores", "source_ranks",
)  # fmt: skip


@dataclass(frozen=True)
class Lists:
    """What is known of each query, by its row.

    Attributes:
        mean: of each quantity of `IN_LIST` over its candidates, positives not counted, float64, shape (queries, 4).
        scale: their standard deviation, infinite where there is none, same shape.
        least: the lowest of them, same shape; -inf where nothing counts.
        background: mean and standard deviation of its scores to random documents, float32, shape (queries, 2).
        positives: rows of its positives.
        positive_background: of each positive: mean and deviation of its cosines to random documents, shape (n, 2).
        anchors: its anchor scores.
        scores: of its candidates, descending.
    """

    mean: np.ndarray
    scale: np.ndarray
    least: np.ndarray
    background: np.ndarray
    positives: Ragged
    positive_background: np.ndarray
    anchors: Ragged
    scores: Ragged

    @classmethod
    def of(cls, batch: Batch, config: FilterConfig) -> "Lists":
        """Return what is known of the queries of a batch."""
        values = [getattr(batch, name).astype(np.float64) for name in IN_LIST]
        found = [group_moments(one, batch.owners, batch.counted, len(batch)) for one in values]
        least = np.full((len(batch), len(values)), np.inf)
        at = batch.counted
        for number, one in enumerate(values):
            np.minimum.at(least[:, number], batch.owners[at], one[at])
        return cls(
            np.stack([mean for mean, _ in found], axis=1),
            np.stack([scale for _, scale in found], axis=1),
            np.where(np.isinf(least), -np.inf, least),
            np.stack([batch.background_mean, batch.background_std], axis=1),
            batch.positives,
            np.stack([batch.positive_background_mean, batch.positive_background_std], axis=1),
            anchor_scores(batch, config),
            batch.candidates.with_values(batch.scores[np.lexsort((-batch.scores, batch.owners))]),
        )

    @classmethod
    def read(cls, candidates: Shards, config: FilterConfig) -> "Lists":
        """Return what is known of all queries; candidates have the teacher's scores, as retrieve wrote them."""
        parts = [
            cls.of(Batch.from_table(piece), config)
            for number in range(len(candidates))
            for piece in slices(candidates.read(number, list(_COLUMNS)))
        ]
        columns: list[list[Any]] = [[getattr(part, field.name) for part in parts] for field in fields(cls)]
        joined: list[Any] = [(Ragged if isinstance(c[0], Ragged) else np).concatenate(c) for c in columns]
        return cls(*joined)

    def standardised(self, number: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return (x - mean) / scale within each query's candidates, as the filter standardises these themselves.

        What was not retrieved gets no lower a value than the least of those: further down nothing is known.

        Args:
            number: which of `IN_LIST`.
            rows: of the queries, int64, shape (q,).
            values: x, shape (q, d): of some documents.
        """
        mean, scale, least = (part[rows, number][:, None] for part in (self.mean, self.scale, self.least))
        return np.asarray((np.maximum(values, least) - mean) / scale)

    def ranks(self, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the rank that each score has among its query's candidates: 1 + those that score higher, int64.

        Args:
            rows: of the queries, int64, shape (q,).
            scores: shape (q, d).
        """
        own = self.scores.take(rows)
        width = int(own.lengths.max(initial=0))
        table = np.full((len(rows), scores.shape[1] + width), -np.inf, dtype=np.float32)
        table[:, : scores.shape[1]] = scores
        table[own.owners, scores.shape[1] + own.positions] = own.values
        order = np.argsort(-table, axis=1, kind="stable")  # equal scores: candidates last
        higher = np.cumsum(order >= scores.shape[1], axis=1)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, higher + 1, axis=1)
        return np.asarray(ranks[:, : scores.shape[1]])


def rejected_candidates(judged: Shards, threshold: float, *, spare_judged: bool) -> Ragged:
    """Return for each anchor of all queries the candidates whose P(false negative) is above a threshold.

    Args:
        judged: the judged candidates, with probabilities.
        threshold: on P.
        spare_judged: whether candidates judged irrelevant are left out.
    """
    rows, lengths = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for number in range(len(judged)):
        table = judged.read(number, ["doc_rows", "probabilities", "judged_negatives"])
        documents = Ragged.from_arrow(table.column("doc_rows"))
        by_anchor = table.column("probabilities").combine_chunks()
        anchors = Ragged.from_arrow(by_anchor.flatten())
        owners = np.repeat(np.arange(table.num_rows), np.diff(by_anchor.offsets.to_numpy()))
        at = documents.places(owners)
        above = anchors.values > threshold
        if spare_judged:
            above &= ~np.asarray(Ragged.from_arrow(table.column("judged_negatives")).values, dtype=bool)[at]
        rows.append(documents.values[at[above]])
        lengths.append(np.bincount(anchors.owners[above], minlength=len(anchors)))
    return Ragged.from_lengths(np.concatenate(rows), np.concatenate(lengths))


def column_of(shards: Shards, name: str) -> Ragged:
    """Return a list column of all rows."""
    column: pa.ChunkedArray = shards.column(name)
    return Ragged.from_arrow(column)
