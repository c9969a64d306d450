"""Percentiles of scores: of a positive among its query's candidates, and of any score among all positives."""

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


def ecdf(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return F(s), the share of the reference below each score, equal ones counted half; float64 in [0, 1], shape (n,).

    The mid-distribution function F(s) = P(X < s) + P(X = s) / 2 (Parzen, Quantile probability and statistical
    data modeling, Statistical Science 19, 2004) of the empirical distribution of the reference. Only order matters: a
    strictly increasing transform of all scores, such as a sigmoid of logits, changes nothing. Scores between two
    neighbours of the reference come out equal, as do all below its lowest (0) and all above its highest (1). NaN gives
    NaN.

    Args:
        scores: finite numbers or NaN, shape (n,).
        reference: finite numbers, shape (m,), m >= 1, in any order.

    Raises:
        ValueError: the reference is empty.
    """
    if not len(reference):
        raise ValueError("ecdf: the reference holds no scores")
    ordered = np.sort(reference)
    counted = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return np.asarray(np.where(np.isnan(scores), np.nan, counted / (2 * len(ordered))))


def like_positives(percentiles: np.ndarray, share: float) -> np.ndarray:
    """Return whether scores are above those of the given share of the positives, bool: F(s) > share; False for NaN.

    Where unlabelled relevant documents score as the labelled ones do, about this share of them is not recognised. This
    project's definition.

    Args:
        percentiles: F(s) by `ecdf`, float, any shape; NaN where there is no score.
        share: in [0, 1].
    """
    return np.asarray(percentiles > np.float32(share))


def percentile_background(percentiles: np.ndarray, size: int) -> tuple[float, float]:
    """Return mean and standard deviation of random pairs' percentiles, the deviation at least half a step of F.

    A good model scores most random pairs below every positive. Their percentiles are then all 0, and a deviation of 0
    would leave no unit to measure in; 0.5 / size is the resolution of F.

    Args:
        percentiles: of random pairs, in [0, 1], shape (n,); an empty array counts as one 0.
        size: number of scores in the reference of F, at least 1.
    """
    values = percentiles.astype(np.float64) if len(percentiles) else np.zeros(1)
    return float(values.mean()), max(float(values.std()), 0.5 / size)
