"""The second teacher's scores of pairs that the first has found: exact, and in the memory of one block."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.ragged import Ragged
from hnmine.science.dots import pair_dots
from hnmine.vectors import VectorStore

PAIR_ROWS = 32_768


def pair_scores(corpus: VectorStore, documents: np.ndarray, queries: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return the inner product of each document with its query, float32, shape (pairs,); the corpus streams by.

    Args:
        corpus: vectors of all documents.
        documents: int64, shape (pairs,), rows of the corpus in any order; repeats are fine.
        queries: float32, shape (queries, dim).
        owners: int64, shape (pairs,), each document's query.
    """
    out = np.empty(len(documents), dtype=np.float32)
    order = np.argsort(documents, kind="stable")
    ordered = documents[order]
    for block in corpus.blocks():
        low, high = np.searchsorted(ordered, [block.first, block.first + len(block.vectors)])
        for start in range(int(low), int(high), PAIR_ROWS):
            pairs = order[start : min(start + PAIR_ROWS, int(high))]
            out[pairs] = pair_dots(block.vectors[documents[pairs] - block.first], queries[owners[pairs]])
    return out


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


def no_guide(queries: int) -> dict[str, pa.Array]:
    """Return the same columns where there is no guide: an empty list for each query."""
    empty = Ragged(np.zeros(0, dtype=np.float32), np.zeros(queries + 1, dtype=np.int64)).to_arrow(pa.float32())
    return {"guide_scores": empty, "guide_positive_scores": empty}
