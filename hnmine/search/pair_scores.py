"""Exact scores of pairs of documents and other vectors: in the memory of one block, one score for a pair everywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import indexed_cosines, indexed_dots, unit
from hnmine.arrays.ragged import Ragged
from hnmine.runtime.threads import in_threads
from hnmine.storage.vectors import Block, VectorStore

# A thread takes this many pairs at once: fewer cost more in handing out than they gain.
_SHARE = 1 << 14


class VectorBlocks(Protocol):
    """Vectors of documents that stream by in blocks."""

    def blocks(self) -> Iterator[Block]:
        """Yield them all, block by block."""
        ...


def pair_scores(corpus: VectorBlocks, documents: np.ndarray, queries: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return the inner product of each document with its query, float32, shape (pairs,); the corpus streams by.

    Args:
        corpus: vectors of documents.
        documents: int64, shape (pairs,), their places in the corpus in any order; repeats are fine.
        queries: float32, shape (queries, dim).
        owners: int64, shape (pairs,), each document's query.
    """
    alone = Ragged(np.arange(len(queries)), np.arange(len(queries) + 1))
    return _products(corpus, Ragged.from_lengths(documents, np.ones(len(documents))), (queries, alone, owners), False)


def pair_cosines(corpus: VectorBlocks, candidates: Ragged, others: Ragged, vectors: np.ndarray) -> Ragged:
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
    corpus: VectorBlocks, documents: Ragged, right: tuple[np.ndarray, Ragged, np.ndarray], at_unit: bool
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
    multiply = indexed_cosines if at_unit else indexed_dots

    def sort(which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        which = which[np.argsort(rows[which], kind="stable")]
        return which, rows[which]

    def fill(block: Block, share: tuple[np.ndarray, np.ndarray]) -> None:
        low, high = np.searchsorted(share[1], [block.first, block.first + len(block.vectors)])
        which, places = (values[low:high] for values in share)
        wide = widths[which]
        of = np.repeat(np.arange(len(which)), wide)
        others = lists.values[lists.places(owners[which])]
        into = np.arange(len(of)) + (starts[:-1][which] - (np.cumsum(wide) - wide))[of]
        out[into] = multiply(block.vectors, (places - block.first)[of], vectors, others)

    shares = in_threads(sort, _shares(widths))
    for block in corpus.blocks():
        in_threads(lambda share, block=block: fill(block, share), shares)  # type: ignore[misc]  # bound for this block
    return out


def _shares(widths: np.ndarray) -> list[np.ndarray]:
    """Return runs of documents that make about `_SHARE` pairs each, given how many each makes."""
    if not len(widths):
        return []
    share = np.cumsum(widths) // _SHARE
    return np.split(np.arange(len(widths)), np.flatnonzero(np.diff(share)) + 1)


@dataclass(frozen=True)
class Guide:
    """The guide's vectors of both sides.

    Attributes:
        corpus: of the documents.
        queries: of the queries.
    """

    corpus: VectorStore
    queries: VectorStore

    @classmethod
    def open(cls, embed: Path, cache_bytes: int) -> "Guide":
        """Return the guide whose vectors lie in an embed folder; `cache_bytes` of them may stay in memory."""
        return cls(VectorStore(embed / "guide-corpus", cache_bytes), VectorStore(embed / "guide-queries"))

    def columns(self, queries: np.ndarray, candidates: Ragged, positives: Ragged) -> dict[str, pa.Array]:
        """Return the columns of the guide's scores, for queries with these vectors of the guide's."""
        documents = np.concatenate([candidates.values, positives.values])
        scores = pair_scores(self.corpus, documents, queries, np.concatenate([candidates.owners, positives.owners]))
        split = len(candidates.values)
        return {
            "guide_scores": candidates.with_values(scores[:split]).to_arrow(pa.float32()),
            "guide_positive_scores": positives.with_values(scores[split:]).to_arrow(pa.float32()),
        }


def no_guide_columns(queries: int) -> dict[str, pa.Array]:
    """Return the same columns where there is no guide: an empty list for each query."""
    empty = Ragged(np.zeros(0, dtype=np.float32), np.zeros(queries + 1, dtype=np.int64)).to_arrow(pa.float32())
    return {"guide_scores": empty, "guide_positive_scores": empty}
