"""Schemas of the tables of the stage embed."""

import pyarrow as pa

from hnmine.storage.schemas.base import field, schema


def vectors(dim: int, dtype: str = "float32") -> pa.Schema:
    """Return the schema of a vector shard: `row` and a fixed-size list of `dim` floats."""
    kind = pa.float16() if dtype == "float16" else pa.float32()
    return schema(
        field("row", pa.int64(), "row of the canonical corpus, or of the queries"),
        field(
            "vector",
            pa.list_(pa.field("item", kind, nullable=False), dim),
            "the vector, by the teacher or the guide",
        ),
    )


FOUND = schema(field("row", pa.int64(), "a document that a source finds for a query of this shard, ascending"))
SELECTED = schema(
    field("row", pa.int64(), "row of a document that gets a vector, ascending"),
    field("by_chance", pa.bool_(), "brought by chance alone: no source found it for any query, no label names it"),
)
QUANTISED = schema(
    field("graph", pa.large_binary(), "OpenVINO's description of the transformer in 8-bit numbers (XML)"),
    field("weights", pa.large_binary(), "its weights, as OpenVINO stores them"),
)
AGREEMENT = schema(
    field("row", pa.int64(), "row of a document of the sample, ascending"),
    field("cosine", pa.float32(), "of its vector to the one that the same model makes in float32"),
)
