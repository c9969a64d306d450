"""Finds the pairs of examples that must not share a batch, by the labels and by the filter's own rule."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.dots import unit
from hnmine.arrays.ragged import Ragged
from hnmine.config.filter import FilterConfig
from hnmine.runtime.stage import RunContext
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.science.batch_packing import conflicts
from hnmine.science.lexical import weighted_jaccard, word_coverage
from hnmine.science.margins import below
from hnmine.science.near_queries import near_labels
from hnmine.search.near_queries import labels_by_text
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.emit.batches.query_statistics import QueryStatistics
from hnmine.stages.emit.relabel.relabelled import judged_folder, sibling_rows
from hnmine.stages.filter.calibration import Calibration
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.deeper_search import searches_deeper
from hnmine.stages.filter.features import assemble_features
from hnmine.stages.filter.inputs import read_calibration
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.hubs.normalised import replaces_scores
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards
from hnmine.storage.vectors import VectorStore

# (positive of a query, document) pairs that are compared at a time.
CELLS = 1_000_000


def pair_filter(config: FilterConfig, scorer: Calibration | None, *, replaced: bool) -> FilterConfig:
    """Return the filter that decides on a query's in-batch negatives: the checks, and one rule.

    The rule is calibrated if the filter has a calibrated threshold, else two_sided with its setting. Margins do not
    indicate false negatives, and ranks exist only for retrieved documents. Pairs have only the teacher's scores, so a
    model that was fitted on other scores, which have `replaced` the teacher's, is not used.
    """
    usable = scorer is not None and (scorer.takes_teacher_scores or not replaced)
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
        ids: their ids.
        vectors: the teacher's vectors, float32, shape (n, dim).
        words: their hashed words.
    """

    rows: np.ndarray
    ids: list[str]
    vectors: np.ndarray
    words: Ragged

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions of the given rows."""
        return np.searchsorted(self.rows, rows)

    @cached_property
    def units(self) -> np.ndarray:
        """The vectors scaled to length 1."""
        return unit(self.vectors)


class ConflictFinder:
    """Finds the conflicts among examples.

    Args:
        context: the run.
        queries: int64, ascending: rows of the queries that have an example.
    """

    def __init__(self, context: RunContext, queries: np.ndarray) -> None:
        config, ingest, embed = context.config, context.reading("ingest"), context.reading("embed")
        scorer = read_calibration(context.reading("filter"), config.seed)
        self.filter = pair_filter(config.filter, scorer, replaced=replaces_scores(config))
        self.scorer = scorer if self.filter.rule == "calibrated" else None
        self.cosine = config.embed.similarity == "cosine"
        # the lists that the filter judged, unless they have another model's scores
        filtered = judged_folder(context, context.folder("emit"))
        lists = filtered if config.emit.relabels or searches_deeper(config) else context.reading("retrieve")
        self.statistics = QueryStatistics.read(Shards(lists, CANDIDATES), config.filter)
        asked, corpus = Shards(ingest / "queries", QUERIES), Shards(ingest / "corpus", CORPUS)
        relevant, irrelevant, terms = (
            Ragged.from_arrow(asked.column(name)) for name in ("relevant_rows", "negative_rows", "terms")
        )
        siblings = sibling_rows(context, context.folder("emit"))
        ids = asked.take(queries, ["query_id"]).column(0).to_pylist()
        self.queries = Texts(queries, ids, VectorStore(embed / "queries").gather(queries), terms.take(queries))
        documents, words = np.unique(self.statistics.positives.values), CorpusWords(ingest)
        ids = corpus.take(documents, ["doc_id"]).column(0).to_pylist()
        vectors = VectorStore(embed / "corpus", cache_bytes(config)).gather(documents)
        self.documents = Texts(documents, ids, vectors, words.of(documents))
        self.idf = words.idf
        # uint64, one per document of the corpus and one per query of the run
        self.text_keys, self.query_keys = (shards.column("text_key").to_numpy() for shards in (corpus, asked))
        # for each query of the run: rows of its positives, of those of queries with the same text, of judged documents
        self.relevant = (self.statistics.positives, siblings, relevant)
        self.labels = labels_by_text(asked)
        # for each query of the run: rows that are judged irrelevant and that no rule may reject
        spare = config.filter.judged_negatives == "keep"
        self.irrelevant = irrelevant if spare else irrelevant.filter(np.zeros(len(irrelevant.values), dtype=bool))
        # for each anchor of the run: the candidates that the calibrated model rejects
        self.rejected: Ragged | None = None
        if self.scorer is not None:
            judged = Shards(filtered, JUDGED)
            self.rejected = _rejected_candidates(judged, self.scorer.threshold, spare_judged=spare)

    def text_groups(self, query_rows: np.ndarray) -> np.ndarray:
        """Return a number for each query (int64 rows), the same for queries with the same text."""
        return distinct(self.query_keys[query_rows])[1]

    def conflicts(self, examples: Examples) -> np.ndarray:
        """Return which pairs of examples must not share a batch, bool, shape (n, n), symmetric.

        An example bars the positives of its query and of queries with the same text, documents judged relevant, and
        copies of these and of the query: no other example's positive or negative may be one of them. It also bars what
        `pair_filter` rejects: two_sided decides on the others' positives; a calibrated model also on their negatives,
        as far as these are candidates of its query.
        """
        query, negatives, numbers = examples.query_row, examples.negative_rows, np.arange(len(examples))
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
        return np.asarray(conflicts(barred, offered, len(examples)) | rejected | rejected.T)

    def _rejected_positives(self, examples: Examples) -> np.ndarray:
        """Return whether the filter of example i rejects the positive of example j, bool; the diagonal is undefined."""
        rows, query = distinct(examples.query_row)
        documents, column = distinct(examples.positive_row)
        out = np.zeros((len(examples), len(examples)), dtype=bool)
        cells = np.cumsum((self.statistics.positives.lengths[rows] + 1) * len(documents)) // CELLS
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(cells)) + 1):
            which = np.flatnonzero(np.isin(query, part))
            place = np.searchsorted(part, query[which])
            out[which] = self._rejected(rows[part], documents, place, examples.anchor[which])[:, column]
        return out

    def _rejected(self, rows: np.ndarray, documents: np.ndarray, query: np.ndarray, anchor: np.ndarray) -> np.ndarray:
        """Return whether the filter of each example rejects each document, bool, shape (examples, documents).

        Query rows and document rows are in the order of the examples, since the last bits of a matrix product may
        depend on positions. Each example has its query's position in `rows` (int64), and its anchor as in `Examples`.
        """
        at = self.documents.at(documents)
        positives = self.statistics.positives.take(rows)
        others, which = distinct(self.documents.at(positives.values))
        scores = self.queries.vectors[self.queries.at(rows)] @ self.documents.vectors[at].T
        cosines = (self.documents.units[others] @ self.documents.units[at].T)[which]
        similarity = np.maximum.reduceat(cosines, positives.starts, axis=0)
        near_copy = np.zeros(scores.shape, dtype=bool)
        if self.filter.max_positive_similarity is not None:
            near_copy |= ~below(similarity, self.filter.max_positive_similarity)
        if self.filter.max_query_similarity is not None and self.cosine:
            near_copy |= ~below(scores, self.filter.max_query_similarity)
        pairs = np.repeat(np.arange(len(rows)), len(documents)), np.tile(documents, len(rows))
        spared = self.irrelevant.take(rows).contains(*pairs).reshape(scores.shape)
        if self.scorer is None:
            standardise = self.statistics.standardise
            both = standardise("score", rows, scores) + standardise("similarity", rows, similarity)
            passed = below(both, self.filter.two_sided)[query]
        else:
            words = (self.queries.words.take(self.queries.at(rows)), self.documents.words.take(others))
            covered, overlap = word_overlaps(*words, self.documents.words.take(at), self.idf)
            overlap = np.maximum.reduceat(overlap[which], positives.starts, axis=0)
            quantities = {
                "score": scores, "similarity": similarity, "query_words": covered, "positive_words": overlap,
                **self._near_labels(rows, documents),
            }  # fmt: skip
            measures = self.statistics.measures(rows, quantities, cosines)
            anchors = self.statistics.standard_anchors(rows[query], anchor)
            features = assemble_features(
                {name: values[query].ravel() for name, values in measures.items()}, np.repeat(anchors, len(documents))
            )
            passed = self.scorer.of_features(features).reshape(len(query), -1) <= self.scorer.threshold
        return np.asarray(~passed & ~spared[query] | near_copy[query])

    def _near_labels(self, rows: np.ndarray, documents: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the near queries of each query (rows) say of each document (rows), shape (rows, documents)."""
        pairs = Ragged.from_lengths(np.tile(documents, len(rows)), np.full(len(rows), len(documents)))
        near, nearness = self.statistics.near_queries.take(rows), self.statistics.nearness.take(rows)
        nearest, share = near_labels(pairs, near, nearness.values, self.labels)
        shape = len(rows), len(documents)
        return {
            "near_label": nearest.astype(np.float32).reshape(shape),
            "near_label_share": share.astype(np.float32).reshape(shape),
        }


def _rejected_candidates(judged: Shards, threshold: float, *, spare_judged: bool) -> Ragged:
    """Return for each anchor of all queries the candidates whose P(false negative) is above a threshold.

    With `spare_judged`, candidates that are judged irrelevant are left out.
    """
    parts = [Ragged(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64))]
    for number in range(len(judged)):
        table = judged.read(number, ["doc_rows", "anchor_scores", "probabilities", "judged_negatives"])
        batch = Batch.from_table(table)
        cells = Cells.of(batch, Ragged.from_arrow(table.column("anchor_scores")))
        above = pc.list_flatten(pc.list_flatten(table.column("probabilities"))).to_numpy() > threshold
        if spare_judged:
            above &= ~Ragged.from_arrow(table.column("judged_negatives")).values.astype(bool)[cells.candidate]
        lengths = np.bincount(cells.anchor[above], minlength=len(cells.anchors.values))
        parts.append(Ragged.from_lengths(batch.candidates.values[cells.candidate[above]], lengths))
    return Ragged.concatenate(parts)


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (the distinct values in order of first occurrence, the position of each value among them)."""
    coded = pa.array(values).dictionary_encode()
    return coded.dictionary.to_numpy(), coded.indices.to_numpy()


def word_overlaps(
    queries: Ragged, positives: Ragged, documents: Ragged, idf: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the word overlaps of all queries and of all positives with all documents.

    Args:
        queries: hashed words of each query, int32.
        positives: those of each positive.
        documents: those of each document, ascending, none twice in one document.
        idf: inverse document frequency of every hashed word, float64.

    Returns:
        (the share of each query's word weight that each document holds, float64, shape (queries, documents); the
        weighted overlap of each positive with each document, float64, shape (positives, documents)).
    """
    from scipy.sparse import csr_array

    words = np.unique(documents.values)
    table = np.zeros((len(words), len(documents)))
    table[np.searchsorted(words, documents.values), documents.owners] = idf[documents.values]

    def weights(texts: Ragged) -> tuple[np.ndarray, np.ndarray]:
        """Return the summed idf of the words that each text shares with each document, and of all its words."""
        held = texts.filter(np.isin(texts.values, words))
        indices = np.searchsorted(words, held.values)
        shared = csr_array((np.ones(len(indices)), indices, held.offsets), shape=(len(texts), len(words))) @ table
        total = np.bincount(texts.owners, weights=idf[texts.values], minlength=len(texts))
        return np.asarray(shared), total[:, None]

    return word_coverage(*weights(queries)), weighted_jaccard(*weights(positives), table.sum(axis=0))
