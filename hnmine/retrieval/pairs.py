"""Exact scores of pairs of documents and other vectors: in the memory of one block, one score for a pair everywhere."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from hnmine.running.threads import in_threads
from hnmine.science.dots import lengths, pair_dots, unit
from hnmine.storage.ragged import Ragged
from hnmine.storage.vectors import Block

# Pairs are multiplied this many at a time: both sides then stay in a core's cache.
PAIR_ROWS = 512
# A thread takes this many pairs at once: fewer cost more in handing out than they gain.
_SHARE = 32 * PAIR_ROWS


class Corpus(Protocol):
    """Vectors of documents that stream by in blocks."""

    def blocks(self) -> Iterator[Block]:
        """Yield them all, block by block."""
        ...


def pair_scores(corpus: Corpus, documents: np.ndarray, queries: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return the inner product of each document with its query, float32, shape (pairs,); the corpus streams by.

    Args:
        corpus: vectors of documents.
        documents: int64, shape (pairs,), their places in the corpus in any order; repeats are fine.
        queries: float32, shape (queries, dim).
        owners: int64, shape (pairs,), each document's query.
    """
    alone = Ragged(np.arange(len(queries)), np.arange(len(queries) + 1))
    return _products(corpus, Ragged.from_lengths(documents, np.ones(len(documents))), (queries, alone, owners), False)


def pair_cosines(corpus: Corpus, candidates: Ragged, others: Ragged, vectors: np.ndarray) -> Ragged:
    """Return the cosine of every candidate to every other of its query, candidate by candidate, float32.

    Args:
        corpus: vectors of documents.
        candidates: places in the corpus of each query's candidates.
        others: for each query, positions in `vectors`.
        vectors: float32, shape (n, dim); one of length 0 has cosine 0 to everything.
    """
    found = _products(corpus, candidates, (unit(vectors), others, candidates.owners), True)
    return Ragged.from_lengths(found, candidates.lengths * others.lengths)


def _products(
    corpus: Corpus, documents: Ragged, right: tuple[np.ndarray, Ragged, np.ndarray], at_unit: bool
) -> np.ndarray:
    """Return each document's inner product with each vector of its owner's list, document by document.

    Args:
        corpus: vectors of documents.
        documents: their values are places in the corpus.
        right: (vectors, for each owner positions in them, the owner of each document).
        at_unit: whether documents count at length 1.
    """
    rows, (vectors, lists, owners) = documents.values, right
    widths = lists.lengths[owners]
    starts = np.concatenate([[0], np.cumsum(widths)])
    out = np.empty(int(starts[-1]), dtype=np.float32)
    order = np.argsort(rows)
    ordered = rows[order]

    def fill(block: Block, which: np.ndarray) -> None:
        places, wide = rows[which] - block.first, widths[which]
        of = np.repeat(np.arange(len(which)), wide)
        others = lists.values[lists.places(owners[which])]
        into = np.arange(len(of)) + (starts[:-1][which] - (np.cumsum(wide) - wide))[of]
        long = _lengths(block.vectors, places) if at_unit else None
        for first in range(0, len(of), PAIR_ROWS):
            piece = slice(first, first + PAIR_ROWS)
            left = block.vectors[places[of[piece]]]
            if long is not None:
                left /= long[of[piece], None]
            out[into[piece]] = pair_dots(left, vectors[others[piece]])

    for block in corpus.blocks():
        low, high = np.searchsorted(ordered, [block.first, block.first + len(block.vectors)])
        parts = _shares(order[low:high], widths)
        in_threads(lambda part, block=block: fill(block, part), parts)  # type: ignore[misc]  # bound for this block
    return out


def _lengths(vectors: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the length of the vectors at some places, 1 for one of length 0; a piece at a time."""
    found = [lengths(vectors[places[first : first + PAIR_ROWS]]) for first in range(0, len(places), PAIR_ROWS)]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)


def _shares(which: np.ndarray, widths: np.ndarray) -> list[np.ndarray]:
    """Return runs of documents that make about `_SHARE` pairs each."""
    if not len(which):
        return []
    share = np.cumsum(widths[which]) // _SHARE
    return np.split(which, np.flatnonzero(np.diff(share)) + 1)
