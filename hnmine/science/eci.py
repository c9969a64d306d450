"""The quality of a mined set without training: capacity, hardness, safety and ECI from scores, ECI-sem from vectors.

After "ECI: Effective Contrastive Information to Evaluate Hard-Negatives" (arXiv 2603.20990): information capacity
times the harmonic mean of hardness and safety; and, from its later version, the log-determinant of weighted
residuals. What is computed here is this project's definition.
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


def residual_weight(consistency: np.ndarray, locality: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Return w = c l x, the weight of each negative's residual in ECI-sem, in [0, 1].

    The paper names the three parts; that they are measured so and multiplied is this project's definition.

    Args:
        consistency: c in [0, 1], how surely it is no false negative: 1 - P(false negative) where there is a model,
            else the max-margin safety of this negative alone. Shape (n,).
        locality: l in [0, 1], its hardness, shape (n,).
        overlap: share of the query's word weight that it holds, in [0, 1], shape (n,); the lexical residuality
            x = 1 - overlap is what shared words do not explain.

    Returns:
        float64, shape (n,): 0 where any part is 0, so for a random document, a negative at or above the anchor that
        no model vouches for, and a text that holds all words of the query.
    """
    residuality = 1.0 - np.asarray(overlap, dtype=np.float64)
    parts = [np.clip(np.asarray(part, dtype=np.float64), 0, 1) for part in (consistency, locality, residuality)]
    return np.asarray(parts[0] * parts[1] * parts[2])


def eci_sem(residuals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ECI-sem = ln det(I + sum_k w_k r_k r_k^T) of each row's negatives, in nats.

    Computed as ln det(I + G) with the K x K matrix G_kl = sqrt(w_k w_l) r_k . r_l, which has the same determinant
    (Sylvester), by symmetric elimination without pivoting: every pivot is at least 1, as G is positive semidefinite.

    With a_k = w_k |r_k|^2 it lies between ln(1 + sum a_k), where all residuals point the same way, as copies do, and
    sum ln(1 + a_k), where they are at right angles. It does not depend on the order, and never falls by one more.

    Args:
        residuals: r_k = e(d_k) - e(d+), vectors of length 1 each before the difference, shape (n, K, d).
        weights: w_k >= 0, shape (n, K); rows with fewer than K negatives are filled up with weight 0, which changes
            nothing.

    Returns:
        float64, shape (n,); 0 for a row without negatives.
    """
    n, k = weights.shape
    values = np.asarray(residuals, dtype=np.float64) * np.sqrt(np.asarray(weights, dtype=np.float64))[:, :, None]
    left = np.empty((n, k, k))
    for column in range(k):
        left[:, :, column] = np.einsum("nkd,nd->nk", values, values[:, column])
    left[:, np.arange(k), np.arange(k)] += 1.0
    total = np.zeros(n)
    for step in range(k):
        pivot = np.maximum(left[:, step, step], 1.0)
        total += np.log(pivot)
        below = left[:, step + 1 :, step]
        left[:, step + 1 :, step + 1 :] -= below[:, :, None] * (below / pivot[:, None])[:, None, :]
    return total
