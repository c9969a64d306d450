"""The tables that the stage rescore writes: a part of the data contract of `hnmine.storage.schemas`."""

import pyarrow as pa

from hnmine.storage.schemas.retrieve import CANDIDATES


def _field(name: str, text: str, kind: pa.DataType | None = None) -> pa.Field:
    """Return a field with its description; its type is that of retrieve's field of the same name, unless given."""
    return pa.field(name, kind or CANDIDATES.field(name).type, nullable=False, metadata={"description": text})


RESCORES = pa.schema(
    [
        _field("query_id", "the query's id"),
        _field("query_row", "its row among the queries"),
        _field("doc_rows", "rows of the candidates, as retrieve has them"),
        _field(
            "scores",
            "the cross-encoder's raw score (logit) of each candidate; null beyond rescore.top_n",
            pa.list_(pa.float32()),
        ),
        _field("positive_scores", "likewise of each labelled positive, as retrieve has them"),
    ]
)
RANDOM_PAIRS = pa.schema(
    [
        _field("query_row", "a query drawn at random"),
        _field("doc_row", "a document drawn at random, no positive of the query", pa.int64()),
        _field("score", "the cross-encoder's raw score of the two", pa.float32()),
    ]
)
