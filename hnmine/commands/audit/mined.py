"""A mined set as flat arrays: the rows of its files, and the training examples made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hnmine.arrays.groups import repeated
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import random_numbers
from hnmine.arrays.text_hashes import copy_key


@dataclass(frozen=True)
class Scored:
    """Documents of each row, with their scores in the file.

    Attributes:
        documents: int64, their numbers; one list per row.
        scores: float64, one per document; NaN where there is none.
        given: bool, one per document: whether the file has a score, which may itself be NaN.
        rows: int64, one per document: its row, counted over all files.
    """

    documents: Ragged
    scores: np.ndarray
    given: np.ndarray
    rows: np.ndarray

    def take(self, rows: np.ndarray) -> "Scored":
        """Return the lists of the given rows, in the given order."""
        at = self.documents.places(rows)
        return Scored(self.documents.take(rows), self.scores[at], self.given[at], self.rows[at])

    def merged(self, lengths: np.ndarray) -> "Scored":
        """Return consecutive lists joined: the first lengths[0] of them into one, and so on."""
        ends = np.concatenate([[0], np.cumsum(lengths)])
        return Scored(Ragged(self.documents.values, self.documents.offsets[ends]), self.scores, self.given, self.rows)


@dataclass(frozen=True)
class Mined:
    """Mined rows, or the examples made of them: each has an anchor, its positives and its negatives.

    Attributes:
        queries: distinct texts of anchors.
        documents: distinct texts of positives and negatives.
        anchors: int64, shape (rows,): the number of each row's query.
        positives, negatives: one list per row.
        first: int64, shape (rows,): the first row, counted over all files, of each example.
        files, lines: int64, shape (rows of all files,): the file of each row, and its line or row number there.
        sources: names of the files.
    """

    queries: list[str]
    documents: list[str]
    anchors: np.ndarray
    positives: Scored
    negatives: Scored
    first: np.ndarray
    files: np.ndarray
    lines: np.ndarray
    sources: list[str]

    def __len__(self) -> int:
        return len(self.anchors)

    @cached_property
    def keys(self) -> tuple[np.ndarray, np.ndarray]:
        """A number for each query and each document, int64 from 0, equal for copies."""
        queries, documents = self.keys_with()
        return queries, documents

    def keys_with(self, *others: np.ndarray) -> list[np.ndarray]:
        """Return a number for each query, each document, and each of other copy keys (uint64), as `keys` does."""
        parts = [*self.hashes, *others]
        numbers = np.unique(np.concatenate(parts), return_inverse=True)[1].astype(np.int64)
        return np.split(numbers, np.cumsum([len(part) for part in parts[:-1]]))

    @cached_property
    def hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """The copy key of each query and of each document, uint64."""
        return text_hashes(self.queries), text_hashes(self.documents)

    @cached_property
    def empty(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether each query and each document is empty, bool."""
        queries, documents = (np.array([not t for t in texts], dtype=bool) for texts in (self.queries, self.documents))
        return queries, documents

    @cached_property
    def asked(self) -> np.ndarray:
        """The query of each row as a number of `keys`, int64: the same for anchors that are copies."""
        return np.asarray(self.keys[0][self.anchors])


def text_hashes(texts: Sequence[str]) -> np.ndarray:
    """Return the copy key of each text, uint64."""
    return np.fromiter((copy_key(text) for text in texts), dtype=np.uint64, count=len(texts))


def duplicate_rows(rows: Mined) -> np.ndarray:
    """Return whether an earlier row has the same anchor, positives and negatives; bool, shape (rows,)."""
    total = random_numbers(rows.anchors.astype(np.uint64), np.full(len(rows), 1))
    for salt, side in ((2, rows.positives), (3, rows.negatives)):
        lists = side.documents
        bits = random_numbers(lists.values.astype(np.uint64), 4 * lists.positions + salt)
        summed = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(bits, dtype=np.uint64)])
        # unsigned sums wrap around, so the difference of two is exact
        total += random_numbers(summed[lists.offsets[1:]] - summed[lists.offsets[:-1]], np.full(len(rows), salt))
    return repeated(np.zeros(len(rows), dtype=np.int64), total)


def pick(rows: Mined, which: np.ndarray) -> Mined:
    """Return the given rows (int64) in the given order."""
    return _with_rows(rows, which, rows.positives.take(which), rows.negatives.take(which))


def _with_rows(rows: Mined, which: np.ndarray, positives: Scored, negatives: Scored) -> Mined:
    """Return the given rows with other lists; hashes of texts that are known already are kept."""
    anchors, first = rows.anchors[which], rows.first[which]
    out = replace(rows, anchors=anchors, positives=positives, negatives=negatives, first=first)
    out.__dict__.update({name: rows.__dict__[name] for name in ("hashes", "keys", "empty") if name in rows.__dict__})
    return out


def examples_of(rows: Mined, shape: str) -> Mined:
    """Return the examples of rows.

    Triplets with the same (anchor, positive) are one example, and so are labelled documents of one query (see
    `_pair_groups`). In every other shape each row is an example.
    """
    if shape in ("triplet", "triples", "ids"):
        lists = rows.positives.documents
        positive = np.full(len(rows), len(rows.documents), dtype=np.int64)  # where there is none
        single, several = lists.lengths == 1, np.flatnonzero(lists.lengths > 1)
        positive[single] = lists.values[lists.starts[single]]
        group = rows.anchors * (len(rows.documents) + 1) + positive
        group[several] = -1 - several  # a row with several positives is an example of its own
        return _joined(rows, group, keep_positives=False)
    if shape == "labeled-pair":
        return _joined(rows, _pair_groups(rows), keep_positives=True)
    return rows


def _pair_groups(rows: Mined) -> np.ndarray:
    """Return the example of each labelled document.

    Where the documents of every query are contiguous, a positive after a negative begins a new example. Otherwise all
    documents of a query are one example.
    """
    changed = np.concatenate([[True], rows.anchors[1:] != rows.anchors[:-1]])[: len(rows)]
    if int(changed.sum()) != len(np.unique(rows.anchors)):
        return rows.anchors
    positive = rows.positives.documents.lengths > 0
    again = np.concatenate([[False], positive[1:] & ~positive[:-1]])[: len(rows)]
    return np.cumsum(changed | again)


def _joined(rows: Mined, group: np.ndarray, keep_positives: bool) -> Mined:
    """Return the rows of each group joined into one, in the order of the groups' first rows."""
    _, first, inverse, counts = np.unique(group, return_index=True, return_inverse=True, return_counts=True)
    place = np.empty(len(first), dtype=np.int64)
    by_first = np.argsort(first, kind="stable")
    place[by_first] = np.arange(len(first))
    order = np.argsort(place[inverse], kind="stable")
    lengths, first = counts[by_first], first[by_first]
    negatives = rows.negatives.take(order).merged(lengths)
    positives = rows.positives.take(order).merged(lengths) if keep_positives else rows.positives.take(first)
    return _with_rows(rows, first, positives, negatives)


def contains_pairs(groups: np.ndarray, values: np.ndarray, of_groups: np.ndarray, of_values: np.ndarray) -> np.ndarray:
    """Return whether each (of_group, of_value) is among the (group, value) pairs, all integers >= 0; bool."""
    span = int(max(values.max(initial=0), of_values.max(initial=0))) + 1
    return np.isin(of_groups * span + of_values, groups * span + values)
