"""The candidates of some queries as arrays, and the cells that rules decide on: one for each (anchor, candidate)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.groups import ranges
from hnmine.arrays.ragged import Ragged, list_array, list_maxima
from hnmine.stages.rescore.rescored import CROSS_SCORES, TEACHER

_BY_VALUE = (
    "ranks", "similarities", "query_overlaps", "positive_overlaps", "positive_background_mean",
    "positive_background_std", "near_labels", "near_label_shares", "guide_scores", CROSS_SCORES,
)  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """The scores of one model for a batch.

    Attributes:
        scores: float32, shape (candidates,); NaN where the model gives none.
        positive_scores: scores of each query's positives.
        background_mean: mean score of each query to random documents, shape (queries,).
        background_std: standard deviation of the same.
    """

    scores: np.ndarray
    positive_scores: Ragged
    background_mean: np.ndarray
    background_std: np.ndarray

    def select(self, queries: np.ndarray, positives: Ragged, candidates: Ragged) -> "Scores":
        """Return the scores of a selection: see `Batch.select`."""
        return Scores(
            self.scores[candidates.values],
            positives.with_values(self.positive_scores.values[positives.values]),
            self.background_mean[queries],
            self.background_std[queries],
        )


@dataclass(frozen=True)
class Batch(Scores):
    """The candidates of some queries, as retrieve writes them.

    Scores are the teacher's; under filter.score = rescored the cross-encoder's as percentiles.

    Attributes:
        query_rows: int64, shape (queries,).
        positives: document rows of each query's labelled positives.
        candidates: document rows of each query's candidates, best first.
        ranks: rank in the retrieval from 1, shape (candidates,).
        similarities: cosine of each candidate to each positive of its query, candidate by candidate.
        query_overlaps: share of the query's word weight that each candidate holds, shape (candidates,).
        positive_overlaps: weighted word overlap of each candidate with each positive, ordered as `similarities`.
        positive_background_mean: mean cosine of each positive to random documents.
        positive_background_std: standard deviation of the same.
        near_queries: rows of the queries that are most similar to each query.
        nearness: how similar each of them is, in the deviations of `near_query_weights`, ordered as they are.
        near_labels: nearness of the nearest of them that has the candidate as a positive, shape (candidates,); 0 where
            none has.
        near_label_shares: share of their weight that has the candidate as a positive, shape (candidates,).
        guide_scores: the guide's score, shape (candidates,); empty without a guide.
        guide_positive_scores: the guide's scores of the positives; empty lists without a guide.
        cross_scores: percentile of the cross-encoder's score, shape (candidates,), NaN where it was not scored; empty
            where candidates are not checked by one.
        source_ranks: int32, shape (candidates, sources): rank in each source from 1, 0 where the source did not find
            the candidate; shape (candidates, 0) where the teacher alone finds candidates.
        permitted: bool, one for each similarity: whether `retrieve.where` would allow the candidate if that positive
            were the query's only one; None without conditions.
        teacher: the teacher's scores where `scores` are another model's; else None.
        listed: bool, shape (candidates,): whether each candidate was retrieved. Statistics of a query are taken over
            retrieved candidates alone. None: all were.
    """

    query_rows: np.ndarray
    positives: Ragged
    candidates: Ragged
    ranks: np.ndarray
    similarities: np.ndarray
    query_overlaps: np.ndarray
    positive_overlaps: np.ndarray
    positive_background_mean: np.ndarray
    positive_background_std: np.ndarray
    near_queries: Ragged
    nearness: np.ndarray
    near_labels: np.ndarray
    near_label_shares: np.ndarray
    guide_scores: np.ndarray
    guide_positive_scores: Ragged
    cross_scores: np.ndarray
    source_ranks: np.ndarray
    permitted: np.ndarray | None = None
    teacher: Scores | None = None
    listed: np.ndarray | None = None

    @classmethod
    def from_table(cls, table: pa.Table) -> "Batch":
        """Return the arrays of a table of candidates; columns that the table does not have give empty arrays."""
        has_teacher = f"{TEACHER}scores" in table.column_names
        by_value: dict[str, Any] = {name: _list_of(table, name).values for name in _BY_VALUE}
        return cls(
            query_rows=_numbers_of(table, "query_row"),
            positives=_list_of(table, "positive_rows"),
            candidates=_list_of(table, "doc_rows"),
            near_queries=_list_of(table, "near_queries"),
            nearness=_list_of(table, "nearness").values,
            guide_positive_scores=_list_of(table, "guide_positive_scores"),
            source_ranks=source_ranks(table),
            teacher=Scores(**_scores(table, TEACHER)) if has_teacher else None,
            **_scores(table),
            **by_value,
        )

    @classmethod
    def concatenate(cls, parts: "Sequence[Batch]") -> "Batch":
        """Return the queries of one or more batches of the same run, one batch after another."""
        return cls(**_joined(cls, parts))

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def has_guide(self) -> bool:
        """Whether the candidates were also scored by a guide."""
        return len(self.guide_positive_scores.values) > 0

    @property
    def is_checked(self) -> bool:
        """Whether the candidates were also scored by a cross-encoder, which may reject what the rules keep."""
        return len(self.cross_scores) > 0

    @property
    def has_teacher(self) -> bool:
        """Whether the candidates have the teacher's scores beside another model's."""
        return self.teacher is not None and len(self.candidates) > 0

    @cached_property
    def owners(self) -> np.ndarray:
        """Query of each candidate, as a position in the batch, int64."""
        return self.candidates.owners

    @cached_property
    def is_positive(self) -> np.ndarray:
        """Whether each candidate is a labelled positive of its query, bool."""
        return self.positives.contains(self.owners, self.candidates.values)

    @property
    def hideable(self) -> np.ndarray:
        """Whether each candidate is a positive, and allowed if another positive were the only known one, bool."""
        if self.permitted is None:
            return self.is_positive
        widths = self.positives.lengths[self.owners]
        of = np.repeat(np.arange(len(widths)), widths)
        other = self.positives.take(self.owners).values != self.candidates.values[of]
        return self.is_positive & (np.bincount(of[self.permitted & other], minlength=len(widths)) > 0)

    @cached_property
    def counted(self) -> np.ndarray:
        """Whether each candidate counts in its query's statistics, bool: no labelled positive, and has a score."""
        return np.asarray(~self.is_positive & ~np.isnan(self.scores))

    @property
    def teacher_scores(self) -> np.ndarray:
        """The teacher's score of each candidate, whichever model `scores` are from."""
        return self.scores if self.teacher is None else self.teacher.scores

    @cached_property
    def similarity(self) -> np.ndarray:
        """Largest cosine of each candidate to a positive of its query, float32."""
        return self.most(self.similarities)

    @cached_property
    def overlap(self) -> np.ndarray:
        """Largest word overlap of each candidate with a positive of its query, float32."""
        return self.most(self.positive_overlaps)

    def most(self, values: np.ndarray) -> np.ndarray:
        """Return the largest of each candidate's values, given one for each positive of its query."""
        return list_maxima(values, self.candidates.lengths, self.positives.lengths)

    def similarity_of(self, candidates: np.ndarray) -> np.ndarray:
        """Return `similarity` of some candidates (int64, positions in the batch) without computing all of them."""
        widths = self.positives.lengths[self.owners[candidates]]
        at = ranges(self.first_pairs(candidates), widths)
        return list_maxima(self.similarities[at], np.ones(len(candidates), dtype=np.int64), widths)

    def first_pairs(self, candidates: np.ndarray) -> np.ndarray:
        """Return the position in `similarities` of each candidate's first value (int64, positions in the batch)."""
        widths, query = self.positives.lengths, self.owners[candidates]
        pairs = self.candidates.lengths * widths
        before = np.cumsum(pairs) - pairs
        return np.asarray(before[query] + (candidates - self.candidates.offsets[query]) * widths[query])

    def select(self, queries: np.ndarray, positives: Ragged, candidates: Ragged) -> "Batch":
        """Return a batch of some queries with some of their positives and candidates; `permitted` is left out.

        Args:
            queries: int64, shape (n,): positions in this batch; repeats are fine.
            positives: for each of them, positions in `self.positives.values`.
            candidates: for each of them, positions in `self.candidates.values`.
        """
        at, places = positives.values, candidates.values
        within_query = positives.with_values(at - self.positives.offsets[queries][positives.owners])
        pairs = within_query.take(candidates.owners)
        pair_places = self.first_pairs(places)[pairs.owners] + pairs.values
        guide_scores, guided = self.guide_scores, self.guide_positive_scores.take(queries)
        if self.has_guide:
            guide_scores, guided = guide_scores[places], positives.with_values(self.guide_positive_scores.values[at])
        return Batch(
            query_rows=self.query_rows[queries],
            positives=positives.with_values(self.positives.values[at]),
            candidates=candidates.with_values(self.candidates.values[places]),
            ranks=self.ranks[places],
            similarities=self.similarities[pair_places],
            query_overlaps=self.query_overlaps[places],
            positive_overlaps=self.positive_overlaps[pair_places],
            positive_background_mean=self.positive_background_mean[at],
            positive_background_std=self.positive_background_std[at],
            near_queries=self.near_queries.take(queries),
            nearness=self.nearness[self.near_queries.places(queries)],
            near_labels=self.near_labels[places],
            near_label_shares=self.near_label_shares[places],
            guide_scores=guide_scores,
            guide_positive_scores=guided,
            cross_scores=self.cross_scores[places] if self.is_checked else self.cross_scores,
            source_ranks=self.source_ranks[places],
            teacher=None if self.teacher is None else self.teacher.select(queries, positives, candidates),
            **vars(super().select(queries, positives, candidates)),
        )


def _joined(kind: type[Scores], parts: Sequence[Any]) -> dict[str, Any]:
    """Return each attribute of the parts, concatenated; None where they have none."""
    found: dict[str, Any] = {}
    for name in (one.name for one in fields(kind)):
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], Ragged):
            found[name] = Ragged.concatenate(values)
        elif isinstance(values[0], Scores):
            found[name] = Scores(**_joined(Scores, values))
        else:
            # without candidates there is no telling how many sources there are
            found[name] = None if values[0] is None else np.concatenate([v for v in values if len(v)] or values[:1])
    return found


def _scores(table: pa.Table, prefix: str = "") -> dict[str, Any]:
    return {
        "scores": _list_of(table, f"{prefix}scores").values,
        "positive_scores": _list_of(table, f"{prefix}positive_scores"),
        **{name: _numbers_of(table, f"{prefix}{name}") for name in ("background_mean", "background_std")},
    }


def _list_of(table: pa.Table, name: str) -> Ragged:
    if name in table.column_names:
        return Ragged.from_arrow(table.column(name))
    return Ragged(np.zeros(0, dtype=np.float32), np.zeros(table.num_rows + 1, dtype=np.int64))


def _numbers_of(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table.column(name).to_numpy() if name in table.column_names else np.zeros(0, dtype=np.float32))


def source_ranks(table: pa.Table) -> np.ndarray:
    """Return each candidate's rank in each source, int32, shape (candidates, sources); 0 where it was not found."""
    candidates = len(_list_of(table, "doc_rows").values)
    ranks = _list_of(table, "source_ranks").values  # floats, NaN for null
    sources = len(ranks) // candidates if candidates else 0
    return np.asarray(np.nan_to_num(ranks).astype(np.int32).reshape(candidates, sources))


@dataclass(frozen=True)
class Cells:
    """Each anchor of each query paired with each candidate of the query, anchor by anchor.

    Attributes:
        anchors: each query's anchor scores.
        anchor: the anchor of each cell, a position in anchors.values, int64, ascending.
        candidate: the candidate of each cell, a position in the batch, int64.
    """

    anchors: Ragged
    anchor: np.ndarray
    candidate: np.ndarray

    @classmethod
    def of(cls, batch: Batch, anchors: Ragged) -> "Cells":
        """Return the cells of a batch for the given anchor scores."""
        lengths = batch.candidates.lengths[anchors.owners]
        return cls(anchors, np.repeat(np.arange(len(lengths)), lengths), batch.candidates.places(anchors.owners))

    @cached_property
    def scores(self) -> np.ndarray:
        """Anchor score of each cell, float32."""
        return np.asarray(self.anchors.values[self.anchor])

    def nest(self, batch: Batch, values: pa.Array) -> pa.Array:
        """Return one value a cell as list<list<...>>: for each query, for each anchor, for each candidate."""
        lengths = batch.candidates.lengths[self.anchors.owners]
        return list_array(self.anchors.offsets, list_array(np.concatenate([[0], np.cumsum(lengths)]), values))
