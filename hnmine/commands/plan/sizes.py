"""How large a collection is, and how large it is on disk and in memory: what all estimates start from."""

from dataclasses import dataclass, field

from hnmine.config import Config, TeacherTable

STORED_TEXT, STORED_WORDS, STORED_REST = 0.37, 0.2, 0.08
"""Bytes on disk for a byte of a document's text: of the text itself, of its hashed words, of ids and keys (zstd). On
BioASQ snippets, SciFact and Vaswani .34 to .38, .17 to .26 and .01 to .09."""
WORDS_A_BYTE = 0.1
"""Distinct words for a byte of text; .08 to .13 on the same."""
CANDIDATE_BYTES, CELL_BYTES, VERDICT_BYTES, PROBABILITY_BYTES = 14.0, 8.0, 0.25, 4.0
"""Bytes on disk: of a candidate, of each of its pairs with a positive, and for each anchor of its verdict and
P(false negative). Made collection of docs/benchmarks.md, 2.5 positives: 29 a candidate (34 by this), 4.2 a verdict."""
SOURCE_BYTES, GUIDE_BYTES = 8.0, 4.0
"""Bytes on disk of a candidate besides: for each source, and for a guide."""


@dataclass(frozen=True)
class Sizes:
    """A collection, counted or to be.

    Attributes:
        documents: of the corpus.
        queries: with a positive.
        positives: labelled positives a query, in the mean.
        document_bytes: UTF-8 bytes of a document, in the mean.
        query_bytes: likewise of a query.
        id_bytes: likewise of an id.
        dims: numbers a vector, by teacher.
    """

    documents: int
    queries: int
    positives: float
    document_bytes: float
    query_bytes: float
    id_bytes: float
    dims: dict[TeacherTable, int] = field(default_factory=dict)

    @property
    def text_bytes(self) -> float:
        """UTF-8 bytes of all documents."""
        return self.documents * self.document_bytes

    @property
    def dim(self) -> int:
        """Numbers a vector of the teacher of [embed]."""
        return self.dims["embed"]


def stored_vectors(config: Config, sizes: Sizes, table: TeacherTable = "embed") -> float:
    """Return bytes on disk of one teacher's document vectors: 4 (float32) or 2 (float16) a number, and 8 a row."""
    documents = config.max_embedded(sizes.documents, sizes.queries) if table == "embed" else sizes.documents
    number = 2 if config.teachers[table].dtype == "float16" else 4
    return float(documents * (number * sizes.dims[table] + 8))


def held_vectors(config: Config, sizes: Sizes, table: TeacherTable = "embed") -> float:
    """Return bytes in memory of the same: 4 a number, whatever is stored."""
    documents = config.max_embedded(sizes.documents, sizes.queries) if table == "embed" else sizes.documents
    return float(documents * 4 * sizes.dims[table])


def held_terms(sizes: Sizes) -> float:
    """Return bytes in memory of the documents' hashed words: 4 a word, 8 a document."""
    return sizes.text_bytes * WORDS_A_BYTE * 4 + 8 * sizes.documents


def stored_candidates(config: Config, sizes: Sizes) -> float:
    """Return bytes that retrieve writes: `CANDIDATE_BYTES` each, `CELL_BYTES` for each pair with a positive."""
    each = CANDIDATE_BYTES + CELL_BYTES * sizes.positives
    each += SOURCE_BYTES * len(config.retrieve.source) + GUIDE_BYTES * (config.guide is not None)
    return sizes.queries * (config.retrieve.max_candidates + sizes.positives) * each


def stored_verdicts(config: Config, sizes: Sizes) -> float:
    """Return bytes that filter writes: the candidates again, with a verdict for each anchor."""
    anchors = sizes.positives if config.filter.anchor == "each" else 1.0
    probability = PROBABILITY_BYTES if config.filter.gives_probabilities else 0.0
    cells = sizes.queries * (config.retrieve.max_candidates + sizes.positives) * anchors
    return stored_candidates(config, sizes) + cells * (VERDICT_BYTES + probability)


def negatives(config: Config, sizes: Sizes) -> float:
    """Return how many negatives are emitted where none is missing: one list a positive, or a query."""
    return sizes.queries * sizes.positives * config.emit.num_negatives
