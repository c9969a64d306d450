"""The score that a margin is measured from, where a query has several positives."""

import numpy as np


def reduce_anchor(scores: np.ndarray, offsets: np.ndarray, how: str, quantile: float = 0.25) -> np.ndarray:
    """Return one anchor score a query from its positives' scores.

    With one positive every choice is that positive's score. NV-Retriever (arXiv 2407.15831) has one positive;
    sentence-transformers and NeMo take the minimum, which lets one noisy positive reject every candidate.

    Args:
        scores: float32, shape (total,), the positives' scores, query by query.
        offsets: int64, shape (queries + 1,); every query has at least one positive.
        how: min, mean, max, or quantile (linear interpolation between the two nearest, as numpy.quantile).
        quantile: which one, in [0, 1].

    Returns:
        float32, shape (queries,).

    Raises:
        ValueError: a query without positives, or an unknown `how`.
    """
    lengths = np.diff(offsets)
    if not len(lengths):
        return np.zeros(0, dtype=np.float32)
    if lengths.min() == 0:
        raise ValueError("a query without positives has no anchor score")
    starts = offsets[:-1]
    if how == "min":
        return np.asarray(np.minimum.reduceat(scores, starts))
    if how == "max":
        return np.asarray(np.maximum.reduceat(scores, starts))
    if how == "mean":
        return np.asarray(np.add.reduceat(scores.astype(np.float64), starts) / lengths, dtype=np.float32)
    if how == "quantile":
        return _quantile(scores, offsets, quantile)
    raise ValueError(f"unknown anchor {how!r}")


def _quantile(scores: np.ndarray, offsets: np.ndarray, quantile: float) -> np.ndarray:
    lengths = np.diff(offsets)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    ordered = scores[np.lexsort((scores, owners))].astype(np.float64)
    # within the list, not within the batch: the fraction's last bits must not depend on what comes before
    place = quantile * (lengths - 1)
    below = np.floor(place).astype(np.int64)
    low = offsets[:-1] + below
    high = np.minimum(low + 1, offsets[1:] - 1)
    return np.asarray(ordered[low] + (place - below) * (ordered[high] - ordered[low]), dtype=np.float32)
