"""The second teacher's scores of pairs that the first has found: exact, and in the memory of one block."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.search.pairs import pair_scores
from hnmine.storage.vectors import VectorStore


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
