"""Filter verdicts on documents that were not retrieved for a query, as if they had been."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.runtime.memory import cache_bytes
from hnmine.runtime.stage import RunContext
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.pair_scores import Guide, pair_cosines, pair_scores
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.inputs import FilterInputs, read_calibration
from hnmine.stages.filter.verdicts import give_verdicts
from hnmine.storage.vectors import VectorStore


@dataclass(frozen=True)
class PairVerdicts:
    """The filter's results for (anchor, document) pairs, one value per pair.

    Attributes:
        codes: int8, see `hnmine.stages.filter.verdicts.CODES`.
        probabilities: float64, P(false negative); NaN where no rule computes it.
        guide_scores: float64; NaN without a guide.
    """

    codes: np.ndarray
    probabilities: np.ndarray
    guide_scores: np.ndarray


@dataclass(frozen=True)
class UnretrievedJudge:
    """Scores and judges (query, document) pairs whatever retrieval found.

    A document is judged at the position that its score gives it among the query's candidates. Statistics of the
    candidates are those of the retrieved ones.

    Attributes:
        state: state of the filter, with its fitted model.
        corpus: the teacher's document vectors.
        queries: the teacher's query vectors.
        words: for word overlaps.
        guide: None without one.
        where: the documents that `retrieve.where` allows; None if it allows all.
    """

    state: FilterInputs
    corpus: VectorStore
    queries: VectorStore
    words: CorpusWords
    guide: Guide | None
    where: MetadataFilter | None

    @classmethod
    def open(cls, context: RunContext) -> "UnretrievedJudge":
        """Return the judge of a run whose filter stage is complete."""
        config, embed = context.config, context.reading("embed")
        return cls(
            FilterInputs.open(context, read_calibration(context.reading("filter"), config.seed)),
            VectorStore(embed / "corpus", cache_bytes(config)),
            VectorStore(embed / "queries"),
            CorpusWords(context.reading("ingest")),
            Guide.open(embed, 0) if config.guide is not None else None,
            MetadataFilter.open(context, context.reading("retrieve")),
        )

    def allows(self, query_rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return whether `retrieve.where` allows each pair (rows, int64), bool."""
        if self.where is None or not len(documents):
            return np.ones(len(documents), dtype=bool)
        return self.where.allows(query_rows, documents)

    def scores(self, query_rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the teacher's score of each pair (rows, int64), float32, bit for bit as retrieve computes it."""
        unique, owners = np.unique(query_rows, return_inverse=True)
        return pair_scores(self.corpus, documents, self.queries.gather(unique), owners)

    def judge(self, table: pa.Table, anchors: np.ndarray, documents: np.ndarray) -> PairVerdicts:
        """Return the verdicts on documents that are no candidates.

        Args:
            table: judged candidates of some queries.
            anchors: int64, shape (n,): anchors, as indices among all anchors of the table.
            documents: int64, shape (n,): document rows.
        """
        owners = Ragged.from_arrow(table.column("anchor_scores")).owners
        asked, query = np.unique(owners[anchors], return_inverse=True)
        if not len(asked):
            empty = np.zeros(0)
            return PairVerdicts(empty.astype(np.int8), empty, empty)
        batch = Batch.from_table(table.take(pa.array(asked)))
        pairs = np.unique(np.stack([query, documents], axis=1), axis=0)
        rows = Ragged.from_lengths(pairs[:, 1], np.bincount(pairs[:, 0], minlength=len(asked)))
        extended = self._extend(batch, rows)
        judged = give_verdicts(extended, self.state.config.filter, self.state.keys(batch.query_rows), self.state.scorer)
        place, _ = extended.candidates.find(query, documents)
        # the anchor's index among those of the queries asked, and the first cell of each anchor
        own = judged.cells.anchors.starts[query] + (anchors - np.searchsorted(owners, asked)[query])
        starts = np.searchsorted(judged.cells.anchor, np.arange(len(judged.cells.anchors.values)))
        cell = starts[own] + place - extended.candidates.starts[query]
        unknown = np.full(len(cell), np.nan)
        return PairVerdicts(
            judged.codes[cell],
            unknown if judged.probabilities is None else judged.probabilities[cell],
            unknown if self.guide is None else extended.guide_scores[place].astype(np.float64),
        )

    def _extend(self, batch: Batch, rows: Ragged) -> Batch:
        """Return the batch with more candidates, ordered by score.

        Args:
            batch: candidates.
            rows: for each query of the batch, document rows that are no candidates yet.
        """
        scores = np.concatenate([batch.scores, self.scores(batch.query_rows[rows.owners], rows.values)])
        documents = np.concatenate([batch.candidates.values, rows.values])
        owners = np.concatenate([batch.owners, rows.owners])
        order = np.lexsort((documents, -scores, owners))
        listed = order < len(batch.owners)
        # retrieved candidates keep their rank; an added one gets 1 + the number of retrieved ones before it
        before = np.cumsum(listed) - batch.candidates.starts[owners[order]]
        known_ranks = np.concatenate([batch.ranks, np.zeros(len(rows.values), dtype=batch.ranks.dtype)])[order]
        widths = batch.positives.lengths[owners]
        terms = self.state.queries.take(batch.query_rows, ["terms"]).column(0)
        with_query, with_positives = self.words.overlaps(Ragged.from_arrow(terms), rows, batch.positives)
        guide_scores = batch.guide_scores
        if self.guide is not None:
            queries = self.guide.queries.gather(batch.query_rows)
            added = pair_scores(self.guide.corpus, rows.values, queries, rows.owners)
            guide_scores = np.concatenate([guide_scores, added])[order]
        no_ranks = np.zeros((len(rows.values), batch.source_ranks.shape[1]), dtype=np.int32)

        def by_positive(known: np.ndarray, added: np.ndarray) -> np.ndarray:
            return Ragged.from_lengths(np.concatenate([known, added]), widths).take(order).values

        return replace(
            batch,
            candidates=Ragged.from_lengths(documents[order], batch.candidates.lengths + rows.lengths),
            scores=scores[order],
            ranks=np.where(listed, known_ranks, before + 1).astype(batch.ranks.dtype),
            similarities=by_positive(batch.similarities, self._similarities(batch.positives, rows)),
            query_overlaps=np.concatenate([batch.query_overlaps, with_query])[order],
            positive_overlaps=by_positive(batch.positive_overlaps, with_positives),
            guide_scores=guide_scores,
            source_ranks=np.concatenate([batch.source_ranks, no_ranks])[order],
            listed=listed,
        )

    def _similarities(self, positives: Ragged, rows: Ragged) -> np.ndarray:
        """Return the cosine of each document to each positive of its query, document by document."""
        unique, inverse = np.unique(positives.values, return_inverse=True)
        vectors = self.corpus.gather(unique)
        places = rows.with_values(self.corpus.positions(rows.values))
        return pair_cosines(self.corpus, places, positives.with_values(inverse), vectors).values
