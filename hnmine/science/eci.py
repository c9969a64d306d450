"""The quality of a mined set from its scores alone: capacity, hardness, safety and ECI.

After "ECI: Effective Contrastive Information to Evaluate Hard-Negatives" (arXiv 2603.20990): information capacity
times the harmonic mean of hardness and safety. What is computed here is this project's definition.
"""

import numpy as np

DELTA = 0.05
"""Safety is full from a margin of this share of the way from random documents to the positive."""


def capacity(k: np.ndarray) -> np.ndarray:
    """Return C = ln(1 + K), the InfoNCE bound with K negatives (van den Oord et al., arXiv 1807.03748).

    Args:
        k: whole numbers >= 0, any shape.

    Returns:
        float64 in nats, same shape.
    """
    return np.log1p(np.asarray(k, dtype=np.float64))


def hardness(s: np.ndarray, anchor: np.ndarray, s0: np.ndarray) -> np.ndarray:
    """Return H = (s - s0) / (s+ - s0), clipped to [0, 1], of each negative.

    0 is a random document, 1 is as near as the positive. Encoders with different score ranges compare.

    Args:
        s: scores of the negatives, shape (n,).
        anchor: s+, their anchor scores, shape (n,).
        s0: the queries' mean scores to random documents, shape (n,).

    Returns:
        float64, shape (n,). Where s+ <= s0 the positive is no better than a random document: 1 where s >= s+, else 0.
    """
    s, anchor, s0 = (np.asarray(x, dtype=np.float64) for x in (s, anchor, s0))
    span = anchor - s0
    ratio = np.divide(s - s0, span, out=(s >= anchor).astype(np.float64), where=span > 0)
    return np.clip(ratio, 0.0, 1.0)


def safety(hardest: np.ndarray, anchor: np.ndarray, s0: np.ndarray, delta: float = DELTA) -> np.ndarray:
    """Return the max-margin safety S = (s+ - max s) / (delta (s+ - s0)), clipped to [0, 1].

    Args:
        hardest: max s over the kept negatives of each row, shape (n,).
        anchor: s+, shape (n,).
        s0: mean score to random documents, shape (n,).
        delta: share of the span from which on a margin is fully safe.

    Returns:
        float64, shape (n,): 0 where a negative scores at or above the anchor, and where s+ <= s0.
    """
    hardest, anchor, s0 = (np.asarray(x, dtype=np.float64) for x in (hardest, anchor, s0))
    span = delta * (anchor - s0)
    ratio = np.divide(anchor - hardest, span, out=np.zeros(np.shape(anchor)), where=span > 0)
    return np.clip(ratio, 0.0, 1.0)


def eci(c: np.ndarray, h: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return ECI = C 2HS / (H + S), and 0 where H + S = 0.

    Args:
        c: capacity in nats, shape (n,).
        h: mean hardness of the row's negatives, in [0, 1].
        s: safety of the row, in [0, 1].

    Returns:
        float64 in nats, shape (n,).
    """
    total = h + s
    return np.asarray(c * np.divide(2 * h * s, total, out=np.zeros(np.shape(total)), where=total > 0))
