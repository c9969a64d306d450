"""Filter verdicts on documents that were not retrieved for a query, as if they had been."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.runtime.stage import RunContext
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.science.near_queries import near_labels
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.near_queries import labels_by_text
from hnmine.search.pair_scores import Guide, pair_cosines, pair_scores
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.emit.relabel.relabelled import sibling_rows
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.inputs import FilterInputs, read_calibration
from hnmine.stages.filter.verdicts import give_verdicts
from hnmine.storage.vectors import VectorStore

PAIR_VERDICT = np.dtype(
    [
        ("code", np.int8),            # see `hnmine.stages.filter.verdicts.CODES`
        ("probability", np.float64),  # P(false negative); NaN where no rule computes it
        ("guide_score", np.float64),  # NaN without a guide
    ]
)  # fmt: skip
"""The filter's result for one (anchor, document) pair."""
UNKNOWN = np.array([(0, np.nan, np.nan)], dtype=PAIR_VERDICT)


def anchor_cells(batch: Batch, anchors: Ragged) -> np.ndarray:
    """Return the position of each anchor's first cell among the cells of a batch, int64."""
    lengths = batch.candidates.lengths[anchors.owners]
    return np.asarray(np.cumsum(lengths) - lengths)


class UnretrievedJudge:
    """Scores and judges (query, document) pairs whatever retrieval found, for a run whose filter stage is complete.

    A document is judged at the position that its score gives it among the query's candidates. Statistics of the
    candidates are those of the retrieved ones.
    """

    def __init__(self, context: RunContext) -> None:
        config, embed = context.config, context.reading("embed")
        inputs = FilterInputs.open(context, read_calibration(context.reading("filter"), config.seed))
        self.state = replace(inputs, siblings=sibling_rows(context, context.folder("emit")))
        self.corpus = VectorStore(embed / "corpus", cache_bytes(config))
        self.queries = VectorStore(embed / "queries")
        self.words = CorpusWords(context.reading("ingest"))
        self.labels = labels_by_text(self.state.queries)
        self.guide = Guide.open(embed, 0) if config.guide is not None else None
        self.where = MetadataFilter.open(context, context.reading("retrieve"))

    def allows(self, query_rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return whether `retrieve.where` allows each pair (rows, int64), bool."""
        if self.where is None or not len(documents):
            return np.ones(len(documents), dtype=bool)
        return self.where.allows(query_rows, documents)

    def scores(self, query_rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the teacher's score of each pair (rows, int64), float32, bit for bit as retrieve computes it."""
        unique, owners = np.unique(query_rows, return_inverse=True)
        return pair_scores(self.corpus, documents, self.queries.gather(unique), owners)

    def judge(self, table: pa.Table, anchors: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the verdicts on documents that are no candidates, `PAIR_VERDICT`, shape (n,).

        Args:
            table: judged candidates of some queries.
            anchors: int64, shape (n,): anchors, as indices among all anchors of the table.
            documents: int64, shape (n,): document rows.
        """
        owners = Ragged.from_arrow(table.column("anchor_scores")).owners
        asked, query = np.unique(owners[anchors], return_inverse=True)
        out = UNKNOWN.repeat(len(documents))
        if not len(asked):
            return out
        batch = Batch.from_table(table.take(pa.array(asked)))
        pairs = np.unique(np.stack([query, documents], axis=1), axis=0)
        rows = Ragged.from_lengths(pairs[:, 1], np.bincount(pairs[:, 0], minlength=len(asked)))
        extended = self._extend(batch, rows)
        judged = give_verdicts(extended, self.state.config.filter, self.state.keys(batch.query_rows), self.state.scorer)
        place, _ = extended.candidates.find(query, documents)
        # the anchor's index among those of the queries asked
        own = judged.cells.anchors.starts[query] + (anchors - np.searchsorted(owners, asked)[query])
        cell = anchor_cells(extended, judged.cells.anchors)[own] + place - extended.candidates.starts[query]
        out["code"] = judged.codes[cell]
        if judged.probabilities is not None:
            out["probability"] = judged.probabilities[cell]
        if self.guide is not None:
            out["guide_score"] = extended.guide_scores[place]
        return out

    def _extend(self, batch: Batch, rows: Ragged) -> Batch:
        """Return the batch with more candidates (for each query, rows that are none yet), ordered by score."""
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
        unique, inverse = np.unique(batch.positives.values, return_inverse=True)
        similarities = pair_cosines(self.corpus, rows, batch.positives.with_values(inverse), self.corpus.gather(unique))
        near, shares = near_labels(rows, batch.near_queries, batch.nearness, self.labels)
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
            similarities=by_positive(batch.similarities, similarities.values),
            query_overlaps=np.concatenate([batch.query_overlaps, with_query])[order],
            positive_overlaps=by_positive(batch.positive_overlaps, with_positives),
            near_labels=np.concatenate([batch.near_labels, near.astype(np.float32)])[order],
            near_label_shares=np.concatenate([batch.near_label_shares, shares.astype(np.float32)])[order],
            guide_scores=guide_scores,
            source_ranks=np.concatenate([batch.source_ranks, no_ranks])[order],
            listed=listed,
        )
