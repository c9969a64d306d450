"""Anchor scores, which margins are measured from: one for a query, or one for each of its positives."""

import numpy as np

from hnmine.arrays.ragged import Ragged


def reduce_anchor(scores: Ragged, how: str, quantile: float = 0.25) -> np.ndarray:
    """Return one anchor score for each query from its positives' scores; float32, shape (queries,).

    With one positive, every choice is its score. NV-Retriever (arXiv 2407.15831) has one positive;
    sentence-transformers and NeMo take the minimum, which lets one noisy positive reject every candidate.

    Args:
        scores: float32, the scores of each query's positives.
        how: min, mean, max, or quantile (linear interpolation, as numpy.quantile).
        quantile: in [0, 1], for `how` = quantile.

    Raises:
        ValueError: a query has no positive, or `how` is unknown.
    """
    values, starts, lengths = scores.values, scores.starts, scores.lengths
    if not len(scores):
        return np.zeros(0, dtype=np.float32)
    if lengths.min() == 0:
        raise ValueError("a query without positives has no anchor score")
    if how == "min":
        return np.asarray(np.minimum.reduceat(values, starts))
    if how == "max":
        return np.asarray(np.maximum.reduceat(values, starts))
    if how == "mean":
        return np.asarray(np.add.reduceat(values.astype(np.float64), starts) / lengths, dtype=np.float32)
    if how == "quantile":
        ordered = values[np.lexsort((values, scores.owners))].astype(np.float64)
        # the fraction is taken within the list: its last bits must not depend on the lists before
        place = quantile * (lengths - 1)
        below = np.floor(place).astype(np.int64)
        low = starts + below
        high = np.minimum(low + 1, scores.offsets[1:] - 1)
        return np.asarray(ordered[low] + (place - below) * (ordered[high] - ordered[low]), dtype=np.float32)
    raise ValueError(f"unknown anchor {how!r}")


def positive_of_anchor(anchors: Ragged, positives: Ragged) -> np.ndarray:
    """Return the positive of each anchor, as a position in `positives.values`; int64, -1 for a query's only anchor.

    A query has one anchor for all of its positives, or one for each of them in their order. Both lists have a row a
    query.
    """
    owners = anchors.owners
    return np.where(anchors.lengths[owners] > 1, positives.starts[owners] + anchors.positions, -1)


def anchor_of_positive(anchors: Ragged, positives: Ragged) -> np.ndarray:
    """Return the anchor of each positive, its own or its query's only one, as a position in `anchors.values`; int64.

    Both lists have a row a query (see `positive_of_anchor`), those of anchors at least one value.
    """
    owners = positives.owners
    return np.asarray(anchors.starts[owners] + np.where(anchors.lengths[owners] > 1, positives.positions, 0))
