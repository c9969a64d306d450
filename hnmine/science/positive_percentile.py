"""Percentile of a labelled positive's score among its query's candidates; low ones are suspected bad positives."""

import numpy as np

from hnmine.arrays.groups import SortedGroups


def positive_percentile(
    scores: np.ndarray, owners: np.ndarray, others: np.ndarray, other_owners: np.ndarray
) -> np.ndarray:
    """Return the share of its query's other candidates that each positive outscores; float32 in [0, 1], (positives,).

        |{d : s(q, d) < s+}| / |{d}|

    d are the candidates that are no labelled positives of q. Ties are not outscored; without other candidates it is 1.
    Only the order of the scores matters, so it means the same for every teacher. This project's definition.

    Args:
        scores: s+, float32, shape (positives,).
        owners: int64, shape (positives,): the query of each positive.
        others: s(q, d), float32, shape (candidates,), in any order.
        other_owners: int64, shape (candidates,): the query of each candidate.
    """
    queries = int(max(owners.max(initial=-1), other_owners.max(initial=-1))) + 1
    ordered = SortedGroups.of(others, other_owners, queries)
    number = ordered.counts[owners]
    share = np.divide(ordered.count_below(scores, owners), number, out=np.ones(len(scores)), where=number > 0)
    return np.asarray(share, dtype=np.float32)


def is_suspected(percentiles: np.ndarray, quantile: float) -> np.ndarray:
    """Return whether percentiles (float32, any shape) are below a quantile in [0, 1], bool; 0 suspects none."""
    return np.asarray(percentiles < np.float32(quantile))


def positive_weight(percentiles: np.ndarray, quantile: float) -> np.ndarray:
    """Return min(1, percentile / quantile), below 1 for suspected positives only; float32, same shape.

    The quantile is in [0, 1]; at 0 every weight is 1.
    """
    if np.float32(quantile) == 0:
        return np.ones(percentiles.shape, dtype=np.float32)
    return np.asarray(np.minimum(np.float32(1), percentiles / np.float32(quantile)), dtype=np.float32)
