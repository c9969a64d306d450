"""The distinct (query, document) pairs of a set's negatives, and a name for the set that they make."""

import hashlib

import numpy as np
import pyarrow as pa

from hnmine.arrays.groups import distinct_pairs
from hnmine.arrays.ragged import Ragged
from hnmine.runtime.stage import RunContext
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards

_AT_ONCE = 1 << 16


def negative_pairs(chosen: pa.Table, *, retrieved: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the query rows and document rows of the distinct pairs among the chosen negatives, int64, ascending.

    Args:
        chosen: the table of `emit/chosen`.
        retrieved: leave out negatives that are no candidates of their query, such as random documents.
    """
    rows = Ragged.from_arrow(chosen.column("doc_rows"))
    query, document = chosen.column("query_row").to_numpy()[rows.owners], rows.values
    if retrieved:
        candidates = Ragged.from_arrow(chosen.column("positions")).values >= 0
        query, document = query[candidates], document[candidates]
    order = np.lexsort((document, query))
    query, document = query[order], document[order]
    once = distinct_pairs(query, document)
    return query[once], document[once]


def set_name(context: RunContext, query: np.ndarray, document: np.ndarray) -> str:
    """Return a name of a set of pairs, 16 hexadecimal digits: the same for the same ids, whatever led to them."""
    ingest = context.reading("ingest")
    queries, corpus = Shards(ingest / "queries", QUERIES), Shards(ingest / "corpus", CORPUS)
    digest = hashlib.blake2b(digest_size=8)
    for first in range(0, len(query), _AT_ONCE):
        own = slice(first, first + _AT_ONCE)
        names = zip(
            queries.take(query[own], ["query_id"]).column(0).to_pylist(),
            corpus.take(document[own], ["doc_id"]).column(0).to_pylist(),
            strict=True,
        )
        digest.update("".join(f"{q}\0{d}\0" for q, d in names).encode())
    return digest.hexdigest()
