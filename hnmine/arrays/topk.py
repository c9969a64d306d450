"""Top-k that gives one answer whatever the order, the blocks and the shards: by score, ties by row.

A score and a row are packed into one unsigned 64-bit key whose ascending order is (score descending, row
ascending). Merging is then sorting, and the k smallest keys of a union are the same however it was split.
"""

import numpy as np

NOTHING = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""Key of an empty place: it sorts behind every real one."""

_SIGN = np.uint32(0x8000_0000)


def pack(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return keys: the smaller, the better; equal scores are ordered by row.

    Args:
        scores: float32, any shape, finite; -0.0 counts as 0.0.
        rows: int64, same shape, in [0, 2^32 - 1).

    Returns:
        uint64, same shape.

    Raises:
        ValueError: a score is NaN, or a row does not fit.
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
    """Return (scores float32, rows int64) of packed keys; `NOTHING` must be masked by the caller."""
    ascending = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ascending & _SIGN, ascending & ~_SIGN, ~ascending).astype(np.uint32)
    return bits.view(np.float32), rows_of(keys)


def rows_of(keys: np.ndarray) -> np.ndarray:
    """Return the rows of packed keys alone, int64; `NOTHING` must be masked by the caller."""
    return (keys & np.uint64(0xFFFF_FFFF)).astype(np.int64)


def last_score(best: np.ndarray) -> np.ndarray:
    """Return the score at the last place of each query's list, -inf where that place is empty.

    Args:
        best: uint64 keys, shape (queries, k); the worst of a query's keys stands last.

    Returns:
        float32, shape (queries,).
    """
    scores, _ = unpack(best[:, -1])
    return np.where(best[:, -1] == NOTHING, np.float32(-np.inf), scores)


def keep_best(best: np.ndarray, keys: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Return the k best of each query's list and some more keys, in no order but that the worst stands last.

    Args:
        best: uint64, shape (queries, a); places without a hit hold `NOTHING`.
        keys: uint64, shape (n,): further keys.
        queries: int64, shape (n,), ascending: the query of each.
        k: how many to keep, at least 1 and at most a.

    Returns:
        uint64, shape (queries, k).
    """
    counts = np.bincount(queries, minlength=len(best))
    both = np.full((len(best), best.shape[1] + int(counts.max(initial=0))), NOTHING, dtype=np.uint64)
    both[:, : best.shape[1]] = best
    both[queries, best.shape[1] + np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)] = keys
    both.partition(k - 1, axis=1)
    return both[:, :k]


def merge(left: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """Return the k best of two sets of keys for each query, best first.

    Args:
        left: uint64, shape (queries, a); places without a hit hold `NOTHING`.
        right: uint64, shape (queries, b).
        k: how many to keep; fewer columns come back where a + b < k.
    """
    both = np.concatenate([left, right], axis=1)
    if both.shape[1] > k:
        both = np.partition(both, k - 1, axis=1)[:, :k]
    both.sort(axis=1)
    return both


def within(keys: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Tell which places of each query's list hold a hit above its depth; bool, shape (queries, k).

    Args:
        keys: uint64, shape (queries, k), best first; `NOTHING` pads.
        depths: int64, shape (queries,): how many of each query's list count.
    """
    return np.asarray((keys != NOTHING) & (np.arange(keys.shape[1]) < depths[:, None]))
