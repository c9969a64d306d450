"""Exact scores of pairs of documents and other vectors: in the memory of one block, one score for a pair everywhere."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from hnmine.running.threads import in_threads
from hnmine.science.dots import pair_dots, unit
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
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]

    def fill(block: Block, which: np.ndarray) -> None:
        for piece in _pieces(which, widths):
            left = block.vectors[rows[piece] - block.first]
            left = unit(left) if at_unit else left
            mine = widths[piece]
            if (mine != 1).any():
                left = np.repeat(left, mine, axis=0)
            found = pair_dots(left, vectors[lists.values[lists.places(owners[piece])]])
            first = np.repeat(starts[piece] - (np.cumsum(mine) - mine), mine)
            out[first + np.arange(len(found))] = found

    for block in corpus.blocks():
        low, high = np.searchsorted(ordered, [block.first, block.first + len(block.vectors)])
        parts = [order[start : min(start + _SHARE, high)] for start in range(int(low), int(high), _SHARE)]
        in_threads(lambda part, block=block: fill(block, part), parts)  # type: ignore[misc]  # bound for this block
    return out


def _pieces(which: np.ndarray, widths: np.ndarray) -> Iterator[np.ndarray]:
    """Yield runs of documents that make about `PAIR_ROWS` pairs each."""
    if not len(which):
        return
    piece = np.cumsum(widths[which]) // PAIR_ROWS
    yield from np.split(which, np.flatnonzero(np.diff(piece)) + 1)
