"""Exact top-k: the k best (score, row) pairs of each query, whatever the order, blocks or shards they come in.

A score and a row are packed into one unsigned 64-bit key. Ascending keys are descending scores with ties by ascending
row, so merging is sorting, and the k smallest keys of a union do not depend on how it was split.
"""

import numpy as np

from hnmine.arrays.groups import ranges

NOTHING = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""Key of an empty place; it sorts behind every other."""
WAITING = 32
"""Hits per query that a `TopKBuffer` collects before it merges them; merging costs more than a tile's few hits."""

_SIGN = np.uint32(0x8000_0000)


def pack(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the keys of scores and rows: smaller is better, equal scores are ordered by row; uint64, same shape.

    Args:
        scores: float32, any shape; -0.0 counts as 0.0.
        rows: int64, same shape, in [0, 2^32 - 1).

    Raises:
        ValueError: a score is NaN, or a row is out of range.
    """
    scores = np.asarray(scores, dtype=np.float32) + np.float32(0)
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    if rows.size and (rows.min() < 0 or rows.max() >= 0xFFFF_FFFF):
        raise ValueError("a row is negative or does not fit into 32 bits")
    bits = scores.view(np.uint32)
    ascending = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (~ascending).astype(np.uint64) << np.uint64(32) | rows.astype(np.uint64)


def unpack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (scores float32, rows int64) of keys; callers mask `NOTHING` themselves."""
    ascending = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ascending & _SIGN, ascending & ~_SIGN, ~ascending).astype(np.uint32)
    return bits.view(np.float32), rows_of(keys)


def rows_of(keys: np.ndarray) -> np.ndarray:
    """Return the rows of keys, int64; callers mask `NOTHING` themselves."""
    return (keys & np.uint64(0xFFFF_FFFF)).astype(np.int64)


def last_score(best: np.ndarray) -> np.ndarray:
    """Return the score of the last, worst of each query's keys (uint64, shape (queries, k)); float32, -inf if empty."""
    scores, _ = unpack(best[:, -1])
    return np.where(best[:, -1] == NOTHING, np.float32(-np.inf), scores)


def keep_best(best: np.ndarray, keys: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Merge further keys into each query's k best, unordered except that the worst key of a row is last.

    Args:
        best: uint64, shape (queries, a), padded with `NOTHING`.
        keys: uint64, shape (n,): further keys.
        queries: int64, shape (n,), ascending: the query of each further key.
        k: keys to keep, in [1, a].
    """
    counts = np.bincount(queries, minlength=len(best))
    both = np.full((len(best), best.shape[1] + int(counts.max(initial=0))), NOTHING, dtype=np.uint64)
    both[:, : best.shape[1]] = best
    both[queries, ranges(np.full(len(best), best.shape[1]), counts)] = keys
    both.partition(k - 1, axis=1)
    return both[:, :k]


def merge(left: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """Return the k best of two sets of keys per query, best first; fewer columns where there are fewer.

    Both sets are uint64, shapes (queries, a) and (queries, b), padded with `NOTHING`.
    """
    both = np.concatenate([left, right], axis=1)
    if both.shape[1] > k:
        both = np.partition(both, k - 1, axis=1)[:, :k]
    both.sort(axis=1)
    return both


def within(keys: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Return whether each place holds a hit among the first `depths` of its query; bool, shape (queries, k).

    `keys` are uint64, shape (queries, k), best first, padded with `NOTHING`; `depths` are int64, shape (queries,).
    """
    return np.asarray((keys != NOTHING) & (np.arange(keys.shape[1]) < depths[:, None]))


class TopKBuffer:
    """The k best hits of each query while scores arrive tile by tile; new hits are merged in batches.

    Attributes:
        keys: uint64, shape (q, k): the best of the merged hits, the worst of each query last.
        threshold: float32, shape (q,): a score at or below it cannot be among a query's best.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self.keys, self.threshold = keys, last_score(keys)
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._count = 0

    def raise_threshold(self, scores: np.ndarray) -> None:
        """Raise the threshold to scores (float32, shape (q,)) that k documents still to be added exceed."""
        self.threshold = np.maximum(self.threshold, scores)

    def add(self, scores: np.ndarray, rows: np.ndarray, queries: np.ndarray) -> None:
        """Add hits: their scores (float32), document rows and queries (int64), each of shape (n,)."""
        if len(scores):
            self._waiting.append((scores, rows, queries))
            self._count += len(scores)
            if self._count > WAITING * len(self.keys):
                self.flush()

    def flush(self) -> None:
        """Merge the waiting hits."""
        if self._count:
            scores, rows, queries = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            order = np.argsort(queries, kind="stable")
            self.keys = keep_best(self.keys, pack(scores, rows)[order], queries[order], self.keys.shape[1])
            self.threshold, self._waiting, self._count = last_score(self.keys), [], 0
