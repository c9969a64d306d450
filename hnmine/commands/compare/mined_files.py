"""Mined files of any tool as sets to compare."""

from pathlib import Path

import numpy as np

from hnmine.arrays.groups import distinct_pairs
from hnmine.commands.audit.mined import Mined
from hnmine.commands.audit.reading import Reader, mined_sources, read_shapes
from hnmine.commands.compare.mined_set import MinedSet
from hnmine.errors import InputError, Problems


def read_file(name: str) -> MinedSet:
    """Return the mined set of a file, folder, glob or URL, in any shape that `hnmine audit` reads.

    Raises:
        InputError: missing, of no known shape, damaged, of ids alone, or with something else than texts where texts
            are expected; all of it is named.
    """
    sources = mined_sources([name], Path.cwd(), "compare")
    layouts, shape = read_shapes(sources, "compare")
    if shape.ids:
        raise InputError(f"{sources[0].name}: holds ids; compare needs texts")
    problems = Problems()
    reader = Reader(shape, problems)
    for source, layout in zip(sources, layouts, strict=True):
        reader.read(source, layout)
    problems.raise_if_any()
    rows = reader.done()
    if not len(rows):
        raise InputError(f"{name}: holds no rows")
    return _as_set(name, rows)


def _as_set(name: str, rows: Mined) -> MinedSet:
    """Return rows as queries, in the order in which they come, with each negative once a query."""
    (query_keys, query_of), (doc_keys, doc_of) = (_first_of_each(keys) for keys in rows.hashes)
    no_query, no_document = rows.empty
    query = query_of[rows.anchors]
    negatives, positives = rows.negatives.documents, rows.positives.documents
    real = ~no_document[negatives.values] & ~no_query[rows.anchors[negatives.owners]]
    owners, documents = query[negatives.owners[real]], negatives.values[real]
    once = distinct_pairs(owners, doc_of[documents])
    owners, documents = owners[once], documents[once]
    scores = np.where(np.isfinite(rows.negatives.scores), rows.negatives.scores, np.nan)[real][once]
    right = ~no_document[positives.values]
    examples = np.unique(query[positives.owners[right]] * len(doc_keys) + doc_of[positives.values[right]])
    text_of = np.full(len(query_keys), -1)
    text_of[query_of[::-1]] = np.arange(len(query_of))[::-1]
    return MinedSet(
        name,
        query_keys,
        owners,
        doc_keys[doc_of[documents]],
        scores,
        np.full(len(once), np.nan),
        len(examples),
        lambda at: [rows.queries[i] for i in text_of[at].tolist()],
        lambda at: [rows.documents[i] for i in documents[at].tolist()],
    )


def _first_of_each(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct keys in the order in which they come, and the place of each key among them."""
    distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return distinct[order], place[inverse]
