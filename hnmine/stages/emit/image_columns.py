"""Columns of training rows that hold images in place of texts, as `datasets` stores them."""

import json
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from hnmine.errors import OutputError
from hnmine.storage.store import Shards

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The type in which `datasets` stores an image."""
_FEATURES = b"huggingface"
MOST_BYTES = 2**31 - 1
"""Bytes of images that one column of a shard can hold."""


def image_column(images: Shards, rows: np.ndarray) -> pa.Array:
    """Return the images of documents (int64 rows, repeats allowed) as a column of training rows.

    Raises:
        OutputError: together they are larger than a column can be.
    """
    distinct, places = np.unique(rows, return_inverse=True)
    contents = images.take(distinct, ["image"]).column(0).to_pylist()
    size = int(np.array([len(content) for content in contents], dtype=np.int64)[places].sum()) if len(rows) else 0
    if size > MOST_BYTES:
        raise OutputError(
            f"emit: the images of one shard's rows are {size:,} bytes, and a column holds {MOST_BYTES:,}; lower "
            "shard_rows (256 at least), or make the images smaller"
        )
    column = pa.array((contents[place] for place in places.tolist()), pa.binary())
    return pa.StructArray.from_arrays([column, pa.nulls(len(column), pa.string())], fields=list(IMAGE))


def with_features(table: pa.Table) -> pa.Table:
    """Return a table whose columns of images are marked as such for `datasets`, which then decodes them."""
    kinds = {column.name: _feature(column.type) for column in table.schema}
    if not any(kind is not None and "Image" in json.dumps(kind) for kind in kinds.values()):
        return table
    features = json.dumps({"info": {"features": kinds}}, sort_keys=True).encode()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _FEATURES: features})


def _feature(kind: pa.DataType) -> dict[str, object]:
    """Return the feature of `datasets` for a column's type."""
    if kind.equals(IMAGE):
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    names: Iterable[tuple[bool, str]] = (
        (pa.types.is_string(kind), "string"), (pa.types.is_float32(kind), "float32"),
        (pa.types.is_float64(kind), "float64"), (pa.types.is_int32(kind), "int32"), (pa.types.is_int64(kind), "int64"),
        (pa.types.is_boolean(kind), "bool"),
    )  # fmt: skip
    return {"_type": "Value", "dtype": next((name for fits, name in names if fits), str(kind))}
