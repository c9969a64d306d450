"""The tables that embed writes where `embed.documents = "candidates"`: a part of the data contract of `schemas`."""

import pyarrow as pa

from hnmine.storage.schemas import field

FOUND = pa.schema([field("row", pa.int64(), "a document that a source finds for a query of this shard, ascending")])
SELECTED = pa.schema(
    [
        field("row", pa.int64(), "row of a document that gets a vector, ascending"),
        field(
            "by_chance",
            pa.bool_(),
            "brought by chance alone: no source found it for any query, no label names it",
        ),
    ]
)
