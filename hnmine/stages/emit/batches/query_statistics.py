"""Per-query statistics of the retrieved candidates, by which other queries' positives are measured."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hnmine.arrays.groups import SortedGroups
from hnmine.arrays.ragged import Ragged
from hnmine.config.filter import FilterConfig
from hnmine.science.z_scores import background_z_scores, group_moments
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.features import IN_LIST
from hnmine.stages.filter.inputs import slices
from hnmine.stages.filter.verdicts import anchor_scores
from hnmine.storage.store import Shards

_COLUMNS = [
    "positive_rows", "positive_scores", "doc_rows", "scores", "similarities", "query_overlaps", "positive_overlaps",
    "background_mean", "background_std", "positive_background_mean", "positive_background_std", "near_queries",
    "nearness", "near_label_shares",
]  # fmt: skip


@dataclass(frozen=True)
class QueryStatistics:
    """Statistics of each query, by its row.

    Attributes:
        in_list: float64, shape (queries, 5, 3): mean, standard deviation (infinite where it is 0) and minimum (-inf
            without candidates) of each quantity of `IN_LIST` over the candidates without positives.
        background: mean and standard deviation of scores to random documents, float32, shape (queries, 2).
        positive_background: mean and standard deviation of each positive's cosines to random documents, shape
            (positives, 2).
        positives: rows of the positives.
        anchors: anchor scores.
        scores: scores of the candidates.
        near_queries: rows of the near queries.
        nearness: how near each of them is.
    """

    in_list: np.ndarray
    background: np.ndarray
    positive_background: np.ndarray
    positives: Ragged
    anchors: Ragged
    scores: Ragged
    near_queries: Ragged
    nearness: Ragged

    @classmethod
    def read(cls, candidates: Shards, config: FilterConfig) -> "QueryStatistics":
        """Return the statistics of all queries from candidates with the teacher's scores."""
        arrays, lists = [], []
        for number in range(len(candidates)):
            for piece in slices(candidates.read(number, _COLUMNS)):
                batch = Batch.from_table(piece)
                background = np.stack([batch.background_mean, batch.background_std], axis=1)
                of_positives = np.stack([batch.positive_background_mean, batch.positive_background_std], axis=1)
                arrays.append((_in_list(batch), background, of_positives))
                scores = batch.candidates.with_values(batch.scores)
                near = batch.near_queries, batch.near_queries.with_values(batch.nearness)
                lists.append((batch.positives, anchor_scores(batch.positive_scores, config), scores, *near))
        joined: list[Any] = [np.concatenate(parts) for parts in zip(*arrays, strict=True)]
        return cls(*joined, *(Ragged.concatenate(parts) for parts in zip(*lists, strict=True)))

    def standardise(self, name: str, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return (x - mean) / scale within each query's candidates, as the filter standardises the candidates.

        Documents that were not retrieved get at least the minimum of the candidates: nothing is known further down.

        Args:
            name: of the quantity, in `IN_LIST`.
            rows: int64, shape (q,): query rows.
            values: shape (q, d): x of d documents.
        """
        mean, scale, least = self.in_list[rows, list(IN_LIST).index(name)].T[:, :, None]
        return np.asarray((np.maximum(values, least) - mean) / scale)

    def measures(
        self, rows: np.ndarray, quantities: dict[str, np.ndarray], cosines: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return the measures that `assemble_features` takes, by name, each of shape (q, d).

        Args:
            rows: int64, shape (q,): query rows.
            quantities: those of `IN_LIST` and near_label, each of shape (q, d).
            cosines: of each positive of each query to d documents, shape (positives, d).
        """
        mean, std = self.background[rows].T.astype(np.float64)[:, :, None]
        spread = self.positive_background[self.positives.places(rows)].T[:, :, None]
        starts = np.cumsum(self.positives.lengths[rows]) - self.positives.lengths[rows]
        own, scores = self.scores.take(rows), quantities["score"]
        candidates = SortedGroups.of(-own.values, own.owners, len(rows))
        higher = candidates.count_below(-scores.ravel(), np.repeat(np.arange(len(rows)), scores.shape[1]))
        in_list = {f"{name}_in_list": self.standardise(name, rows, quantities[name]) for name in IN_LIST}
        return (
            quantities
            | in_list
            | {
                "score": background_z_scores(scores, mean, std),
                "similarity": np.maximum.reduceat(background_z_scores(cosines, *spread), starts, axis=0),
                "rank": 1 + higher.reshape(scores.shape),
            }
        )

    def standard_anchors(self, rows: np.ndarray, anchors: np.ndarray) -> np.ndarray:
        """Return anchor scores (int64, positions in `anchors`) in deviations of their queries' background, float64."""
        mean, std = self.background[rows].T.astype(np.float64)
        return background_z_scores(self.anchors.values[anchors], mean, std)


def _in_list(batch: Batch) -> np.ndarray:
    """Return the attribute `in_list` of the queries of a batch."""
    found = []
    for name in IN_LIST.values():
        values, least = getattr(batch, name).astype(np.float64), np.full(len(batch), np.inf)
        np.minimum.at(least, batch.owners[batch.counted], values[batch.counted])
        least[np.isinf(least)] = -np.inf
        found.append([*group_moments(values, batch.owners, batch.counted, len(batch)), least])
    return np.array(found).transpose(2, 0, 1)
