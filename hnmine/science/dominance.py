"""Which of two paired numbers is larger, and how often: what tells negatives from positives by one feature."""

import numpy as np


def dominance(first: np.ndarray, second: np.ndarray) -> float:
    """Return d = P(x > y) - P(x < y) over pairs (Cliff 1993, the within-pair dominance statistic).

    0: neither side is larger on the whole; 1: x always is; -1: y always is. Any scale that keeps order gives the same.

    Args:
        first: x, shape (n,).
        second: y, shape (n,).

    Returns:
        In [-1, 1]; 0 without pairs. Pairs with a NaN count as ties.
    """
    if not len(first):
        return 0.0
    return float((first > second).mean() - (first < second).mean())
