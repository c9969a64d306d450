"""Tables of the stage index."""

import pyarrow as pa

from hnmine.storage.schemas.base import field

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
_TEXTS: dict[str, tuple[pa.DataType, str]] = {
    "kind": (pa.string(), "flat, hnsw or ivf"),
    "reason": (pa.string(), "why this kind"),
    "file": (pa.string(), "the file in the same folder (ivf: NAME of NAME.*.npy); empty for exact search"),
    "documents": (pa.int64(), "number of vectors indexed"),
    "lists": (pa.int64(), "ivf, and where it was tried and dropped: number of lists; else null, as all below"),
    "probe": (pa.int64(), "lists looked at for a query"),
    "share": (pa.float64(), "share of the documents that these hold, mean over the sampled queries"),
    "recall": (pa.float64(), "share of the exact result that these hold, mean over the same; null without any"),
    "recall_depth": (pa.int64(), "best documents of a query that recall is about"),
    "recall_sample": (pa.int64(), "queries that recall was measured on"),
}
INDEX = pa.schema(
    [
        pa.field(name, kind, nullable=place >= 4, metadata={"description": text})
        for place, (name, (kind, text)) in enumerate(_TEXTS.items())
    ]
)
