"""Mined sets as training files hold them, whoever wrote them, matched by text with a run's queries and documents."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.commands.audit.mined import examples_of
from hnmine.commands.audit.reader import mined_sources, read_rows, read_shapes
from hnmine.errors import InputError
from hnmine.students.task import Examples


class TextSet(NamedTuple):
    """The examples of training files, by copy keys of their texts (`hnmine.arrays.text_hashes.copy_key`).

    Attributes:
        queries: of each example, uint64, shape (n,).
        positives: uint64, shape (n,).
        negatives: uint64, n lists, each key at most once a list.
        texts: a text for each key of a document.
    """

    queries: np.ndarray
    positives: np.ndarray
    negatives: Ragged
    texts: dict[int, str]


def read_set(name: str) -> TextSet:
    """Return the examples of a run's output folder, or of training files in any shape that `hnmine audit` reads.

    An example with several positives counts once for each. Empty texts are left out.

    Raises:
        InputError: missing or damaged files, no known shape, ids instead of texts, values of the wrong kind, no rows.
    """
    sources = mined_sources([name], Path.cwd(), "probe")
    layouts, shape = read_shapes(sources, "probe")
    if shape.ids:
        raise InputError(
            f"{sources[0].name}: holds ids; probe needs texts: use rows of another emit.format, such as n-tuple"
        )
    mined = examples_of(read_rows(sources, layouts, shape), shape.name)
    query_keys, document_keys = mined.hashes
    no_query, no_document = mined.empty
    positives = mined.positives.documents
    real = ~no_document[positives.values] & ~no_query[mined.anchors[positives.owners]]
    rows, own = positives.owners[real], document_keys[positives.values[real]]
    if not len(rows):
        raise InputError(f"{name}: holds no query with a positive")
    negatives = mined.negatives.documents
    negatives = negatives.filter(~no_document[negatives.values]).take(rows)
    keys = document_keys[negatives.values]
    _, first = np.unique(np.stack([negatives.owners.astype(np.uint64), keys]), axis=1, return_index=True)
    once = np.zeros(len(keys), dtype=bool)
    once[first] = True
    texts = dict(zip(document_keys[::-1].tolist(), mined.documents[::-1], strict=True))  # of copies the first
    return TextSet(query_keys[mined.anchors[rows]], own, negatives.with_values(keys).filter(once), texts)


class Numbering:
    """Numbers of a task's queries and documents by their copy keys; unknown documents are added at the end.

    Args:
        queries: keys of the queries, uint64.
        documents: keys of the documents, uint64; of several with one key the first counts.

    Attributes:
        added: texts of the unknown documents, numbered from len(documents) on.
    """

    def __init__(self, queries: np.ndarray, documents: np.ndarray) -> None:
        self._queries, self._documents = _Places(queries), _Places(documents)
        self._count, self._new = len(documents), dict[int, int]()
        self.added: list[str] = []

    def examples(self, given: TextSet) -> tuple[Examples, int]:
        """Return the examples whose query is known, and how many others there are."""
        queries = self._queries.find(given.queries)
        known = queries >= 0
        negatives = given.negatives.rows(known)
        found = Examples(
            queries[known],
            self._numbers(given.positives[known], given),
            negatives.with_values(self._numbers(negatives.values, given)),
        )
        return found, int((~known).sum())

    def _numbers(self, keys: np.ndarray, given: TextSet) -> np.ndarray:
        found = self._documents.find(keys)
        for place in np.flatnonzero(found < 0).tolist():
            key = int(keys[place])
            if key not in self._new:
                self._new[key] = self._count + len(self.added)
                self.added.append(given.texts[key])
            found[place] = self._new[key]
        return found


class _Places:
    """The first place of each of some keys, uint64."""

    def __init__(self, keys: np.ndarray) -> None:
        self._keys, self._first = np.unique(keys, return_index=True)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the place of each key, int64, -1 where there is none."""
        if not len(self._keys):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._first[at], -1).astype(np.int64)
