"""Per-query statistics of the retrieved candidates, by which other queries' positives are measured."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.config import FilterConfig
from hnmine.science.z_scores import group_moments
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.features import IN_LIST
from hnmine.stages.filter.inputs import slices
from hnmine.stages.filter.verdicts import anchor_scores
from hnmine.storage.store import Shards

_COLUMNS = [
    "query_row", "positive_rows", "positive_scores", "doc_rows", "scores", "ranks", "similarities", "query_overlaps",
    "positive_overlaps", "background_mean", "background_std", "positive_background_mean", "positive_background_std",
    "guide_scores", "guide_positive_scores", "source_ranks",
]  # fmt: skip


@dataclass(frozen=True)
class QueryStatistics:
    """Statistics of each query, by its row.

    Attributes:
        mean: mean of each quantity of `IN_LIST` over the candidates without positives, float64, shape (queries, 4).
        scale: standard deviation, infinite where it is 0, same shape.
        least: minimum, same shape; -inf for queries without such candidates.
        background: mean and standard deviation of scores to random documents, float32, shape (queries, 2).
        positives: rows of the positives.
        positive_background: mean and standard deviation of each positive's cosines to random documents, shape
            (positives, 2).
        anchors: anchor scores.
        scores: scores of the candidates, descending.
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
    def of(cls, batch: Batch, config: FilterConfig) -> "QueryStatistics":
        """Return the statistics of the queries of a batch."""
        values = [getattr(batch, name).astype(np.float64) for name in IN_LIST.values()]
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
    def read(cls, candidates: Shards, config: FilterConfig) -> "QueryStatistics":
        """Return the statistics of all queries from the candidates of retrieve, with the teacher's scores."""
        parts = [
            cls.of(Batch.from_table(piece), config)
            for number in range(len(candidates))
            for piece in slices(candidates.read(number, _COLUMNS))
        ]
        joined: dict[str, Any] = {}
        for name in (field.name for field in fields(cls)):
            own = [getattr(part, name) for part in parts]
            joined[name] = Ragged.concatenate(own) if isinstance(own[0], Ragged) else np.concatenate(own)
        return cls(**joined)

    def standardise(self, number: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return (x - mean) / scale within each query's candidates, as the filter standardises the candidates.

        Documents that were not retrieved get at least the minimum of the candidates: nothing is known further down.

        Args:
            number: index in `IN_LIST`.
            rows: int64, shape (q,): query rows.
            values: shape (q, d): x of d documents.
        """
        mean, scale, least = (part[rows, number][:, None] for part in (self.mean, self.scale, self.least))
        return np.asarray((np.maximum(values, least) - mean) / scale)

    def ranks(self, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the rank of each score among its query's candidates: 1 + the number of higher ones, int64.

        Args:
            rows: int64, shape (q,): query rows.
            scores: shape (q, d).
        """
        own, width = self.scores.take(rows), scores.shape[1]
        table = np.full((len(rows), width + int(own.lengths.max(initial=0))), -np.inf, dtype=np.float32)
        table[:, :width] = scores
        table[own.owners, width + own.positions] = own.values
        order = np.argsort(-table, axis=1, kind="stable")  # equal scores: candidates last
        higher = np.cumsum(order >= width, axis=1)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, higher + 1, axis=1)
        return np.asarray(ranks[:, :width])
