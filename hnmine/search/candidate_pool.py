"""The candidates of several sources as one pool: each with its scores and ranks there, and those that may stay."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config import RetrieveConfig
from hnmine.science.fusion import Fuse, first_counted, reciprocal_ranks, within_depth
from hnmine.storage.schemas.retrieve import CANDIDATES


@dataclass(frozen=True)
class Hits:
    """What one source found: rows of documents for each query, best first, and their scores there."""

    rows: Ragged
    scores: np.ndarray


@dataclass(frozen=True)
class CandidatePool:
    """What several sources found together, query by query.

    Attributes:
        owners: int64, shape (n,), ascending: each candidate's query.
        rows: int64, shape (n,): its document; none twice for a query.
        scores: float32, shape (n, sources): its score in each source, NaN where that did not find it.
        ranks: int32, shape (n, sources): its rank there from 1, 0 where that did not find it.
    """

    owners: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray

    def take(self, places: np.ndarray) -> "CandidatePool":
        """Return some of the candidates, by position or by flag."""
        return CandidatePool(self.owners[places], self.rows[places], self.scores[places], self.ranks[places])

    def columns(self, queries: int) -> dict[str, pa.Array]:
        """Return the columns of scores and ranks: for each candidate a value for each source."""
        lengths = np.bincount(self.owners, minlength=queries) * self.ranks.shape[1]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        absent = (self.ranks == 0).ravel()
        return {
            "source_scores": _column("source_scores", offsets, pa.array(self.scores.ravel(), mask=absent)),
            "source_ranks": _column("source_ranks", offsets, pa.array(self.ranks.ravel(), mask=absent)),
        }


def no_source_columns(queries: int) -> dict[str, pa.Array]:
    """Return the same columns where the teacher alone finds candidates: an empty list for each query."""
    none = np.zeros((0, 0))
    owners = np.zeros(0, dtype=np.int64)
    return CandidatePool(owners, owners, none.astype(np.float32), none.astype(np.int32)).columns(queries)


def _column(name: str, offsets: np.ndarray, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=CANDIDATES.field(name).type)


def pool(found: Sequence[Hits]) -> CandidatePool:
    """Return the union of what the sources found, by query and document row."""
    owners = np.concatenate([hits.rows.owners for hits in found])
    rows = np.concatenate([hits.rows.values for hits in found])
    span = int(rows.max(initial=0)) + 1
    keys, inverse = np.unique(owners * span + rows, return_inverse=True)
    scores = np.full((len(keys), len(found)), np.nan, dtype=np.float32)
    ranks = np.zeros((len(keys), len(found)), dtype=np.int32)
    first = 0
    for source, hits in enumerate(found):
        own = inverse[first : first + len(hits.scores)]
        scores[own, source] = hits.scores
        ranks[own, source] = hits.rows.positions + 1
        first += len(own)
    return CandidatePool(keys // span, keys % span, scores, ranks)


@dataclass(frozen=True)
class CandidateLimits:
    """How far down a query's lists go.

    Attributes:
        top_k: candidates of the teacher alone, or of the fused list.
        fuse: how the lists of several sources become one.
        depths: how many candidates each source gives; empty for the teacher alone.
        scored: how many are rescored, the best by the teacher; None where all have a score.
    """

    top_k: int
    fuse: Fuse = "union"
    depths: tuple[int, ...] = ()
    scored: int | None = None

    @classmethod
    def of(cls, config: RetrieveConfig) -> "CandidateLimits":
        """Return the depth that a config asks for."""
        return cls(config.top_k, config.fuse, config.depths)

    def cut(self, found: CandidatePool, uncounted: np.ndarray) -> tuple[CandidatePool, np.ndarray]:
        """Return the candidates without the ranks and scores that lie below their source's depth, and which stay.

        Args:
            found: candidates of some queries.
            uncounted: bool, shape (n,): labelled positives, which take no place.

        Returns:
            (the same candidates, bool of shape (n,)).
        """
        inside = within_depth(found.ranks, found.owners, uncounted, np.array(self.depths))
        scores = np.where(inside, found.scores, np.float32(np.nan))
        left = CandidatePool(found.owners, found.rows, scores, np.where(inside, found.ranks, 0).astype(np.int32))
        stays = np.asarray(inside.any(axis=1))
        if self.fuse == "rrf":
            counted = stays & ~uncounted
            fused = reciprocal_ranks(left.ranks)
            # positives all stay: they take no place, and the depth of what lies below them counts from them
            stays &= first_counted(fused, found.rows, found.owners, counted, self.top_k) | uncounted
        return left, stays
