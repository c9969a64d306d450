"""The labels of all queries as lists of document rows."""

from collections.abc import Collection, Sequence
from itertools import chain

import numpy as np

from hnmine.arrays.groups import distinct_pairs
from hnmine.arrays.ragged import Ragged


def list_rows(lists: Sequence[Collection[int]]) -> Ragged:
    """Return lists of whole numbers, one a query, as int64."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    return Ragged.from_lengths(np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=lengths.sum()), lengths)


def sort_labels(labels: Sequence[dict[int, int]]) -> tuple[Ragged, np.ndarray]:
    """Return the documents of each query's {document: relevance}, ascending, and the relevance of each (int64)."""
    documents, levels = list_rows(labels), list_rows([own.values() for own in labels]).values
    order = np.lexsort((documents.values, documents.owners))
    return documents.with_values(documents.values[order]), levels[order]


def without(lists: Ragged, others: Ragged) -> Ragged:
    """Return each query's list without what is in its other list."""
    return lists.filter(~others.contains(lists.owners, lists.values))


def sibling_rows(keys: np.ndarray, lists: Ragged) -> Ragged:
    """Return what the lists of other queries with the same text key hold and a query's own does not, ascending.

    Args:
        keys: text key of each query, uint64.
        lists: documents of each query, none twice in a list.
    """
    _, text, counts = np.unique(keys, return_inverse=True, return_counts=True)
    several = counts[text] > 1
    own = lists.filter(several[lists.owners])
    first = distinct_pairs(text[own.owners], own.values)
    group, document = text[own.owners][first], own.values[first]
    order = np.lexsort((document, group))
    of_text = Ragged.from_lengths(document[order], np.bincount(group, minlength=len(counts)))
    return without(of_text.take(text), lists)
