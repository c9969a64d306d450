"""Exact top-k: the k best (score, row) pairs of each query, whatever the order, blocks or shards they come in.

A score and a row are packed into one unsigned 64-bit key. Ascending keys are descending scores with ties by ascending
row, so merging is sorting, and the k smallest keys of a union do not depend on how it was split.
"""

import numpy as np

from hnmine.arrays.groups import ranges
from hnmine.arrays.ragged import Ragged

NOTHING = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""Key of an empty place; it sorts behind every other."""
_SIGN = np.uint32(0x8000_0000)

Bounds = tuple[np.ndarray, ...]
"""Documents of some queries: lower and upper bounds of their scores (float32), their rows and their queries (int64)."""


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
    return _descending(scores).astype(np.uint64) << np.uint64(32) | rows.astype(np.uint64)


def _descending(scores: np.ndarray) -> np.ndarray:
    """Return numbers that are smaller the higher a score is; uint32, the shape of the scores (float32, no NaN)."""
    bits = scores.view(np.uint32)
    return np.asarray(~np.where(bits & _SIGN, ~bits, bits | _SIGN))


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


class BestBounds:
    """The documents that may be among each query's k best, while lower and upper bounds of their scores arrive.

    A document whose upper bound is below the k-th highest lower bound of its query is dropped. All others stay, ties
    among them, so the k best by exact score are among them.

    Attributes:
        k: documents wanted, at least 1.
        least: float32, shape (queries,): a document whose upper bound is at or below it cannot be among the k best.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.k, self.least = k, np.full(queries, -np.inf, dtype=np.float32)
        numbers, places = np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)
        self._held: Bounds = (numbers, numbers, places, places)
        self._waiting = list[Bounds]()
        self._count = 0

    def raise_least(self, lower: np.ndarray, queries: np.ndarray) -> None:
        """Take into account that the lower bounds of at least k documents of some queries reach `lower`, float32."""
        self.least[queries] = np.maximum(self.least[queries], np.nextafter(lower, np.float32(-np.inf)))

    def add(self, lower: np.ndarray, upper: np.ndarray, rows: np.ndarray, queries: np.ndarray) -> None:
        """Add documents that were not added before.

        Args:
            lower: bounds of their scores, float32, shape (n,).
            upper: the same.
            rows: int64, shape (n,).
            queries: int64, shape (n,), in any order.
        """
        if len(rows):
            self._waiting.append((lower, upper, rows, queries))
            self._count += len(rows)
            # with half as many new ones as old ones, sorting them again and again costs little in all
            if self._count > len(self._held[0]) // 2 + self.k * len(self.least) // 4:
                self.settle()

    def settle(self) -> None:
        """Drop what cannot be among the k best, given all that was added."""
        if not self._count:
            return
        lower, upper, rows, queries = _joined(self._held, *self._waiting)
        self._waiting, self._count = [], 0
        keys = np.sort(queries.astype(np.uint64) << np.uint64(32) | _descending(lower))
        ends = np.searchsorted(keys, np.arange(1, len(self.least) + 1, dtype=np.uint64) << np.uint64(32))
        place = np.diff(ends, prepend=0)
        full = np.flatnonzero(place >= self.k)
        self.raise_least(unpack(keys[ends[full] - place[full] + self.k - 1] << np.uint64(32))[0], full)
        stays = np.flatnonzero(upper > self.least[queries])
        self._held = (lower[stays], upper[stays], rows[stays], queries[stays])

    def snapshot(self) -> Bounds:
        """Return what may be among the best by now, for `restore`."""
        self.settle()
        return self._held

    def restore(self, before: Bounds, queries: np.ndarray) -> None:
        """Forget the documents of some queries (int64) that were added after a snapshot, which must be settled."""
        some = np.zeros(len(self.least), dtype=bool)
        some[queries] = True
        kept, again = ~some[self._held[3]], some[before[3]]
        self._held = _joined(tuple(values[kept] for values in self._held), tuple(values[again] for values in before))

    def crowded(self, times: int) -> bool:
        """Return whether more than half of the queries held more than `times` times k documents when last settled."""
        most = times * self.k
        return len(self._held[0]) > most * len(self.least) // 2 and bool(np.median(self._counts) > most)

    @property
    def _counts(self) -> np.ndarray:
        return np.bincount(self._held[3], minlength=len(self.least))

    def rows(self) -> Ragged:
        """Return the rows of the documents that may be among each query's k best, in any order."""
        self.settle()
        _, _, rows, queries = self._held
        order = np.argsort(queries, kind="stable")
        return Ragged.from_lengths(rows[order], self._counts)


def _joined(*parts: Bounds) -> Bounds:
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))
