"""The tables that embed writes where a teacher's `precision` is "int8": a part of the data contract of `schemas`."""

import pyarrow as pa

from hnmine.storage.schemas import field

QUANTISED = pa.schema(
    [
        field("graph", pa.large_binary(), "OpenVINO's description of the transformer in 8-bit numbers (XML)"),
        field("weights", pa.large_binary(), "its weights, as OpenVINO stores them"),
    ]
)
AGREEMENT = pa.schema(
    [
        field("row", pa.int64(), "row of a document of the sample, ascending"),
        field("cosine", pa.float32(), "of its vector to the one that the same model makes in float32"),
    ]
)
