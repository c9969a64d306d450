"""Candidate pool: the union of what several sources found, with scores and ranks by source, and its limits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged, list_offsets
from hnmine.config.retrieve import RetrieveConfig
from hnmine.science.fusion import Fuse, first_counted, reciprocal_ranks, within_depth
from hnmine.storage.schemas.retrieve import CANDIDATES


@dataclass(frozen=True)
class Hits:
    """Hits of one source: rows of documents for each query, best first, and the source's score of each (float32)."""

    rows: Ragged
    scores: np.ndarray


@dataclass(frozen=True)
class CandidatePool:
    """The candidates that several sources found together, query by query.

    Attributes:
        owners: int64, shape (n,), ascending: each candidate's query.
        rows: int64, shape (n,): its document; none twice for a query.
        scores: float32, shape (n, sources): its score by each source, NaN where that did not find it.
        ranks: int32, shape (n, sources): its rank by each source from 1, 0 where that did not find it.
    """

    owners: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray

    def take(self, places: np.ndarray) -> "CandidatePool":
        """Return some of the candidates, by position or by flag."""
        return CandidatePool(self.owners[places], self.rows[places], self.scores[places], self.ranks[places])

    def columns(self, queries: int) -> dict[str, pa.Array]:
        """Return the columns of scores and ranks: for each candidate a value a source, or null."""
        lengths = np.bincount(self.owners, minlength=queries) * self.ranks.shape[1]
        offsets = list_offsets(np.concatenate([[0], np.cumsum(lengths)]))
        absent = (self.ranks == 0).ravel()
        values = {"source_scores": self.scores, "source_ranks": self.ranks}
        lists = {name: pa.array(own.ravel(), mask=absent) for name, own in values.items()}
        kinds = {name: CANDIDATES.field(name).type for name in lists}
        return {name: pa.ListArray.from_arrays(offsets, own, type=kinds[name]) for name, own in lists.items()}


def no_source_columns(queries: int) -> dict[str, pa.Array]:
    """Return these columns for a run without sources: an empty list for each query."""
    none, no_table = np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.int32)
    return CandidatePool(none, none, no_table.astype(np.float32), no_table).columns(queries)


def pool(found: Sequence[Hits]) -> CandidatePool:
    """Return the union of the sources' hits, ordered by query and document row."""
    owners = np.concatenate([hits.rows.owners for hits in found])
    rows = np.concatenate([hits.rows.values for hits in found])
    span = int(rows.max(initial=0)) + 1
    keys, inverse = np.unique(owners * span + rows, return_inverse=True)
    scores = np.full((len(keys), len(found)), np.nan, dtype=np.float32)
    ranks = np.zeros((len(keys), len(found)), dtype=np.int32)
    first = 0
    for source, hits in enumerate(found):
        own = inverse[first : first + len(hits.scores)]
        scores[own, source], ranks[own, source] = hits.scores, hits.rows.positions + 1
        first += len(own)
    return CandidatePool(keys // span, keys % span, scores, ranks)


@dataclass(frozen=True)
class CandidateLimits:
    """How many candidates a query keeps.

    Attributes:
        top_k: candidates of the teacher alone, or of the fused list.
        depths: candidates of each source; empty where there are no sources.
        scored: candidates that are rescored, the best by the teacher; None where all have a score.
    """

    top_k: int
    fuse: Fuse = "union"
    depths: tuple[int, ...] = ()
    scored: int | None = None

    @classmethod
    def of(cls, config: RetrieveConfig) -> "CandidateLimits":
        """Return the limits of a config."""
        return cls(config.top_k, config.fuse, config.depths)

    def cut(self, found: CandidatePool, uncounted: np.ndarray) -> tuple[CandidatePool, np.ndarray]:
        """Return a pool without ranks and scores below their source's depth, and which candidates stay (bool, (n,)).

        Labelled positives (`uncounted`, bool, shape (n,)) are not counted.
        """
        inside = within_depth(found.ranks, found.owners, uncounted, np.array(self.depths))
        scores = np.where(inside, found.scores, np.float32(np.nan))
        left = CandidatePool(found.owners, found.rows, scores, np.where(inside, found.ranks, 0).astype(np.int32))
        stays = np.asarray(inside.any(axis=1))
        if self.fuse == "rrf":
            counted = stays & ~uncounted
            fused = reciprocal_ranks(left.ranks)
            # all positives stay: they are not counted, and the depth of what ranks below them is measured from them
            stays &= first_counted(fused, found.rows, found.owners, counted, self.top_k) | uncounted
        return left, stays
