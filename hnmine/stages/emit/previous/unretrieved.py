"""Verdicts on documents that retrieval did not find: what retrieve stores of a pair, and the filter's rules on it."""

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
from hnmine.stages.filter.verdicts import CODES, give_verdicts
from hnmine.storage.schemas.filter import KEEP
from hnmine.storage.vectors import VectorStore


@dataclass(frozen=True)
class Verdicts:
    """What the filter says of (anchor, document) pairs; one value a pair each.

    Attributes:
        codes: int8, see `hnmine.stages.filter.verdicts.CODES`.
        probabilities: float64, P(false negative); NaN where no rule asked for it.
        guide_scores: float64; NaN without a guide.
    """

    codes: np.ndarray
    probabilities: np.ndarray
    guide_scores: np.ndarray


@dataclass(frozen=True)
class Outside:
    """Judges documents as if they had been retrieved: among the query's candidates, in the place their score gives.

    What is measured against a query's candidates is measured against those that were retrieved.

    Attributes:
        state: of the filter, with its fitted model.
        corpus: the teacher's vectors of documents.
        queries: and of queries.
        words: for the overlaps.
        guide: None without one.
        where: which documents each query allows; None where it allows all.
    """

    state: FilterInputs
    corpus: VectorStore
    queries: VectorStore
    words: CorpusWords
    guide: Guide | None
    where: MetadataFilter | None

    @classmethod
    def open(cls, context: RunContext) -> "Outside":
        """Return what judges for a run whose filter stage is complete."""
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
        """Tell which pairs (rows, int64) `retrieve.where` allows, bool."""
        if self.where is None or not len(documents):
            return np.ones(len(documents), dtype=bool)
        return self.where.allows(query_rows, documents)

    def scores(self, query_rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the teacher's score of each pair (rows, int64), as retrieve computes it; float32."""
        unique, owners = np.unique(query_rows, return_inverse=True)
        return pair_scores(self.corpus, documents, self.queries.gather(unique), owners)

    def judge(self, table: pa.Table, anchors: np.ndarray, documents: np.ndarray) -> Verdicts:
        """Return the verdicts on documents that are no candidates.

        Args:
            table: judged candidates of some queries.
            anchors: int64, shape (n,): an anchor, as a position among all of the table's.
            documents: int64, shape (n,): the document's row.
        """
        owners = Ragged.from_arrow(table.column("anchor_scores")).owners
        asked, query = np.unique(owners[anchors], return_inverse=True)
        if not len(asked):
            empty = np.zeros(0)
            return Verdicts(empty.astype(np.int8), empty, empty)
        batch = Batch.from_table(table.take(pa.array(asked)))
        pairs = np.unique(np.stack([query, documents], axis=1), axis=0)
        rows = Ragged.from_lengths(pairs[:, 1], np.bincount(pairs[:, 0], minlength=len(asked)))
        whole = self._with(batch, rows)
        judged = give_verdicts(whole, self.state.config.filter, self.state.keys(batch.query_rows), self.state.scorer)
        place, _ = whole.candidates.find(query, documents)
        # the anchor among those of the queries asked, and where the cells of each begin
        first = np.searchsorted(owners, asked)
        own = judged.cells.anchors.starts[query] + (anchors - first[query])
        starts = np.searchsorted(judged.cells.anchor, np.arange(len(judged.cells.anchors.values)))
        cell = starts[own] + place - whole.candidates.starts[query]
        unknown = np.full(len(cell), np.nan)
        return Verdicts(
            judged.codes[cell],
            unknown if judged.probabilities is None else judged.probabilities[cell],
            unknown if self.guide is None else whole.guide_scores[place].astype(np.float64),
        )

    def _with(self, batch: Batch, rows: Ragged) -> Batch:
        """Return the batch with further candidates: `rows` holds for each query documents that are none yet."""
        scores = self.scores(batch.query_rows[rows.owners], rows.values)
        documents = np.concatenate([batch.candidates.values, rows.values])
        owners = np.concatenate([batch.owners, rows.owners])
        all_scores = np.concatenate([batch.scores, scores])
        order = np.lexsort((documents, -all_scores, owners))
        widths = batch.positives.lengths[owners]
        terms = self.state.queries.take(batch.query_rows, ["terms"]).column(0)
        with_query, with_positives = self.words.overlaps(Ragged.from_arrow(terms), rows, batch.positives)
        similar = self._similarities(batch.positives, rows)
        guided = self._guide_scores(batch, rows)
        return replace(
            batch,
            candidates=Ragged.from_lengths(documents[order], batch.candidates.lengths + rows.lengths),
            scores=all_scores[order],
            ranks=_ranks(batch, rows, order),
            similarities=Ragged.from_lengths(np.concatenate([batch.similarities, similar]), widths).take(order).values,
            query_overlaps=np.concatenate([batch.query_overlaps, with_query])[order],
            positive_overlaps=Ragged.from_lengths(np.concatenate([batch.positive_overlaps, with_positives]), widths)
            .take(order)
            .values,
            guide_scores=batch.guide_scores if guided is None else np.concatenate([batch.guide_scores, guided])[order],
            source_ranks=np.concatenate(
                [batch.source_ranks, np.zeros((len(rows.values), batch.source_ranks.shape[1]), dtype=np.int32)]
            )[order],
            listed=order < len(batch.owners),
        )

    def _similarities(self, positives: Ragged, rows: Ragged) -> np.ndarray:
        """Return the cosine of each further candidate to each positive of its query, candidate by candidate."""
        unique, inverse = np.unique(positives.values, return_inverse=True)
        vectors = self.corpus.gather(unique)
        places = rows.with_values(self.corpus.positions(rows.values))
        return pair_cosines(self.corpus, places, positives.with_values(inverse), vectors).values

    def _guide_scores(self, batch: Batch, rows: Ragged) -> np.ndarray | None:
        if self.guide is None:
            return None
        queries = self.guide.queries.gather(batch.query_rows)
        return pair_scores(self.guide.corpus, rows.values, queries, rows.owners)


def _ranks(batch: Batch, rows: Ragged, order: np.ndarray) -> np.ndarray:
    """Return the ranks in the new order: candidates keep theirs, a further one comes after those that are before it."""
    known = np.concatenate([batch.ranks, np.zeros(len(rows.values), dtype=batch.ranks.dtype)])[order]
    retrieved = order < len(batch.ranks)
    owners = np.concatenate([batch.owners, rows.owners])[order]
    before = np.cumsum(retrieved) - batch.candidates.starts[owners]
    return np.asarray(np.where(retrieved, known, before + 1).astype(batch.ranks.dtype))


def kept(codes: np.ndarray) -> np.ndarray:
    """Tell which codes of verdicts say keep, bool."""
    return np.asarray(codes == CODES[KEEP])
