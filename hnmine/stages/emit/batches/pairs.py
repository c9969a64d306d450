"""Which pairs of examples are in conflict: the filter's own judgement of each query against the others' positives."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hnmine.arrays.dots import unit
from hnmine.arrays.ragged import Ragged
from hnmine.config import FilterConfig
from hnmine.science.anchors import anchor_at
from hnmine.science.batch_packing import conflicts
from hnmine.science.margins import below
from hnmine.science.z_scores import background_z_scores
from hnmine.stages.emit.batches.lists import Lists
from hnmine.stages.emit.batches.shared_words import SharedWords
from hnmine.stages.filter.calibration import Calibration
from hnmine.stages.filter.features import assemble_features
from hnmine.stages.filter.verdicts import rule_names

# (positive of a query, document) pairs that are compared at a time.
CELLS = 1_000_000


def pair_filter(config: FilterConfig, scorer: Calibration | None, *, rescored: bool) -> FilterConfig:
    """Return the filter that a query's in-batch negatives must pass: its checks, and one rule on both sides.

    calibrated where the filter has a calibrated threshold, else two_sided with its setting. Margins are no sign of a
    false negative, and ranks are those of a retrieval. Scores are the teacher's, so a model that was fitted on a
    cross-encoder's cannot be asked.
    """
    usable = scorer is not None and (scorer.takes_teacher_scores or not rescored)
    rule = "calibrated" if usable and "calibrated" in rule_names(config) else "two_sided"
    return config.model_copy(update={"rule": rule, "ranks": None})


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
class Labels:
    """What the labels say of each query, by its row.

    Attributes:
        text_keys: uint64, shape (queries,).
        relevant: rows of its positives, of those of queries with the same text, and of what is judged relevant.
        irrelevant: rows of what is judged irrelevant and no rule may reject.
    """

    text_keys: np.ndarray
    relevant: tuple[Ragged, ...]
    irrelevant: Ragged


@dataclass(frozen=True)
class Texts:
    """Vectors and words of the positives of all queries, or of queries.

    Attributes:
        rows: int64, ascending, distinct.
        vectors: the teacher's, float32, shape (n, dim).
        words: theirs; empty lists where nobody asks.
    """

    rows: np.ndarray
    vectors: np.ndarray
    words: Ragged

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Return the places of some rows."""
        return np.searchsorted(self.rows, rows)

    @cached_property
    def units(self) -> np.ndarray:
        """The vectors at length 1."""
        return unit(self.vectors)


@dataclass(frozen=True)
class Pairs:
    """Finds the conflicts among examples.

    Attributes:
        filter: what pairs are judged by, see `pair_filter`.
        cosine: whether the teacher's scores are cosines.
        texts: queries and documents.
        keys: uint64, one a row of the corpus: its text key.
        labels: of all queries.
        lists: of all queries.
        rejected: for each anchor of `lists`, the candidates that the calibrated model rejects; no use without one.
        scorer: gives P(false negative); None where the rule is two_sided.
        idf: of every word.
    """

    filter: FilterConfig
    cosine: bool
    texts: tuple[Texts, Texts]
    keys: np.ndarray
    labels: Labels
    lists: Lists
    rejected: Ragged
    scorer: Calibration | None
    idf: np.ndarray

    def conflicts(self, examples: Examples) -> np.ndarray:
        """Return which of the examples must not share a batch, bool, symmetric.

        An example bars the positives of its query, of queries with the same text and what is judged relevant, copies of
        these and of the query itself: no other example's positive or negative may be one of them. It bars what
        `pair_filter` rejects as well: two_sided among the others' positives, a calibrated model among their negatives
        too, as far as these are candidates of its query.
        """
        count, query = len(examples), examples.query_row
        numbers = np.arange(count)
        negatives = examples.negative_rows
        offered = (
            np.concatenate([numbers, negatives.owners]),
            self.keys[np.concatenate([examples.positive_row, negatives.values])],
        )
        own = [part.take(query) for part in self.labels.relevant]
        if self.scorer is not None:
            own.append(self.rejected.take(self._anchor(examples)))
        barred = (
            np.concatenate([numbers, *(part.owners for part in own)]),
            np.concatenate([self.labels.text_keys[query], *(self.keys[part.values] for part in own)]),
        )
        judged = self._judged(examples)
        np.fill_diagonal(judged, val=False)
        return np.asarray(conflicts(barred, offered, count) | judged | judged.T)

    def _anchor(self, examples: Examples) -> np.ndarray:
        """Return the anchor of each example, as a position in `lists.anchors`."""
        return anchor_at(self.lists.anchors, examples.query_row, examples.place)

    def _judged(self, examples: Examples) -> np.ndarray:
        """Return which example's query has the positive of which other rejected, bool; the diagonal has no meaning."""
        rows, query = distinct(examples.query_row)
        documents, column = distinct(examples.positive_row)
        out = np.zeros((len(examples), len(examples)), dtype=bool)
        for part in self._parts(rows, len(documents)):
            which = np.flatnonzero(np.isin(query, part))
            group = _Group(self, rows[part], documents)
            place = np.searchsorted(part, query[which])
            if self.scorer is None:
                bad = below(group.two_sided(), self.filter.two_sided)[place]
            else:
                bad = group.probabilities(place, self.lists.anchors.values[self._anchor(examples)[which]])
                bad = bad <= self.scorer.threshold
            bad = ~bad & ~group.spared[place] | group.near_copies[place]
            out[which] = bad[:, column]
        return out

    def _parts(self, rows: np.ndarray, documents: int) -> Iterator[np.ndarray]:
        """Yield places of queries, some at a time; a part has at least one."""
        cells = np.cumsum((self.lists.positives.lengths[rows] + 1) * documents) // CELLS
        yield from np.split(np.arange(len(rows)), np.flatnonzero(np.diff(cells)) + 1)


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values without repeats in the order in which they first come, and the place of each among these."""
    found, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return found[order], place[inverse]


class _Group:
    """Some queries against some documents: every matrix has shape (queries, documents).

    In the order of the examples and not of the rows, as a matrix product's last bits may depend on a place in it.
    """

    def __init__(self, pairs: Pairs, rows: np.ndarray, documents: np.ndarray) -> None:
        self.pairs, self.rows, self.documents = pairs, rows, documents
        queries, corpus = pairs.texts
        self.at = corpus.at(documents)
        self.positives = pairs.lists.positives.take(rows)
        self.starts = self.positives.starts
        self.others, self.which = distinct(corpus.at(self.positives.values))
        self.scores = queries.vectors[queries.at(rows)] @ corpus.vectors[self.at].T
        self.cosines = (corpus.units[self.others] @ corpus.units[self.at].T)[self.which]
        self.similarity = np.maximum.reduceat(self.cosines, self.starts, axis=0)

    @property
    def near_copies(self) -> np.ndarray:
        """Which documents are nearly a positive of a query, or the query."""
        config = self.pairs.filter
        found = np.zeros(self.scores.shape, dtype=bool)
        if config.max_positive_similarity is not None:
            found |= ~below(self.similarity, config.max_positive_similarity)
        if config.max_query_similarity is not None and self.pairs.cosine:
            found |= ~below(self.scores, config.max_query_similarity)
        return found

    @property
    def spared(self) -> np.ndarray:
        """Which documents are judged irrelevant and no rule may reject."""
        found = np.zeros(self.scores.shape, dtype=bool)
        irrelevant = self.pairs.labels.irrelevant.take(self.rows)
        order = np.argsort(self.documents)
        place = np.minimum(np.searchsorted(self.documents[order], irrelevant.values), len(order) - 1)
        here = self.documents[order[place]] == irrelevant.values
        found[irrelevant.owners[here], order[place[here]]] = True
        return found

    def in_list(self, number: int, values: np.ndarray) -> np.ndarray:
        """Return values standardised within each query's candidates."""
        return self.pairs.lists.standardised(number, self.rows, values)

    def two_sided(self) -> np.ndarray:
        """Return z(s) + z(max_P sim(d, d+))."""
        return np.asarray(self.in_list(0, self.scores) + self.in_list(1, self.similarity))

    def probabilities(self, query: np.ndarray, anchors: np.ndarray) -> np.ndarray:
        """Return P(false negative), float64, shape (examples, documents).

        Args:
            query: of each example, int64.
            anchors: its anchor score.
        """
        pairs, lists = self.pairs, self.pairs.lists
        assert pairs.scorer is not None
        queries, corpus = pairs.texts
        mean, std = lists.background[self.rows].T.astype(np.float64)[:, :, None]
        spread = lists.positive_background[lists.positives.places(self.rows)].T[:, :, None]
        similarity = np.maximum.reduceat(background_z_scores(self.cosines, *spread), self.starts, axis=0)
        shared = SharedWords(corpus.words.take(self.at), pairs.idf)
        of_query = shared.coverage(queries.words.take(queries.at(self.rows)))
        with_positives = np.maximum.reduceat(
            shared.overlap(corpus.words.take(self.others))[self.which], self.starts, axis=0
        )
        found = (self.scores, self.similarity, of_query, with_positives)
        z = tuple(self.in_list(number, values) for number, values in enumerate(found))
        own = background_z_scores(anchors, *(part[query, 0] for part in (mean, std)))
        flat = [
            matrix[query].ravel()
            for matrix in (
                background_z_scores(self.scores, mean, std), similarity,
                lists.ranks(self.rows, self.scores), *found[2:], *z
            )
        ]  # fmt: skip
        evidence = assemble_features(
            flat[0], np.repeat(own, len(self.documents)), flat[1], flat[2], (flat[3], flat[4]),
            (flat[5], flat[6], flat[7], flat[8]),
        )  # fmt: skip
        return pairs.scorer.of_features(evidence).reshape(len(query), len(self.documents))
