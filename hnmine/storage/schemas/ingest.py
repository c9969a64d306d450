"""Schemas of the tables of the stage ingest."""

import pyarrow as pa

from hnmine.storage.schemas.base import INT64S, INTS, field, schema

CORPUS = schema(
    field("doc_id", pa.string(), "the document's id; of copies of one text, the first"),
    field("text", pa.string(), "title and text as they are embedded and emitted"),
    field("text_key", pa.uint64(), "hash of the text without case, punctuation and spacing; equal for copies"),
    field("source_row", pa.int64(), "position among the input's documents, from 0"),
    field("terms", INTS, "its distinct words, hashed, ascending"),
)
IMAGES = schema(
    field("image", pa.large_binary(), "the image, as its file holds it; null for a text", nullable=True),
    field("width", pa.int32(), "pixels; null for a text", nullable=True),
    field("height", pa.int32(), "pixels; null for a text", nullable=True),
)
"""Of documents, in the order of CORPUS; of queries, in that of the input."""
TERMS = schema(
    field("term", pa.int32(), "a hashed word"),
    field("documents", pa.int64(), "documents of the canonical corpus that hold it"),
)
ALIASES = schema(
    field("doc_id", pa.string(), "an id whose text is that of an earlier document"),
    field("doc_row", pa.int64(), "the row of the canonical corpus that serves for it"),
    field("source_row", pa.int64(), "position among the input's documents, from 0"),
)
QUERIES = schema(
    field("query_id", pa.string(), "the query's id"),
    field("text", pa.string(), "the query's text"),
    field("text_key", pa.uint64(), "as in the corpus"),
    field("source_row", pa.int64(), "position among the input's queries, from 0"),
    field("positive_rows", INT64S, "rows of the labelled positives, ascending"),
    field("positive_relevance", INTS, "their judged relevance"),
    field("negative_rows", INT64S, "rows judged irrelevant, by qrels or `input.judgements`, ascending"),
    field("relevant_rows", INT64S, "rows that `input.judgements` call relevant, no positives, ascending"),
    field("unsure_rows", INT64S, "rows that `input.judgements` leave open, ascending"),
    field("sibling_rows", INT64S, "positives of other queries with the same text, ascending"),
    field("terms", INTS, "its distinct words, hashed, ascending"),
)
EVALUATION = schema(
    field("doc_row", pa.int64(), "a row relevant to a query of the evaluation set, or the same text as one, ascending"),
)
LEFT_OUT = schema(
    field("kind", pa.string(), "document, query, positive, qrel or judgement"),
    field("id", pa.string(), "its id (for a positive, qrel or judgement: query_id and doc_id)"),
    field(
        "reason",
        pa.string(),
        "empty text, no positive, unknown document, unknown query, in the evaluation set, all positives in the "
        "evaluation set",
    ),
)
