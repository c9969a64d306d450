"""Columns of training rows that hold images in place of texts, as `datasets` stores them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import list_array, single_array
from hnmine.errors import OutputError
from hnmine.models.image_encoder import query_image_rows
from hnmine.runtime.stage import RunContext
from hnmine.runtime.worker_slot import kept_texts
from hnmine.storage.schemas.ingest import IMAGES, QUERIES
from hnmine.storage.store import Shards, recorded

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The type in which `datasets` stores an image."""
MIXED = pa.struct([("text", pa.string()), ("image", IMAGE)])
"""A document that may be a text or an image, until `with_features` splits it into two columns."""
_FEATURES = b"huggingface"
MOST_BYTES = 2**31 - 1
"""Bytes of images that one column of a shard can hold."""


@dataclass(frozen=True)
class SideImages:
    """The images of documents or queries.

    Attributes:
        images: a table of images.
        has_texts: whether some documents or queries are texts.
        places: int64, the row in `images` of each document or query; None where it has theirs alone, in order.
    """

    images: Shards
    has_texts: bool
    places: np.ndarray | None = None

    @classmethod
    def of_documents(cls, context: RunContext) -> "SideImages | None":
        """Return those of the documents; None where documents are texts."""
        if not context.config.input.has_images:
            return None
        ingest = context.reading("ingest")
        counts = (recorded(ingest) or {})["counts"]
        images = Shards(ingest / "images", IMAGES, kept_texts(context.config))
        return cls(images, counts["images"] < counts["documents"])

    @classmethod
    def of_queries(cls, context: RunContext) -> "SideImages | None":
        """Return those of the queries; None where queries are texts."""
        if not context.config.input.has_query_images:
            return None
        ingest = context.reading("ingest")
        counts, queries = (recorded(ingest) or {})["counts"], Shards(ingest / "queries", QUERIES)
        return cls(Shards(ingest / "query-images", IMAGES), counts["query_texts"] > 0, query_image_rows(queries))

    def column(self, rows: np.ndarray, texts: pa.Array) -> pa.Array:
        """Return documents or queries (int64 rows, repeats allowed) as a column of training rows, given their texts."""
        places = rows if self.places is None else self.places[rows]
        return mixed_column(self.images, places, texts) if self.has_texts else image_column(self.images, places)


def image_column(images: Shards, rows: np.ndarray) -> pa.Array:
    """Return the images of documents (int64 rows, repeats allowed) as a column of training rows; null for texts.

    Raises:
        OutputError: together they are larger than a column can be.
    """
    distinct, places = np.unique(rows, return_inverse=True)
    contents = images.take(distinct, ["image"]).column(0).to_pylist()
    sizes = np.array([len(content or b"") for content in contents], dtype=np.int64)
    if len(rows) and (size := int(sizes[places].sum())) > MOST_BYTES:
        raise OutputError(
            f"emit: the images of one shard's rows are {size:,} bytes, and a column holds {MOST_BYTES:,}; lower "
            "shard_rows (256 at least), or make the images smaller"
        )
    column = pa.array((contents[place] for place in places.tolist()), pa.binary())
    parts = [column, pa.nulls(len(column), pa.string())]
    return pa.StructArray.from_arrays(parts, fields=list(IMAGE), mask=column.is_null())


def mixed_column(images: Shards, rows: np.ndarray, texts: pa.Array) -> pa.Array:
    """Return documents that are texts or images as one column; of an image, the text is left out.

    Args:
        images: of all documents.
        rows: int64, repeats allowed.
        texts: of these rows.
    """
    found = image_column(images, rows)
    own = pc.if_else(found.is_null(), single_array(texts), pa.scalar(None, pa.string()))
    return pa.StructArray.from_arrays([own, found], fields=list(MIXED))


def with_features(table: pa.Table) -> pa.Table:
    """Return a table whose columns of images are marked as such for `datasets`, which then decodes them.

    A column of documents that are texts or images becomes two, each null where the document is the other: `negative`
    and `negative_image`, `documents` and `document_images`.
    """
    columns: dict[str, pa.Array] = {}
    for name in table.column_names:
        columns |= _split(name, single_array(table.column(name)))
    kinds = {name: _feature(column.type) for name, column in columns.items()}
    features = json.dumps({"info": {"features": kinds}}, sort_keys=True).encode()
    return pa.table(columns).replace_schema_metadata({_FEATURES: features})


def _split(name: str, column: pa.Array) -> dict[str, pa.Array]:
    """Return a column by its name, or the two that it becomes."""
    if column.type.equals(MIXED):
        return {name: column.field("text"), f"{name}_image": column.field("image")}
    if pa.types.is_list(column.type) and column.type.value_type.equals(MIXED):
        values, offsets = column.flatten(), np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy())])
        texts, images = (list_array(offsets, values.field(part), nullable=True) for part in ("text", "image"))
        return {name: texts, f"{name.removesuffix('s')}_images": images}
    return {name: column}


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
