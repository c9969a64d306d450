"""Exact scores of given (document, query) pairs: a pair has the same score in every batch, block and stage."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import indexed_dots, unit
from hnmine.arrays.ragged import Ragged
from hnmine.runtime.threads import in_threads
from hnmine.storage.vectors import Block, VectorStore

# Pairs that a thread scores at a time: with fewer, handing them out costs more than threads gain.
_PAIRS = 1 << 14


class VectorBlocks(Protocol):
    """Vectors of documents, read in blocks."""

    def blocks(self) -> Iterator[Block]:
        """Yield all vectors, block by block."""


def pair_scores(corpus: VectorBlocks, documents: np.ndarray, queries: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return the inner product of each document with its query, float32, shape (pairs,).

    `documents` are places in the corpus, in any order and with repeats, and `owners` the query of each (int64, shape
    (pairs,)). One block of the corpus is in memory at a time.
    """
    own = Ragged(np.arange(len(queries)), np.arange(len(queries) + 1))
    return _products(corpus, Ragged.from_lengths(documents, np.ones(len(documents))), queries, own, owners, False)


def pair_cosines(corpus: VectorBlocks, candidates: Ragged, others: Ragged, vectors: np.ndarray) -> Ragged:
    """Return the cosine of every candidate to every other vector of its query, candidate by candidate, float32.

    Candidates are places in the corpus, others positions in `vectors` (float32, shape (n, dim)). One block of the
    corpus is in memory at a time. A vector of length 0 has cosine 0 to everything.
    """
    found = _products(corpus, candidates, unit(vectors), others, candidates.owners, True)
    return Ragged.from_lengths(found, candidates.lengths * others.lengths)


def _products(
    corpus: VectorBlocks, documents: Ragged, vectors: np.ndarray, lists: Ragged, owners: np.ndarray, normalised: bool
) -> np.ndarray:
    """Return each document's inner product with each vector of its owner's list, document by document.

    `documents` hold places in the corpus, `lists` hold each owner's positions in `vectors`. `normalised` takes
    documents at length 1.
    """
    rows, widths = documents.values, lists.lengths[owners]
    starts = np.concatenate([[0], np.cumsum(widths)])
    out = np.empty(int(starts[-1]), dtype=np.float32)
    if not len(out):
        return out

    def by_place(which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        which = which[np.argsort(rows[which], kind="stable")]
        return which, rows[which]

    def fill(block: Block, share: tuple[np.ndarray, np.ndarray]) -> None:
        low, high = np.searchsorted(share[1], [block.first, block.first + len(block.vectors)])
        which, places = (values[low:high] for values in share)
        wide = widths[which]
        of = np.repeat(np.arange(len(which)), wide)
        others = lists.values[lists.places(owners[which])]
        into = np.arange(len(of)) + (starts[:-1][which] - (np.cumsum(wide) - wide))[of]
        found = indexed_dots(block.vectors, (places - block.first)[of], vectors, others)
        out[into] = found / block.norms[(places - block.first)[of]] if normalised else found

    cuts = np.flatnonzero(np.diff(np.cumsum(widths) // _PAIRS)) + 1
    shares = in_threads(by_place, np.split(np.arange(len(widths)), cuts))
    for block in corpus.blocks():
        in_threads(lambda share, block=block: fill(block, share), shares)  # type: ignore[misc]  # bound for this block
    return out


@dataclass(frozen=True)
class Guide:
    """The vectors of the guide, a second teacher whose scores are stored beside those of the first."""

    corpus: VectorStore
    queries: VectorStore

    @classmethod
    def open(cls, embed: Path, cache_bytes: int) -> "Guide":
        """Return the guide of an embed folder; up to `cache_bytes` of its document vectors stay in memory."""
        return cls(VectorStore(embed / "guide-corpus", cache_bytes), VectorStore(embed / "guide-queries"))

    def columns(self, queries: np.ndarray, candidates: Ragged, positives: Ragged) -> dict[str, pa.Array]:
        """Return the columns of the guide's scores, given its vectors of the queries (float32, (queries, dim))."""
        documents = np.concatenate([candidates.values, positives.values])
        scores = pair_scores(self.corpus, documents, queries, np.concatenate([candidates.owners, positives.owners]))
        split = len(candidates.values)
        return {
            "guide_scores": candidates.with_values(scores[:split]).to_arrow(pa.float32()),
            "guide_positive_scores": positives.with_values(scores[split:]).to_arrow(pa.float32()),
        }


def no_guide_columns(queries: int) -> dict[str, pa.Array]:
    """Return the guide's columns where there is no guide: an empty list for each query."""
    empty = Ragged(np.zeros(0, dtype=np.float32), np.zeros(queries + 1, dtype=np.int64)).to_arrow(pa.float32())
    return {"guide_scores": empty, "guide_positive_scores": empty}
