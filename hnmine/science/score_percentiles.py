"""Scores as percentiles of the labelled positives' scores: between 0 and 1 for any model."""

import numpy as np


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
