"""Scores on the scale of the labelled positives' own: any model's, whatever its range, between 0 and 1."""

import numpy as np

from hnmine.science.sampling import random_order

_QUERY, _DOCUMENT = np.uint64(0x7261_6E71), np.uint64(0x7261_6E64)


def ecdf(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return F(s): the share of the reference's scores below s, those equal to s counted half.

    The mid-distribution function, F(s) = P(X < s) + P(X = s) / 2 (Parzen, Journal of the American Statistical
    Association 99, 2004), over the empirical distribution of the reference. It looks at order alone, so a strictly
    increasing transform of all scores changes nothing: logits and their sigmoid give the same. Scores between two
    neighbours of the reference come out equal, as do all below its lowest (0) and all above its highest (1).

    Args:
        scores: any finite numbers or NaN, shape (n,).
        reference: finite numbers, shape (m,), m >= 1, in any order.

    Returns:
        float64 in [0, 1], shape (n,), never decreasing in s; NaN where s is NaN.

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

    A good model scores most random pairs below every positive: their percentiles are then all 0, and a deviation of
    0 would leave no unit to measure in. Half of 1 / size is how finely F tells scores apart.

    Args:
        percentiles: of random pairs, in [0, 1], shape (n,); none at all count as one of 0.
        size: scores in the reference of F; >= 1.

    Returns:
        (mean in [0, 1], deviation > 0).
    """
    values = percentiles.astype(np.float64) if len(percentiles) else np.zeros(1)
    return float(values.mean()), max(float(values.std()), 0.5 / size)


def random_pairs(queries: int, documents: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` pairs of a query and a document, each drawn at random with replacement, from the seed alone.

    Args:
        queries: how many there are; >= 1.
        documents: likewise.
        count: pairs wanted.
        seed: in [0, 2^63).

    Returns:
        (query rows, document rows), int64, shape (count,) each.
    """
    items = np.arange(count)
    first, second = (np.full(count, np.uint64(seed) ^ salt, dtype=np.uint64) for salt in (_QUERY, _DOCUMENT))
    query = random_order(first, items) % np.uint64(queries)
    document = random_order(second, items) % np.uint64(documents)
    return query.astype(np.int64), document.astype(np.int64)
