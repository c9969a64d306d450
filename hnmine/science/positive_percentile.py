"""How a labelled positive stands among its query's candidates: one that few of them score below is suspected."""

import numpy as np

from hnmine.arrays.ordering import Ordered


def standing(scores: np.ndarray, owners: np.ndarray, others: np.ndarray, other_owners: np.ndarray) -> np.ndarray:
    """Return for each positive the share of its query's other candidates that it outscores.

    |{d : s(q, d) < s+}| / |{d}|, d the candidates that are no labelled positives of q: the empirical distribution of
    their scores, left of s+. A tie is not outscored. Only the order of scores matters, so it means the same for every
    teacher. This project's definition.

    Args:
        scores: float32, shape (positives,).
        owners: int64, shape (positives,): the query of each.
        others: float32, shape (candidates,), in any order: scores of candidates that are no positives.
        other_owners: int64, shape (candidates,): the query of each.

    Returns:
        float32 in [0, 1], shape (positives,); 1 where the query has no other candidate, since nothing speaks against
        the positive.
    """
    queries = int(max(owners.max(initial=-1), other_owners.max(initial=-1))) + 1
    ordered = Ordered.of(others, other_owners, queries)
    number = ordered.counts[owners]
    share = np.divide(ordered.below(scores, owners), number, out=np.ones(len(scores)), where=number > 0)
    return np.asarray(share, dtype=np.float32)


def suspected(standings: np.ndarray, quantile: float) -> np.ndarray:
    """Tell which positives stand below a quantile of their query's candidates: standing < quantile, in float32.

    Args:
        standings: float32, any shape.
        quantile: in [0, 1]; 0 suspects none, a higher one never fewer.

    Returns:
        bool, the same shape.
    """
    return np.asarray(standings < np.float32(quantile))


def positive_weight(standings: np.ndarray, quantile: float) -> np.ndarray:
    """Return min(1, standing / quantile): less than 1 for suspected positives and for no others.

    Args:
        standings: float32, any shape.
        quantile: in [0, 1]; under 0 every weight is 1.

    Returns:
        float32 in [0, 1], the same shape.
    """
    if np.float32(quantile) == 0:
        return np.ones(standings.shape, dtype=np.float32)
    return np.asarray(np.minimum(np.float32(1), standings / np.float32(quantile)), dtype=np.float32)
