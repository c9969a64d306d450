"""Finds the pairs of examples that must not share a batch, by the labels and by the filter's own rule."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hnmine.arrays.dots import unit
from hnmine.arrays.ragged import Ragged
from hnmine.config import FilterConfig
from hnmine.science.batch_packing import conflicts
from hnmine.science.lexical import weighted_jaccard, word_coverage
from hnmine.science.margins import below
from hnmine.science.z_scores import background_z_scores
from hnmine.stages.emit.batches.query_statistics import QueryStatistics
from hnmine.stages.filter.calibration import Calibration
from hnmine.stages.filter.features import IN_LIST, assemble_features
from hnmine.stages.filter.verdicts import rule_names

# (positive of a query, document) pairs that are compared at a time.
CELLS = 1_000_000


def pair_filter(config: FilterConfig, scorer: Calibration | None, *, rescored: bool) -> FilterConfig:
    """Return the filter that decides on a query's in-batch negatives: the checks, and one rule.

    The rule is calibrated if the filter has a calibrated threshold, else two_sided with its setting. Margins do not
    indicate false negatives, and ranks exist only for retrieved documents. Pairs have only the teacher's scores, so a
    model that was fitted on a cross-encoder's scores is not used.

    Args:
        config: the filter table.
        scorer: the calibrated model, if any.
        rescored: whether the filter uses a cross-encoder's scores.
    """
    usable = scorer is not None and (scorer.takes_teacher_scores or not rescored)
    rule = "calibrated" if usable and "calibrated" in rule_names(config) else "two_sided"
    return config.model_copy(update={"rule": rule, "ranks": None})


@dataclass(frozen=True)
class Examples:
    """The (query, positive) pairs that get rows.

    Attributes:
        query_row: int64, shape (n,).
        positive_row: int64, shape (n,).
        anchor: int64, shape (n,): index of the example's anchor among all anchors of the run.
        negative_rows: rows of each example's negatives.
    """

    query_row: np.ndarray
    positive_row: np.ndarray
    anchor: np.ndarray
    negative_rows: Ragged

    def __len__(self) -> int:
        return len(self.query_row)

    def take(self, which: np.ndarray) -> "Examples":
        """Return the given examples (int64)."""
        rows = (self.query_row[which], self.positive_row[which], self.anchor[which])
        return Examples(*rows, self.negative_rows.take(which))


@dataclass(frozen=True)
class Texts:
    """Vectors and words of some queries or documents.

    Attributes:
        rows: int64, ascending, distinct.
        vectors: the teacher's vectors, float32, shape (n, dim).
        words: their hashed words.
    """

    rows: np.ndarray
    vectors: np.ndarray
    words: Ragged

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions of the given rows."""
        return np.searchsorted(self.rows, rows)

    @cached_property
    def units(self) -> np.ndarray:
        """The vectors scaled to length 1."""
        return unit(self.vectors)


@dataclass(frozen=True)
class ConflictFinder:
    """Finds the conflicts among examples.

    Attributes:
        filter: the filter for pairs, see `pair_filter`.
        cosine: whether the teacher's scores are cosines.
        queries: the queries that have an example.
        documents: the positives of all queries.
        text_keys: uint64, one per document of the corpus.
        query_keys: uint64, one per query of the run: its text key.
        relevant: for each query of the run, rows of its positives, of the positives of queries with the same text, and
            of documents judged relevant.
        irrelevant: for each query of the run, rows of documents that are judged irrelevant and that no rule may reject.
        statistics: statistics of all queries.
        rejected: for each anchor of the run, the candidates that the calibrated model rejects; None without one.
        scorer: the calibrated model; None if the rule is two_sided.
        idf: inverse document frequency of every hashed word.
    """

    filter: FilterConfig
    cosine: bool
    queries: Texts
    documents: Texts
    text_keys: np.ndarray
    query_keys: np.ndarray
    relevant: tuple[Ragged, ...]
    irrelevant: Ragged
    statistics: QueryStatistics
    rejected: Ragged | None
    scorer: Calibration | None
    idf: np.ndarray

    def conflicts(self, examples: Examples) -> np.ndarray:
        """Return which pairs of examples must not share a batch, bool, shape (n, n), symmetric.

        An example bars the positives of its query and of queries with the same text, documents judged relevant, and
        copies of these and of the query: no other example's positive or negative may be one of them. It also bars what
        `pair_filter` rejects: two_sided decides on the others' positives; a calibrated model also on their negatives,
        as far as these are candidates of its query.
        """
        count, query = len(examples), examples.query_row
        numbers = np.arange(count)
        negatives = examples.negative_rows
        offered = (
            np.concatenate([numbers, negatives.owners]),
            self.text_keys[np.concatenate([examples.positive_row, negatives.values])],
        )
        own = [part.take(query) for part in self.relevant]
        if self.rejected is not None:
            own.append(self.rejected.take(examples.anchor))
        barred = (
            np.concatenate([numbers, *(part.owners for part in own)]),
            np.concatenate([self.query_keys[query], *(self.text_keys[part.values] for part in own)]),
        )
        rejected = self._rejected_positives(examples)
        np.fill_diagonal(rejected, val=False)
        return np.asarray(conflicts(barred, offered, count) | rejected | rejected.T)

    def _rejected_positives(self, examples: Examples) -> np.ndarray:
        """Return whether the filter of example i rejects the positive of example j, bool; the diagonal is undefined."""
        rows, query = distinct(examples.query_row)
        documents, column = distinct(examples.positive_row)
        out = np.zeros((len(examples), len(examples)), dtype=bool)
        cells = np.cumsum((self.statistics.positives.lengths[rows] + 1) * len(documents)) // CELLS
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(cells)) + 1):
            which = np.flatnonzero(np.isin(query, part))
            pairs = _Pairs(self, rows[part], documents)
            place = np.searchsorted(part, query[which])
            if self.scorer is None:
                passed = below(pairs.two_sided(), self.filter.two_sided)[place]
            else:
                anchors = self.statistics.anchors.values[examples.anchor[which]]
                passed = pairs.probabilities(place, anchors) <= self.scorer.threshold
            out[which] = (~passed & ~pairs.spared[place] | pairs.near_copies[place])[:, column]
        return out


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (the distinct values in order of first occurrence, the position of each value among them)."""
    found, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return found[order], place[inverse]


class _Pairs:
    """Measures of all pairs of some queries and documents: every matrix has shape (queries, documents).

    Rows and columns are in the order of the examples, since the last bits of a matrix product may depend on positions.

    Args:
        finder: the whole run.
        rows: int64, query rows.
        documents: int64, document rows.
    """

    def __init__(self, finder: ConflictFinder, rows: np.ndarray, documents: np.ndarray) -> None:
        self.finder, self.rows, self.documents = finder, rows, documents
        queries, corpus = finder.queries, finder.documents
        self.at = corpus.at(documents)
        positives = finder.statistics.positives.take(rows)
        self.starts = positives.starts
        self.others, self.which = distinct(corpus.at(positives.values))
        self.scores = queries.vectors[queries.at(rows)] @ corpus.vectors[self.at].T
        self.cosines = (corpus.units[self.others] @ corpus.units[self.at].T)[self.which]
        self.similarity = np.maximum.reduceat(self.cosines, self.starts, axis=0)

    @property
    def near_copies(self) -> np.ndarray:
        """Whether a document is nearly a positive of the query, or nearly the query."""
        config = self.finder.filter
        found = np.zeros(self.scores.shape, dtype=bool)
        if config.max_positive_similarity is not None:
            found |= ~below(self.similarity, config.max_positive_similarity)
        if config.max_query_similarity is not None and self.finder.cosine:
            found |= ~below(self.scores, config.max_query_similarity)
        return found

    @property
    def spared(self) -> np.ndarray:
        """Whether a document is judged irrelevant and no rule may reject it."""
        found = np.zeros(self.scores.shape, dtype=bool)
        irrelevant = self.finder.irrelevant.take(self.rows)
        order = np.argsort(self.documents)
        place = np.minimum(np.searchsorted(self.documents[order], irrelevant.values), len(order) - 1)
        here = self.documents[order[place]] == irrelevant.values
        found[irrelevant.owners[here], order[place[here]]] = True
        return found

    def two_sided(self) -> np.ndarray:
        """Return z(s) + z(max_P sim(d, d+))."""
        standardise = self.finder.statistics.standardise
        return np.asarray(standardise(0, self.rows, self.scores) + standardise(1, self.rows, self.similarity))

    def probabilities(self, query: np.ndarray, anchors: np.ndarray) -> np.ndarray:
        """Return P(false negative), float64, shape (examples, documents).

        Args:
            query: int64, shape (examples,): position of each example's query in `rows`.
            anchors: shape (examples,): anchor scores.
        """
        finder, statistics = self.finder, self.finder.statistics
        assert finder.scorer is not None
        queries, corpus = finder.queries, finder.documents
        mean, std = statistics.background[self.rows].T.astype(np.float64)[:, :, None]
        spread = statistics.positive_background[statistics.positives.places(self.rows)].T[:, :, None]
        similarity = np.maximum.reduceat(background_z_scores(self.cosines, *spread), self.starts, axis=0)
        shared = SharedWords(corpus.words.take(self.at), finder.idf)
        of_query = shared.coverage(queries.words.take(queries.at(self.rows)))
        with_positives = shared.overlap(corpus.words.take(self.others))[self.which]
        with_positives = np.maximum.reduceat(with_positives, self.starts, axis=0)
        quantities = zip(IN_LIST, (self.scores, self.similarity, of_query, with_positives), strict=True)
        measures = {
            "score": background_z_scores(self.scores, mean, std),
            "similarity": similarity,
            "rank": statistics.ranks(self.rows, self.scores),
            "query_words": of_query,
            "positive_words": with_positives,
        }
        for number, (name, values) in enumerate(quantities):
            measures[f"{name}_in_list"] = statistics.standardise(number, self.rows, values)
        anchor = np.repeat(background_z_scores(anchors, mean[query, 0], std[query, 0]), len(self.documents))
        evidence = assemble_features({name: matrix[query].ravel() for name, matrix in measures.items()}, anchor)
        return finder.scorer.of_features(evidence).reshape(len(query), len(self.documents))


class SharedWords:
    """Word overlaps of each of some documents with each of other texts.

    Args:
        documents: hashed words of the documents, none twice in one document, int32.
        idf: inverse document frequency of every hashed word, float64.
    """

    def __init__(self, documents: Ragged, idf: np.ndarray) -> None:
        self._idf, self._words = idf, np.unique(documents.values)
        self._table = np.zeros((len(self._words), len(documents)))
        self._table[np.searchsorted(self._words, documents.values), documents.owners] = idf[documents.values]

    def coverage(self, texts: Ragged) -> np.ndarray:
        """Return the share of each text's word weight that each document holds, float64, shape (texts, documents)."""
        return word_coverage(self._shared(texts), self._weights(texts))

    def overlap(self, texts: Ragged) -> np.ndarray:
        """Return the weighted overlap of each text with each document, float64, shape (texts, documents)."""
        return weighted_jaccard(self._shared(texts), self._table.sum(axis=0)[None, :], self._weights(texts))

    def _weights(self, texts: Ragged) -> np.ndarray:
        return np.bincount(texts.owners, weights=self._idf[texts.values], minlength=len(texts))[:, None]

    def _shared(self, texts: Ragged) -> np.ndarray:
        """Return the summed idf of the words that each text shares with each document."""
        from scipy.sparse import csr_array

        texts = texts.filter(np.isin(texts.values, self._words))
        indices = np.searchsorted(self._words, texts.values)
        shape = (len(texts), len(self._words))
        return np.asarray(csr_array((np.ones(len(indices)), indices, texts.offsets), shape=shape) @ self._table)
