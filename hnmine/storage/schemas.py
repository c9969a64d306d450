"""The data contract: the schema of every table that a stage writes, and `conform`, which holds tables to it.

Each field's description travels in its Arrow metadata; docs/data-format.md is generated from here.
From retrieve on there is one row per query, with list columns for its candidates.
"""

import pyarrow as pa

from hnmine.errors import HnmineError
from hnmine.storage.indexschema import INDEX as INDEX


class SchemaMismatch(HnmineError):
    """A table does not have the columns that the contract asks for; a bug, or a file changed by hand."""

    exit_code = 4


def _field(name: str, kind: pa.DataType, text: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": text})


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("item", kind, nullable=False))


KEEP, NOT_RESCORED = "keep", "not_rescored"
VERDICTS: dict[str, str] = {
    KEEP: "may become a negative",
    "positive": "labelled as a positive of this query",
    "sibling_positive": "a positive of another query with the same text",
    "judged_relevant": "judged relevant in input.judgements, without being a labelled positive; or a copy of such",
    "copy_of_positive": "the same text as a positive, apart from case, punctuation and spacing",
    "copy_of_query": "the same text as the query, likewise",
    "near_copy_of_positive": "cosine to a positive above filter.max_positive_similarity",
    "near_copy_of_query": "cosine to the query above filter.max_query_similarity",
    NOT_RESCORED: "beyond rescore.top_n, so without a score where filter.score = rescored",
    "outside_ranks": "rank outside filter.ranks",
    "absolute": "rejected by the rule absolute",
    "margin": "rejected by the rule margin",
    "percent": "rejected by the rule percent",
    "adaptive": "rejected by the rule adaptive",
    "two_sided": "rejected by the rule two_sided",
    "calibrated": "rejected by the rule calibrated",
    "guide": "rejected by the rule guide",
    "copy_of_negative": "the same text as a better ranked candidate that was kept",
}
"""Every verdict, in the order in which they are given: a candidate keeps the first that applies."""

_INT64S, _FLOATS, _INTS, _STRINGS = (
    _list(pa.int64()),
    _list(pa.float32()),
    _list(pa.int32()),
    _list(pa.string()),
)

CORPUS = pa.schema(
    [
        _field("doc_id", pa.string(), "the document's id; of copies of one text, the first"),
        _field("text", pa.string(), "title and text as they are embedded and emitted"),
        _field(
            "text_key",
            pa.uint64(),
            "hash of the text without case, punctuation and spacing; equal for copies",
        ),
        _field("source_row", pa.int64(), "position among the input's documents, from 0"),
        _field("terms", _INTS, "its distinct words, hashed, ascending"),
    ]
)
TERMS = pa.schema(
    [
        _field("term", pa.int32(), "a hashed word"),
        _field("documents", pa.int64(), "documents of the canonical corpus that hold it"),
    ]
)
ALIASES = pa.schema(
    [
        _field("doc_id", pa.string(), "an id whose text is that of an earlier document"),
        _field("doc_row", pa.int64(), "the row of the canonical corpus that serves for it"),
        _field("source_row", pa.int64(), "position among the input's documents, from 0"),
    ]
)
QUERIES = pa.schema(
    [
        _field("query_id", pa.string(), "the query's id"),
        _field("text", pa.string(), "the query's text"),
        _field("text_key", pa.uint64(), "as in the corpus"),
        _field("source_row", pa.int64(), "position among the input's queries, from 0"),
        _field("positive_rows", _INT64S, "rows of the labelled positives, ascending"),
        _field("positive_relevance", _INTS, "their judged relevance"),
        _field("negative_rows", _INT64S, "rows judged irrelevant, by qrels or `input.judgements`, ascending"),
        _field("relevant_rows", _INT64S, "rows that `input.judgements` call relevant, no positives, ascending"),
        _field("unsure_rows", _INT64S, "rows that `input.judgements` leave open, ascending"),
        _field("sibling_rows", _INT64S, "positives of other queries with the same text, ascending"),
        _field("terms", _INTS, "its distinct words, hashed, ascending"),
    ]
)
LEFT_OUT = pa.schema(
    [
        _field("kind", pa.string(), "document, query, qrel or judgement"),
        _field("id", pa.string(), "its id (for a qrel or judgement: query_id and doc_id)"),
        _field("reason", pa.string(), "empty text, no positive, unknown document, unknown query"),
    ]
)
BM25 = pa.schema(
    [
        _field("word", pa.string(), "a word of the corpus, or its stem"),
        _field("first", pa.int64(), "where its documents begin in NAME.documents.npy and NAME.scores.npy beside"),
        _field("documents", pa.int64(), "how many documents hold it"),
    ]
)
IMPORTED = pa.schema(
    [
        _field("query_row", pa.int64(), "the query's row, ascending"),
        _field("doc_row", pa.int64(), "the document's row; best first within a query"),
        _field("score", pa.float32(), "its score in the file"),
    ]
)
SOURCES = pa.schema(
    [
        _field("name", pa.string(), "the source's name; sources stand in the order of `source_ranks`"),
        _field("kind", pa.string(), "dense, bm25 or run"),
        _field("depth", pa.int64(), "candidates it gives a query, positives not counted"),
    ]
)
FIELD_VALUES = pa.schema(
    [
        _field("row", pa.int64(), "row of the canonical corpus, or of the queries, ascending"),
        _field("field", pa.string(), "a column that `[[retrieve.where]]` asks for"),
        _field("value", pa.string(), "a value it has there, as text; of copies of one text, those of all"),
    ]
)
CANDIDATES = pa.schema(
    [
        _field("query_id", pa.string(), "the query's id"),
        _field("query_row", pa.int64(), "its row among the queries"),
        _field("positive_rows", _INT64S, "rows of the labelled positives"),
        _field("positive_scores", _FLOATS, "the teacher's score of each positive, always exact"),
        _field("doc_rows", _INT64S, "rows of the candidates, best first; ties by row; positives are among them"),
        _field("scores", _FLOATS, "the teacher's score of each candidate, always exact"),
        _field("ranks", _INTS, "rank of each candidate by score among all candidates of the query, from 1"),
        _field(
            "similarities",
            _FLOATS,
            "cosine of candidate and positive, candidate by candidate: (candidates x positives) values",
        ),
        _field("query_overlaps", _FLOATS, "share of the query's word weight (idf) that each candidate holds"),
        _field("positive_overlaps", _FLOATS, "weighted word overlap of candidate and positive, as similarities"),
        _field("background_mean", pa.float32(), "mean score of the query to random documents"),
        _field("background_std", pa.float32(), "standard deviation of the same"),
        _field("positive_background_mean", _FLOATS, "for each positive: mean cosine to the same random documents"),
        _field("positive_background_std", _FLOATS, "standard deviation of the same"),
        _field("guide_scores", _FLOATS, "the guide's score of each candidate, always exact; empty without a guide"),
        _field("guide_positive_scores", _FLOATS, "likewise of each positive"),
        _field(
            "source_scores",
            pa.list_(pa.float32()),
            "score in each source, candidate by candidate: (candidates x sources) values, null where a source did "
            "not find it; empty where the teacher alone finds candidates",
        ),
        _field("source_ranks", pa.list_(pa.int32()), "rank in each source from 1, positives counted; likewise"),
    ]
)
JUDGED = pa.schema(
    [
        *CANDIDATES,
        _field("anchor_scores", _FLOATS, "score that margins start from: one, or one a positive (anchor = each)"),
        _field("verdicts", _list(_STRINGS), "for each anchor score, a verdict for every candidate"),
        _field(
            "probabilities",
            _list(_FLOATS),
            "likewise P(false negative); empty lists where no rule asked for it",
        ),
        _field("judged_negatives", _list(pa.bool_()), "for each candidate: whether it is judged irrelevant"),
        _field(
            "positive_standing",
            _FLOATS,
            "for each positive: share of the candidates that are no positives that it outscores; 1 without any",
        ),
    ]
)
JUDGED_CODED = JUDGED.set(
    JUDGED.get_field_index("verdicts"),
    _field("verdicts", _list(_list(pa.dictionary(pa.int32(), pa.string()))), "as in `JUDGED`"),
)
"""How a judged table is read where verdicts are counted or compared: the same file, each verdict a small number."""
CALIBRATION = pa.schema(
    [
        _field("fold", pa.int32(), "fold of queries left out of the fit; null: fitted on all of them", nullable=True),
        _field("mean", _list(pa.float64()), "of each feature"),
        _field("scale", _list(pa.float64()), "standard deviation of each feature"),
        _field("weights", _list(pa.float64()), "of each standardised feature"),
        _field("bias", pa.float64(), "the constant"),
        _field("threshold", pa.float64(), "candidates with a P(false negative) above it are rejected"),
        _field("fitted_on", pa.string(), "own labels, or other collections"),
        _field("reason", pa.string(), "why, and how the threshold was set"),
    ]
)
CHOSEN = pa.schema(
    [
        _field("query_row", pa.int64(), "the query's row"),
        _field("anchor", pa.int32(), "which of the query's anchor scores the negatives were chosen by, from 0"),
        _field("wanted", pa.int32(), "negatives wanted; 0 where emit.bad_positives leaves all its positives out"),
        _field("positions", _INTS, "positions of the chosen among the query's candidates; -1: a random document"),
        _field("doc_rows", _INT64S, "their rows"),
        _field("scores", _FLOATS, "their scores"),
    ]
)
BATCHES = pa.schema(
    [
        _field("query_row", pa.int64(), "the query's row"),
        _field("positive_row", pa.int64(), "the positive's row; with the query it names the example"),
        _field("batch_id", pa.int32(), "the batch that the example belongs to, from 0"),
        _field("cluster", pa.int32(), "the cluster of its query; 0 for all where emit.batch_by is random"),
        _field("score", pa.float32(), "mean score of the query to its batch's other positives", nullable=True),
        _field("random_score", pa.float32(), "the same in a random batch of emit.batch_size", nullable=True),
        _field("conflicts", pa.int32(), "examples that it was compared with and kept apart from"),
    ]
)
BAD_POSITIVES = pa.schema(
    [
        _field("query_id", pa.string(), "the query's id"),
        _field("doc_id", pa.string(), "the positive's id"),
        _field("score", pa.float32(), "the teacher's score"),
        _field("standing", pa.float32(), "share of the query's candidates, positives apart, that it outscores"),
    ]
)
QUERY_REPORT = pa.schema(
    [
        _field("query_id", pa.string(), "the query's id"),
        _field("query_row", pa.int64(), "its row among the queries"),
        _field("positives", pa.int32(), "labelled positives"),
        _field("candidates", pa.int32(), "candidates that are not labelled positives"),
        _field("kept", pa.float32(), "of them, verdict keep (mean over anchors)"),
        _field("chosen", pa.float32(), "negatives chosen, mean over anchors that have a positive to emit"),
        _field("wanted", pa.int32(), "negatives wanted for each"),
        _field("positive_score", pa.float32(), "mean score of the positives"),
        _field("negative_score", pa.float32(), "mean score of the chosen; null without any", nullable=True),
        _field("margin", pa.float32(), "anchor minus the hardest chosen, mean over anchors", nullable=True),
        _field("capacity", pa.float32(), "ln(1 + K)"),
        _field("hardness", pa.float32(), "mean hardness of the chosen; null without any", nullable=True),
        _field("safety", pa.float32(), "max-margin safety; null without any chosen", nullable=True),
        _field("eci", pa.float32(), "capacity times the harmonic mean of hardness and safety; 0 without any"),
        _field("eci_sem", pa.float32(), "log-determinant of the weighted residuals of the chosen; 0 without any"),
    ]
)


def vectors(dim: int, dtype: str = "float32") -> pa.Schema:
    """Return the schema of a vector shard: `row` and a fixed-size list of `dim` floats."""
    kind = pa.float16() if dtype == "float16" else pa.float32()
    return pa.schema(
        [
            _field("row", pa.int64(), "row of the canonical corpus, or of the queries"),
            _field(
                "vector",
                pa.list_(pa.field("item", kind, nullable=False), dim),
                "the vector, by the teacher or the guide",
            ),
        ]
    )


def conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """Return `table` with exactly the columns of `schema`, in its order and types.

    Args:
        table: what a stage read or is about to write.
        schema: one of this module's.
        where: names the table in the message, for example `retrieve/part-00000.parquet`.

    Raises:
        SchemaMismatch: a column is missing, or cannot be converted without loss; all of them are named.
    """
    problems, columns = [], []
    for field in schema:
        if field.name not in table.column_names:
            problems.append(f"{where}: column {field.name} is missing")
            continue
        column = table.column(field.name)
        if not column.type.equals(field.type):
            try:
                column = column.cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                problems.append(f"{where}: column {field.name} is {column.type}, not {field.type}")
                continue
        if column.null_count and not field.nullable:
            problems.append(f"{where}: column {field.name} has {column.null_count:,} nulls")
            continue
        columns.append(column)
    if problems:
        raise SchemaMismatch("\n".join(problems))
    return pa.Table.from_arrays(columns, schema=schema)
