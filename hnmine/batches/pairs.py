"""Which pairs of examples are in conflict: the filter's own judgement of each query against the others' positives."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.batches.held import Held
from hnmine.candidates import Batch
from hnmine.config import Config, FilterConfig
from hnmine.judging import CODES, Scorer, TextKeys, judge, rule_names
from hnmine.overlaps import Words
from hnmine.ragged import Ragged
from hnmine.schemas import KEEP
from hnmine.science.dots import dots, unit
from hnmine.science.packing import conflicts

# Cells of (query, document) that are judged at a time.
CELLS = 400_000


def pair_filter(config: FilterConfig) -> FilterConfig:
    """Return the filter that a query's in-batch negatives must pass: its checks, and one rule on both sides.

    calibrated where the filter has a calibrated threshold, else two_sided with its setting. Margins are no sign of a
    false negative, and ranks are those of a retrieval.
    """
    rule = "calibrated" if "calibrated" in rule_names(config) else "two_sided"
    return config.model_copy(update={"rule": rule, "ranks": None})


class HeldWords(Words):
    """The words of some documents, in memory.

    Args:
        ingest: the folder of the ingest stage.
        rows: the documents, int64, ascending, distinct.
    """

    def __init__(self, ingest: Path, rows: np.ndarray) -> None:
        super().__init__(ingest)
        self.rows, self.words = rows, super().of(rows)

    def of(self, rows: np.ndarray) -> Ragged:
        """Return the words of the given documents, which must be among those held."""
        return self.words.take(np.searchsorted(self.rows, rows))


@dataclass(frozen=True)
class Documents:
    """The positives of all queries.

    Attributes:
        rows: int64, ascending, distinct.
        vectors: the teacher's, float32, shape (n, dim).
        words: theirs.
    """

    rows: np.ndarray
    vectors: np.ndarray
    words: HeldWords


@dataclass(frozen=True)
class Examples:
    """What is to be packed: one (query, positive) that gets rows.

    Attributes:
        query_row: int64, shape (n,).
        place: int64, shape (n,): the positive's place among its query's positives.
        positive_row: int64, shape (n,).
        negative_rows: rows of each example's negatives.
    """

    query_row: np.ndarray
    place: np.ndarray
    positive_row: np.ndarray
    negative_rows: Ragged

    def __len__(self) -> int:
        return len(self.query_row)

    def take(self, which: np.ndarray) -> "Examples":
        """Return the given examples (int64)."""
        return Examples(
            self.query_row[which], self.place[which], self.positive_row[which], self.negative_rows.take(which)
        )


@dataclass(frozen=True)
class Pairs:
    """Finds the conflicts among examples.

    Attributes:
        config: the whole config.
        held: candidates and queries.
        documents: the positives of all queries.
        queries: the teacher's vectors of queries, float32, shape (n, dim), with their rows, ascending.
        texts: uint64, one a row of the corpus: its text key.
        shared: bool, likewise: whether another row has it too.
        scorer: of the filter; None where it fitted no model.
    """

    config: Config
    held: Held
    documents: Documents
    queries: tuple[np.ndarray, np.ndarray]
    texts: np.ndarray
    shared: np.ndarray
    scorer: Scorer | None

    def conflicts(self, examples: Examples) -> np.ndarray:
        """Return which of the examples must not share a batch, bool, symmetric.

        An example bars the positives of its query, of queries with the same text and what is judged relevant, copies of
        these and of the query itself: no other example's positive or negative may be one of them. It bars what
        `pair_filter` rejects as well: two_sided among the others' positives, a calibrated model among their negatives
        too, as far as these are candidates of its query.
        """
        count = len(examples)
        positives = np.arange(count), self.texts[examples.positive_row]
        negatives = examples.negative_rows.owners, self.texts[examples.negative_rows.values]
        everything = np.concatenate([positives[0], negatives[0]]), np.concatenate([positives[1], negatives[1]])
        found = np.zeros((count, count), dtype=bool)
        calibrated = pair_filter(self.config.filter).rule == "calibrated"
        for which, names, known in self._barred(examples):
            offered = everything if known or calibrated else positives
            found |= conflicts((which, names), offered, count)
        return found

    def _barred(self, examples: Examples) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
        """Yield (example, text key, known) of what examples bar, some queries at a time; known: by labels or texts."""
        rows, query = np.unique(examples.query_row, return_inverse=True)
        documents = np.unique(examples.positive_row)
        anchors = -(-len(examples) // max(1, len(rows)))  # of a query, about
        step = max(1, CELLS // (anchors * (len(documents) + self.config.retrieve.most)))
        for first in range(0, len(rows), step):
            table = self.held.take(rows[first : first + step])
            which = np.flatnonzero((query >= first) & (query < first + table.num_rows))
            local = query[which] - first
            keys = self._keys(table)
            rejected = self._rejected(table, keys, documents)
            anchor = np.where(rejected[1].lengths[local] > 1, examples.place[which], 0)
            own = rejected[0].take(rejected[1].offsets[:-1][local] + anchor)
            yield which[own.owners], self.texts[own.values], False
            lists = [
                Ragged.from_arrow(table.column(name)).take(local)
                for name in ("positive_rows", "sibling_rows", "relevant_rows")
            ]
            names = [keys.queries[local], *(self.texts[part.values] for part in lists)]
            owners = np.concatenate([which, *(which[part.owners] for part in lists)])
            yield owners, np.concatenate(names), True

    def _keys(self, table: pa.Table) -> TextKeys:
        siblings, judged, relevant = (
            Ragged.from_arrow(table.column(name)) for name in ("sibling_rows", "negative_rows", "relevant_rows")
        )
        cosine = self.config.embed.similarity == "cosine"
        own = table.column("text_key").to_numpy()
        return TextKeys(self.texts, self.shared, own, siblings, judged, relevant, cosine)

    def _rejected(self, table: pa.Table, keys: TextKeys, documents: np.ndarray) -> tuple[Ragged, Ragged]:
        """Return the documents rejected under each anchor score, and the anchor scores of each query."""
        batch = self.widened(table, documents)
        judged = judge(batch, pair_filter(self.config.filter), keys, self.scorer)
        bad = np.flatnonzero(~np.isin(judged.codes, [CODES[KEEP], CODES["copy_of_negative"]]))
        rows = batch.candidates.values[judged.cells.candidate[bad]]
        anchors = judged.cells.anchors
        lengths = np.bincount(judged.cells.anchor[bad], minlength=len(anchors.values))
        return Ragged.from_lengths(rows, lengths), anchors

    def widened(self, table: pa.Table, documents: np.ndarray) -> Batch:
        """Return the candidates of some queries with further documents beside them, with all that features need.

        Args:
            table: rows of `held`.
            documents: rows of documents, ascending, distinct, among `self.documents`.
        """
        own = Batch.from_table(table)
        owners = np.repeat(np.arange(len(own)), len(documents))
        column = np.tile(np.arange(len(documents)), len(own))
        new = ~own.candidates.contains(owners, documents[column])
        owners, column = owners[new], column[new]
        vectors = self.documents.vectors[np.searchsorted(self.documents.rows, documents)]
        asked = self.queries[1][np.searchsorted(self.queries[0], own.query_rows)]
        scores = dots(asked, vectors)[owners, column]
        similar = self._similarities(own, owners, column, vectors)
        added = Ragged.from_lengths(documents[column], np.bincount(owners, minlength=len(own)))
        terms = Ragged.from_arrow(table.column("terms"))
        with_query, with_positives = self.documents.words.overlaps(terms, added, own.positives)
        return _joined(own, added, (scores, similar, with_query, with_positives))

    def _similarities(self, own: Batch, owners: np.ndarray, column: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Return the cosine of each added document to each positive of its query, document by document."""
        at = np.searchsorted(self.documents.rows, own.positives.values)
        table = dots(unit(self.documents.vectors[at]), unit(vectors))
        return np.asarray(table[own.positives.places(owners), np.repeat(column, own.positives.lengths[owners])])


def _joined(own: Batch, added: Ragged, values: tuple[np.ndarray, ...]) -> Batch:
    """Return a batch with documents added to each query's candidates; values are those that `widened` computes."""
    scores, similar, with_query, with_positives = values
    owners = np.concatenate([own.owners, added.owners])
    order = np.argsort(owners, kind="stable")
    listed = np.arange(len(owners)) < len(own.scores)
    widths = own.positives.lengths[owners]

    def by_candidate(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return np.concatenate([old, new.astype(old.dtype)])[order]

    def by_positive(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return Ragged.from_lengths(np.concatenate([old, new.astype(old.dtype)]), widths).take(order).values

    counts = np.bincount(owners, minlength=len(own))
    all_scores = by_candidate(own.scores, scores)
    return Batch(
        query_rows=own.query_rows,
        positives=own.positives,
        positive_scores=own.positive_scores,
        candidates=Ragged.from_lengths(by_candidate(own.candidates.values, added.values), counts),
        scores=all_scores,
        ranks=np.where(listed[order], by_candidate(own.ranks, scores * 0), _ranks(owners, order, all_scores, listed)),
        similarities=by_positive(own.similarities, similar),
        query_overlaps=by_candidate(own.query_overlaps, with_query),
        positive_overlaps=by_positive(own.positive_overlaps, with_positives),
        background_mean=own.background_mean,
        background_std=own.background_std,
        positive_background_mean=own.positive_background_mean,
        positive_background_std=own.positive_background_std,
        guide_scores=own.guide_scores[:0],
        guide_positive_scores=Ragged(own.guide_scores[:0], np.zeros(len(own) + 1, dtype=np.int64)),
        source_ranks=np.zeros((len(owners), 0), dtype=np.int32),
        listed=listed[order],
    )


def _ranks(owners: np.ndarray, order: np.ndarray, scores: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Return each document's rank among its query's retrieved candidates: 1 + those that score higher.

    Args:
        owners: query of each, in the order before `order` was applied.
        order: sorts by query.
        scores: in the order after it.
        listed: whether each was retrieved, in the order before.
    """
    query, known = owners[order], listed[order]
    best = np.lexsort((known, -scores, query))  # equal scores: those that were not retrieved first
    before = np.cumsum(known[best]) - known[best]
    first = np.concatenate([[0], np.cumsum(np.bincount(query, weights=known))])[query[best]].astype(np.int64)
    ranks = np.empty(len(query), dtype=np.int32)
    ranks[best] = before - first + 1
    return ranks
