"""Schemas of the tables of the stage rescore."""

import pyarrow as pa

from hnmine.storage.schemas.base import FLOATS, INT64S, field, schema

RESCORES = schema(
    field("query_id", pa.string(), "the query's id"),
    field("query_row", pa.int64(), "its row among the queries"),
    field("doc_rows", INT64S, "rows of the candidates, as retrieve has them"),
    field(
        "scores",
        pa.list_(pa.float32()),
        "the cross-encoder's raw score (logit) of each candidate; null beyond rescore.top_n",
    ),
    field("positive_scores", FLOATS, "likewise of each labelled positive, as retrieve has them"),
)
RANDOM_PAIRS = schema(
    field("query_row", pa.int64(), "a query drawn at random"),
    field("doc_row", pa.int64(), "a document drawn at random, no positive of the query"),
    field("score", pa.float32(), "the cross-encoder's raw score of the two"),
)
