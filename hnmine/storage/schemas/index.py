"""Schemas of the tables of the stage index."""

import pyarrow as pa

from hnmine.storage.schemas.base import FLOATS, INTS, field, schema

BM25 = schema(
    field("word", pa.string(), "a word of the corpus, or its stem"),
    field("first", pa.int64(), "where its documents begin in NAME.documents.npy and NAME.scores.npy beside"),
    field("documents", pa.int64(), "how many documents hold it"),
)
SPARSE = schema(
    field("terms", INTS, "terms of the text by number, ascending: dimensions of the encoder"),
    field("weights", FLOATS, "weight of each, never 0"),
)
SPARSE_TERMS = schema(
    field("term", pa.int32(), "a term by number, ascending from 0"),
    field("first", pa.int64(), "where its documents begin in NAME.documents.npy and NAME.scores.npy beside"),
    field("documents", pa.int64(), "how many documents have it"),
)
IMPORTED = schema(
    field("query_row", pa.int64(), "the query's row, ascending"),
    field("doc_row", pa.int64(), "the document's row; best first within a query"),
    field("score", pa.float32(), "its score in the file"),
)
INDEX = schema(
    field("kind", pa.string(), "flat, hnsw or ivf"),
    field("reason", pa.string(), "why this kind"),
    field("file", pa.string(), "the file in the same folder (ivf: NAME of NAME.*.npy); empty for exact search"),
    field("documents", pa.int64(), "number of vectors indexed"),
    field(
        "lists",
        pa.int64(),
        "ivf, and where it was tried and dropped: number of lists; else null, as all below",
        nullable=True,
    ),
    field("probe", pa.int64(), "lists looked at for a query", nullable=True),
    field(
        "share", pa.float64(), "share of the documents that these hold, mean over the sampled queries", nullable=True
    ),
    field(
        "recall",
        pa.float64(),
        "share of the exact result that these hold, mean over the same; null without any",
        nullable=True,
    ),
    field("recall_depth", pa.int64(), "best documents of a query that recall is about", nullable=True),
    field("recall_sample", pa.int64(), "queries that recall was measured on", nullable=True),
)
