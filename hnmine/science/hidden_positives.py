"""Measuring false negatives on hidden positives: which positive stays known, folds by query, and intervals."""

import numpy as np

from hnmine.science.sampling import random_order


def pick_known(query_rows: np.ndarray, positives: np.ndarray, hidings: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which positive stays known in each hiding of each query with two or more.

    Args:
        query_rows: int64, shape (queries,): rows of the queries, which with the seed decide.
        positives: int64, shape (queries,): number of positives of each.
        hidings: how often a query is used at most; never more often than it has positives.
        seed: any whole number.

    Returns:
        (query, known), int64: the query's position, and the position of its known positive. Without replacement,
        queries in order; a query with fewer than two positives does not occur.
    """
    usable = np.flatnonzero(positives > 1)
    owner = np.repeat(usable, positives[usable])
    starts = np.cumsum(positives[usable]) - positives[usable]
    place = np.arange(len(owner)) - np.repeat(starts, positives[usable])
    seeds = random_order(np.full(len(owner), seed, dtype=np.uint64), query_rows[owner])
    order = np.lexsort((random_order(seeds, place), owner))
    rank = np.arange(len(owner)) - np.repeat(starts, positives[usable])
    kept = np.sort(order[rank < hidings])
    return owner[kept], place[kept]


def fold_of(query_rows: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each query, in [0, folds), from its row and the seed alone."""
    numbers = random_order(np.full(len(query_rows), seed ^ 0x666F6C64, dtype=np.uint64), query_rows)
    return (numbers % np.uint64(folds)).astype(np.int64)


def wilson(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)  (Wilson, JASA 22, 1927).

    Args:
        hits: successes, 0 <= hits <= trials.
        trials: n; with 0 nothing is known and the interval is (0, 1).
        z: 1.96 for 95 %.
    """
    if trials == 0:
        return 0.0, 1.0
    p, w = hits / trials, z * z / trials
    centre, spread = p + w / 2, z * np.sqrt(p * (1 - p) / trials + w / (4 * trials))
    low, high = float((centre - spread) / (1 + w)), float((centre + spread) / (1 + w))
    # with no hit, or nothing else, one end is exact, which rounding would miss
    return (max(0.0, low) if hits else 0.0), (min(1.0, high) if hits < trials else 1.0)
