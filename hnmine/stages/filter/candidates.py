"""The candidates of some queries as arrays, and the cells that rules decide on: one for each (anchor, candidate)."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from hnmine.arrays.largest import most_of_each
from hnmine.arrays.ragged import Ragged
from hnmine.storage.schemas.filter import VERDICTS


@dataclass(frozen=True)
class Scores:
    """The teacher's scores of a batch whose own are another model's.

    Attributes:
        scores: shape (candidates,).
        positive_scores: of each query's positives.
        background_mean: shape (queries,).
        background_std: shape (queries,).
    """

    scores: np.ndarray
    positive_scores: Ragged
    background_mean: np.ndarray
    background_std: np.ndarray

    def take(self, queries: np.ndarray, places: np.ndarray, positives: Ragged, at: np.ndarray) -> "Scores":
        """Return those of some queries: of the candidates at `places`, of the positives at `at`."""
        return Scores(
            self.scores[places],
            positives.with_values(self.positive_scores.values[at]),
            self.background_mean[queries],
            self.background_std[queries],
        )


@dataclass(frozen=True)
class Batch:
    """What retrieve wrote for some queries.

    Attributes:
        query_rows: int64, shape (queries,).
        positives: rows of each query's labelled positives.
        positive_scores: their scores.
        candidates: rows of each query's candidates, best first.
        scores: the teacher's score, shape (candidates,); where filter.score = rescored, the cross-encoder's as a
            percentile, NaN where a candidate has none.
        ranks: rank in the retrieval from 1, shape (candidates,).
        similarities: cosine of each candidate to each positive of its query, candidate by candidate.
        query_overlaps: share of the query's word weight that each candidate holds, shape (candidates,).
        positive_overlaps: weighted word overlap of each candidate with each positive, as similarities.
        background_mean: mean score of each query to random documents, shape (queries,).
        background_std: standard deviation of the same.
        positive_background_mean: mean cosine of each positive to random documents.
        positive_background_std: standard deviation of the same.
        guide_scores: the guide's score, shape (candidates,); empty where there is no guide.
        guide_positive_scores: its scores of the positives; empty lists where there is no guide.
        source_ranks: int32, shape (candidates, sources): rank in each source from 1, 0 where it did not find the
            candidate; shape (candidates, 0) where the teacher alone finds candidates.
        permitted: bool, one a similarity: whether the candidate meets `retrieve.where` where the query has that
            positive alone; None where there are no conditions.
        teacher: the teacher's scores where `scores` are not; None where they are.
        listed: bool, shape (candidates,): whether each candidate was retrieved; the others are only measured against
            those. None: all were.
    """

    query_rows: np.ndarray
    positives: Ragged
    positive_scores: Ragged
    candidates: Ragged
    scores: np.ndarray
    ranks: np.ndarray
    similarities: np.ndarray
    query_overlaps: np.ndarray
    positive_overlaps: np.ndarray
    background_mean: np.ndarray
    background_std: np.ndarray
    positive_background_mean: np.ndarray
    positive_background_std: np.ndarray
    guide_scores: np.ndarray
    guide_positive_scores: Ragged
    source_ranks: np.ndarray
    permitted: np.ndarray | None = None
    teacher: Scores | None = None
    listed: np.ndarray | None = None

    @classmethod
    def from_table(cls, table: pa.Table) -> "Batch":
        """Return the arrays of a table of candidates; those of columns that were not read are empty."""
        lists = {name: _list_of(table, name) for name in _LISTS}
        flat = {name: _numbers_of(table, name) for name in ("query_row", "background_mean", "background_std")}
        return cls(
            query_rows=flat["query_row"],
            positives=lists["positive_rows"],
            positive_scores=lists["positive_scores"],
            candidates=lists["doc_rows"],
            scores=lists["scores"].values,
            ranks=lists["ranks"].values,
            similarities=lists["similarities"].values,
            query_overlaps=lists["query_overlaps"].values,
            positive_overlaps=lists["positive_overlaps"].values,
            background_mean=flat["background_mean"],
            background_std=flat["background_std"],
            positive_background_mean=lists["positive_background_mean"].values,
            positive_background_std=lists["positive_background_std"].values,
            guide_scores=lists["guide_scores"].values,
            guide_positive_scores=lists["guide_positive_scores"],
            source_ranks=source_ranks(table),
            teacher=_teacher(table),
        )

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def has_guide(self) -> bool:
        """Whether the candidates were scored by a guide too."""
        return len(self.guide_positive_scores.values) > 0

    @cached_property
    def owners(self) -> np.ndarray:
        """Query of each candidate, as a position in the batch."""
        return self.candidates.owners

    @cached_property
    def is_positive(self) -> np.ndarray:
        """Whether each candidate is a labelled positive of its query."""
        return self.positives.contains(self.owners, self.candidates.values)

    @property
    def hideable(self) -> np.ndarray:
        """Whether each candidate is a positive that would be a candidate too if another were the only one known."""
        if self.permitted is None:
            return self.is_positive
        widths = self.positives.lengths[self.owners]
        of = np.repeat(np.arange(len(widths)), widths)
        other = self.positives.take(self.owners).values != self.candidates.values[of]
        return self.is_positive & (np.bincount(of[self.permitted & other], minlength=len(widths)) > 0)

    @cached_property
    def counted(self) -> np.ndarray:
        """Whether each candidate counts in a query's statistics: it is no labelled positive, and it has a score."""
        return np.asarray(~self.is_positive & ~np.isnan(self.scores))

    @property
    def teacher_scores(self) -> np.ndarray:
        """The teacher's score of each candidate, whatever `scores` are."""
        return self.scores if self.teacher is None else self.teacher.scores

    def by_teacher(self) -> "Batch":
        """Return the same with the teacher's scores."""
        if self.teacher is None:
            return self
        own = self.teacher
        return replace(
            self,
            scores=own.scores,
            positive_scores=own.positive_scores,
            background_mean=own.background_mean,
            background_std=own.background_std,
            teacher=None,
        )

    @cached_property
    def similarity(self) -> np.ndarray:
        """Return max over P of sim(d, d+) for each candidate, float32."""
        return self.most(self.similarities)

    @cached_property
    def overlap(self) -> np.ndarray:
        """Return the largest word overlap of each candidate with a positive, float32."""
        return self.most(self.positive_overlaps)

    def most(self, values: np.ndarray) -> np.ndarray:
        """Return for each candidate the largest of its values, one a positive of its query."""
        return most_of_each(values, self.candidates.lengths, self.positives.lengths)

    def similarity_of(self, candidates: np.ndarray) -> np.ndarray:
        """Return `similarity` of some candidates (int64, positions in the batch), for when few are asked for."""
        widths, query = self.positives.lengths, self.owners[candidates]
        before = np.cumsum(self.candidates.lengths * widths) - self.candidates.lengths * widths
        first = before[query] + (candidates - self.candidates.offsets[query]) * widths[query]
        ends = np.cumsum(widths[query])
        at = np.repeat(first - (ends - widths[query]), widths[query]) + np.arange(int(widths[query].sum()))
        return most_of_each(self.similarities[at], np.ones(len(candidates), dtype=np.int64), widths[query])


def _teacher(table: pa.Table) -> Scores | None:
    """Return the teacher's scores of a table that holds them beside another model's."""
    if "teacher_scores" not in table.column_names:
        return None
    return Scores(
        Ragged.from_arrow(table.column("teacher_scores")).values,
        Ragged.from_arrow(table.column("teacher_positive_scores")),
        table.column("teacher_background_mean").to_numpy(),
        table.column("teacher_background_std").to_numpy(),
    )


def _list_of(table: pa.Table, name: str) -> Ragged:
    if name in table.column_names:
        return Ragged.from_arrow(table.column(name))
    return Ragged(np.zeros(0, dtype=np.float32), np.zeros(table.num_rows + 1, dtype=np.int64))


def _numbers_of(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table.column(name).to_numpy() if name in table.column_names else np.zeros(0, dtype=np.float32))


def verdict_codes(column: pa.ChunkedArray) -> np.ndarray:
    """Return the verdicts of a judged table, cell by cell, as their places in `VERDICTS`, int8.

    Args:
        column: list<list<string>>, the string plain or by dictionary; slices are respected.
    """
    parts = [np.zeros(0, dtype=np.int8)]
    for chunk in column.chunks:
        flat = chunk.flatten().flatten()
        coded = flat if pa.types.is_dictionary(flat.type) else flat.dictionary_encode()
        names = np.array([_CODES[name] for name in coded.dictionary.to_pylist()], dtype=np.int8)
        parts.append(names[coded.indices.to_numpy()])
    return np.concatenate(parts)


_CODES = {name: code for code, name in enumerate(VERDICTS)}


def source_ranks(table: pa.Table) -> np.ndarray:
    """Return each candidate's rank in each source, int32, shape (candidates, sources); 0 where it was not found."""
    candidates = len(Ragged.from_arrow(table.column("doc_rows")).values)
    ranks = _list_of(table, "source_ranks").values  # floats with NaN where there are nulls
    sources = len(ranks) // candidates if candidates else 0
    return np.asarray(np.nan_to_num(ranks).astype(np.int32).reshape(candidates, sources))


_LISTS = (
    "positive_rows", "positive_scores", "doc_rows", "scores", "ranks", "similarities",
    "query_overlaps", "positive_overlaps",
    "positive_background_mean", "positive_background_std", "guide_scores", "guide_positive_scores",
)  # fmt: skip


@dataclass(frozen=True)
class Cells:
    """Each anchor of each query against each of its candidates, anchor by anchor.

    Attributes:
        anchors: each query's anchor scores.
        anchor: which anchor (a position in anchors.values) each cell belongs to, int64, ascending.
        candidate: which candidate (a position in the batch) each cell is about, int64.
    """

    anchors: Ragged
    anchor: np.ndarray
    candidate: np.ndarray

    @classmethod
    def of(cls, batch: Batch, anchors: Ragged) -> "Cells":
        """Return the cells of a batch under the given anchor scores."""
        query = anchors.owners
        lengths = batch.candidates.lengths[query]
        before = np.cumsum(lengths) - lengths
        first = np.repeat(batch.candidates.offsets[query] - before, lengths)
        return cls(anchors, np.repeat(np.arange(len(query)), lengths), first + np.arange(len(first)))

    @cached_property
    def scores(self) -> np.ndarray:
        """Anchor score of each cell, float32."""
        return np.asarray(self.anchors.values[self.anchor])

    def nest(self, batch: Batch, values: pa.Array) -> pa.Array:
        """Return one value a cell as list<list<...>>: for each query, for each anchor, for each candidate."""
        inner_lengths = batch.candidates.lengths[self.anchors.owners]
        inner_offsets = np.concatenate([[0], np.cumsum(inner_lengths)]).astype(np.int32)
        item = pa.field("item", values.type, nullable=False)
        inner = pa.ListArray.from_arrays(pa.array(inner_offsets), values, type=pa.list_(item))
        return nest_lists(self.anchors.offsets, inner)


def nest_lists(offsets: np.ndarray, inner: pa.Array) -> pa.Array:
    """Return lists of lists: row i holds the inner lists offsets[i] to offsets[i + 1]."""
    outer = pa.list_(pa.field("item", inner.type, nullable=False))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), inner, type=outer)
