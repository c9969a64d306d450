"""Search of the documents in each query's nearest lists only, for batches of queries: one matrix product a list.

The lists are those of an inverted file (Sivic and Zisserman 2003; Jegou et al. 2011, as faiss' IVF has them): each
document lies in the list of the centroid that it is nearest to, and a query looks at some lists with the nearest
centroids. One query after another multiplies a vector with small matrices; here the queries of a batch are grouped by
list instead, so that each list is multiplied once with all queries that look at it.

Which lists a query looks at goes by exact pair scores, and so does which of their documents are best: what is found
depends on no other query, no batch and no thread, and with all lists looked at it is what exact search finds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from hnmine.arrays.dots import error_bound, indexed_dots, longest
from hnmine.arrays.topk import NOTHING, keep_best, pack, rows_of
from hnmine.arrays.topk_buffer import Best
from hnmine.runtime.threads import in_threads
from hnmine.search.exact import Proposer, named, shares

# A list is multiplied this many documents at a time.
PIECE_ROWS = 1024


@dataclass(frozen=True)
class Lists:
    """The documents of a corpus in lists.

    Attributes:
        centroids: float32, shape (lists, dim).
        starts: int64, shape (lists + 1,): list i holds the documents `starts[i]` to `starts[i + 1]` - 1.
        places: int64, shape (n,): list by list, the place of each document in the corpus.
        vectors: float32 or float16, shape (n, dim): theirs, in the same order; may lie on disk.
        longest: the length of the longest of them.
    """

    centroids: np.ndarray
    starts: np.ndarray
    places: np.ndarray
    vectors: np.ndarray
    longest: float

    @property
    def count(self) -> int:
        """Return how many lists there are."""
        return len(self.centroids)

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Return each query's nearest lists by exact inner product with the centroid, ties by list.

        A matrix product tells most of them apart; exact scores do where its rounding might change which lists they are.

        Returns:
            int64, shape (q, min(count, lists)), none twice for a query, about nearest first.
        """
        count = min(count, self.count)
        scores = queries @ self.centroids.T
        last = np.partition(scores, self.count - count, axis=1)[:, self.count - count, None]
        room = np.float32(2 * error_bound(queries.shape[1], longest(queries), longest(self.centroids)))
        query, number = np.nonzero(scores >= last - room)
        found = scores[query, number]
        unsure = np.flatnonzero(found <= (last + room)[query, 0])
        found[unsure] = indexed_dots(self.centroids, number[unsure], queries, query[unsure])
        nothing = np.full((len(queries), count), NOTHING, dtype=np.uint64)
        return rows_of(np.sort(keep_best(nothing, pack(found, number), query, count), axis=1))


class ListProposer(Proposer):
    """Proposes the best documents of each query's nearest lists; what lies in others stays missed.

    Args:
        lists: of all documents of the corpus.
        probe: how many lists a query looks at.
    """

    def __init__(self, lists: Lists, probe: int) -> None:
        self.lists, self.probe = lists, probe

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best of the lists that each query looks at, and the score of the last with room for rounding."""
        parts = [queries[part] for part in shares(len(queries))]
        with threadpool_limits(1):  # a thread for each part is faster than one product in several threads
            found = in_threads(lambda part: best_in(self.lists, part, self.lists.nearest(part, self.probe), k), parts)
        rows, bound = named(np.concatenate(found), queries, self.lists.longest)
        return np.where(rows < 0, -1, self.lists.places[rows]), bound


def best_in(lists: Lists, queries: np.ndarray, looked_at: np.ndarray, k: int) -> np.ndarray:
    """Return the k best documents of some lists for each query, by the matrix product's scores.

    Args:
        lists: of the corpus.
        queries: float32, shape (q, dim).
        looked_at: int64, shape (q, p), nearest first: no list twice for a query.
        k: how many.

    Returns:
        uint64 keys, shape (q, k), the worst of a query's last; their rows count documents list by list.
    """
    best = Best(np.full((len(queries), k), NOTHING, dtype=np.uint64))
    memory = _Memory(len(queries), queries.shape[1])
    # the nearest lists first: the scores to beat are then high, and few of the others' have to be looked at
    near = int(np.searchsorted(np.cumsum(np.diff(lists.starts)[looked_at].mean(axis=0)), 2 * k)) + 1
    for some in (looked_at[:, :near], looked_at[:, near:]):
        for number, own in grouped(some):
            asked = np.take(queries, own, axis=0, out=memory.queries[: len(own)], mode="clip")
            last = int(lists.starts[number + 1])
            for first in range(int(lists.starts[number]), last, PIECE_ROWS):
                piece = slice(first, min(first + PIECE_ROWS, last))
                vectors = np.asarray(lists.vectors[piece], dtype=np.float32)
                scores = np.matmul(asked, vectors.T, out=memory.scores(len(own), len(vectors)))
                hits = memory.above(scores, best.last[own])
                query, column = np.divmod(hits, len(vectors))
                best.see(scores.ravel()[hits], first + column, own[query])
        best.merge()
    return best.keys


def grouped(looked_at: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each list that any query looks at, ascending, with the queries that do, ascending.

    Args:
        looked_at: int64, shape (q, p).
    """
    if not looked_at.size:
        return
    flat = looked_at.ravel()
    order = np.argsort(flat, kind="stable")
    numbers, starts = np.unique(flat[order], return_index=True)
    for number, queries in zip(numbers, np.split(order // looked_at.shape[1], starts[1:]), strict=True):
        yield int(number), queries


class _Memory:
    """Arrays that serve again for every list: fresh pages would cost more than the small products themselves."""

    def __init__(self, queries: int, dim: int) -> None:
        self.queries = np.empty((queries, dim), dtype=np.float32)
        self._scores = np.empty(queries * PIECE_ROWS, dtype=np.float32)
        self._above = np.empty(len(self._scores), dtype=bool)

    def scores(self, rows: int, columns: int) -> np.ndarray:
        """Return an array of scores, of any content."""
        return self._scores[: rows * columns].reshape(rows, columns)

    def above(self, scores: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """Return where scores (of `scores`) are above their row's limit, as flat positions."""
        out = self._above[: scores.size].reshape(scores.shape)
        return np.flatnonzero(np.greater(scores, limits[:, None], out=out))
