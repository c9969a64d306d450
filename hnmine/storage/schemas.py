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


def field(name: str, kind: pa.DataType, text: str, *, nullable: bool = False) -> pa.Field:
    """Return a column with the words that describe it."""
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
        field("doc_id", pa.string(), "the document's id; of copies of one text, the first"),
        field("text", pa.string(), "title and text as they are embedded and emitted"),
        field(
            "text_key",
            pa.uint64(),
            "hash of the text without case, punctuation and spacing; equal for copies",
        ),
        field("source_row", pa.int64(), "position among the input's documents, from 0"),
        field("terms", _INTS, "its distinct words, hashed, ascending"),
    ]
)
TERMS = pa.schema(
    [
        field("term", pa.int32(), "a hashed word"),
        field("documents", pa.int64(), "documents of the canonical corpus that hold it"),
    ]
)
ALIASES = pa.schema(
    [
        field("doc_id", pa.string(), "an id whose text is that of an earlier document"),
        field("doc_row", pa.int64(), "the row of the canonical corpus that serves for it"),
        field("source_row", pa.int64(), "position among the input's documents, from 0"),
    ]
)
QUERIES = pa.schema(
    [
        field("query_id", pa.string(), "the query's id"),
        field("text", pa.string(), "the query's text"),
        field("text_key", pa.uint64(), "as in the corpus"),
        field("source_row", pa.int64(), "position among the input's queries, from 0"),
        field("positive_rows", _INT64S, "rows of the labelled positives, ascending"),
        field("positive_relevance", _INTS, "their judged relevance"),
        field("negative_rows", _INT64S, "rows judged irrelevant, by qrels or `input.judgements`, ascending"),
        field("relevant_rows", _INT64S, "rows that `input.judgements` call relevant, no positives, ascending"),
        field("unsure_rows", _INT64S, "rows that `input.judgements` leave open, ascending"),
        field("sibling_rows", _INT64S, "positives of other queries with the same text, ascending"),
        field("terms", _INTS, "its distinct words, hashed, ascending"),
    ]
)
LEFT_OUT = pa.schema(
    [
        field("kind", pa.string(), "document, query, qrel or judgement"),
        field("id", pa.string(), "its id (for a qrel or judgement: query_id and doc_id)"),
        field("reason", pa.string(), "empty text, no positive, unknown document, unknown query"),
    ]
)
BM25 = pa.schema(
    [
        field("word", pa.string(), "a word of the corpus, or its stem"),
        field("first", pa.int64(), "where its documents begin in NAME.documents.npy and NAME.scores.npy beside"),
        field("documents", pa.int64(), "how many documents hold it"),
    ]
)
IMPORTED = pa.schema(
    [
        field("query_row", pa.int64(), "the query's row, ascending"),
        field("doc_row", pa.int64(), "the document's row; best first within a query"),
        field("score", pa.float32(), "its score in the file"),
    ]
)
SOURCES = pa.schema(
    [
        field("name", pa.string(), "the source's name; sources stand in the order of `source_ranks`"),
        field("kind", pa.string(), "dense, bm25 or run"),
        field("depth", pa.int64(), "candidates it gives a query, positives not counted"),
    ]
)
FIELD_VALUES = pa.schema(
    [
        field("row", pa.int64(), "row of the canonical corpus, or of the queries, ascending"),
        field("field", pa.string(), "a column that `[[retrieve.where]]` asks for"),
        field("value", pa.string(), "a value it has there, as text; of copies of one text, those of all"),
    ]
)
CANDIDATES = pa.schema(
    [
        field("query_id", pa.string(), "the query's id"),
        field("query_row", pa.int64(), "its row among the queries"),
        field("positive_rows", _INT64S, "rows of the labelled positives"),
        field("positive_scores", _FLOATS, "the teacher's score of each positive, always exact"),
        field("doc_rows", _INT64S, "rows of the candidates, best first; ties by row; positives are among them"),
        field("scores", _FLOATS, "the teacher's score of each candidate, always exact"),
        field("ranks", _INTS, "rank of each candidate by score among all candidates of the query, from 1"),
        field(
            "similarities",
            _FLOATS,
            "cosine of candidate and positive, candidate by candidate: (candidates x positives) values",
        ),
        field("query_overlaps", _FLOATS, "share of the query's word weight (idf) that each candidate holds"),
        field("positive_overlaps", _FLOATS, "weighted word overlap of candidate and positive, as similarities"),
        field("background_mean", pa.float32(), "mean score of the query to random documents"),
        field("background_std", pa.float32(), "standard deviation of the same"),
        field("positive_background_mean", _FLOATS, "for each positive: mean cosine to the same random documents"),
        field("positive_background_std", _FLOATS, "standard deviation of the same"),
        field("guide_scores", _FLOATS, "the guide's score of each candidate, always exact; empty without a guide"),
        field("guide_positive_scores", _FLOATS, "likewise of each positive"),
        field(
            "source_scores",
            pa.list_(pa.float32()),
            "score in each source, candidate by candidate: (candidates x sources) values, null where a source did "
            "not find it; empty where the teacher alone finds candidates",
        ),
        field("source_ranks", pa.list_(pa.int32()), "rank in each source from 1, positives counted; likewise"),
    ]
)
JUDGED = pa.schema(
    [
        *CANDIDATES,
        field("anchor_scores", _FLOATS, "score that margins start from: one, or one a positive (anchor = each)"),
        field("verdicts", _list(_STRINGS), "for each anchor score, a verdict for every candidate"),
        field(
            "probabilities",
            _list(_FLOATS),
            "likewise P(false negative); empty lists where no rule asked for it",
        ),
        field("judged_negatives", _list(pa.bool_()), "for each candidate: whether it is judged irrelevant"),
        field(
            "positive_standing",
            _FLOATS,
            "for each positive: share of the candidates that are no positives that it outscores; 1 without any",
        ),
    ]
)
JUDGED_CODED = JUDGED.set(
    JUDGED.get_field_index("verdicts"),
    field("verdicts", _list(_list(pa.dictionary(pa.int32(), pa.string()))), "as in `JUDGED`"),
)
"""How a judged table is read where verdicts are counted or compared: the same file, each verdict a small number."""
CALIBRATION = pa.schema(
    [
        field("fold", pa.int32(), "fold of queries left out of the fit; null: fitted on all of them", nullable=True),
        field("mean", _list(pa.float64()), "of each feature"),
        field("scale", _list(pa.float64()), "standard deviation of each feature"),
        field("weights", _list(pa.float64()), "of each standardised feature"),
        field("bias", pa.float64(), "the constant"),
        field("threshold", pa.float64(), "candidates with a P(false negative) above it are rejected"),
        field("fitted_on", pa.string(), "own labels, or other collections"),
        field("reason", pa.string(), "why, and how the threshold was set"),
    ]
)
CHOSEN = pa.schema(
    [
        field("query_row", pa.int64(), "the query's row"),
        field("anchor", pa.int32(), "which of the query's anchor scores the negatives were chosen by, from 0"),
        field("wanted", pa.int32(), "negatives wanted; 0 where emit.bad_positives leaves all its positives out"),
        field("positions", _INTS, "positions of the chosen among the query's candidates; -1: a random document"),
        field("doc_rows", _INT64S, "their rows"),
        field("scores", _FLOATS, "their scores"),
    ]
)
BATCHES = pa.schema(
    [
        field("query_row", pa.int64(), "the query's row"),
        field("positive_row", pa.int64(), "the positive's row; with the query it names the example"),
        field("batch_id", pa.int32(), "the batch that the example belongs to, from 0"),
        field("cluster", pa.int32(), "the cluster of its query; 0 for all where emit.batch_by is random"),
        field("score", pa.float32(), "mean score of the query to its batch's other positives", nullable=True),
        field("random_score", pa.float32(), "the same in a random batch of emit.batch_size", nullable=True),
        field("conflicts", pa.int32(), "examples that it was compared with and kept apart from"),
    ]
)
BAD_POSITIVES = pa.schema(
    [
        field("query_id", pa.string(), "the query's id"),
        field("doc_id", pa.string(), "the positive's id"),
        field("score", pa.float32(), "the teacher's score"),
        field("standing", pa.float32(), "share of the query's candidates, positives apart, that it outscores"),
    ]
)
QUERY_REPORT = pa.schema(
    [
        field("query_id", pa.string(), "the query's id"),
        field("query_row", pa.int64(), "its row among the queries"),
        field("positives", pa.int32(), "labelled positives"),
        field("candidates", pa.int32(), "candidates that are not labelled positives"),
        field("kept", pa.float32(), "of them, verdict keep (mean over anchors)"),
        field("chosen", pa.float32(), "negatives chosen, mean over anchors that have a positive to emit"),
        field("wanted", pa.int32(), "negatives wanted for each"),
        field("positive_score", pa.float32(), "mean score of the positives"),
        field("negative_score", pa.float32(), "mean score of the chosen; null without any", nullable=True),
        field("margin", pa.float32(), "anchor minus the hardest chosen, mean over anchors", nullable=True),
        field("capacity", pa.float32(), "ln(1 + K)"),
        field("hardness", pa.float32(), "mean hardness of the chosen; null without any", nullable=True),
        field("safety", pa.float32(), "max-margin safety; null without any chosen", nullable=True),
        field("eci", pa.float32(), "capacity times the harmonic mean of hardness and safety; 0 without any"),
        field("eci_sem", pa.float32(), "log-determinant of the weighted residuals of the chosen; 0 without any"),
    ]
)


def vectors(dim: int, dtype: str = "float32") -> pa.Schema:
    """Return the schema of a vector shard: `row` and a fixed-size list of `dim` floats."""
    kind = pa.float16() if dtype == "float16" else pa.float32()
    return pa.schema(
        [
            field("row", pa.int64(), "row of the canonical corpus, or of the queries"),
            field(
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
