"""Quality of mined negatives without training: capacity, hardness, safety and ECI from scores, ECI-sem from vectors.

After "ECI: Effective Contrastive Information to Evaluate Hard-Negatives" (arXiv 2603.20990), which multiplies
information capacity by the harmonic mean of hardness and safety, and whose later version takes the log-determinant of
weighted residuals. The formulas here are this project's definitions.
"""

import numpy as np

DELTA = 0.05
"""A margin of this share of s+ - s0 is fully safe."""


def capacity(k: np.ndarray) -> np.ndarray:
    """Return C = ln(1 + K), the InfoNCE bound with K negatives, in nats; float64, the shape of k (whole numbers).

    van den Oord et al., arXiv 1807.03748.
    """
    return np.log1p(np.asarray(k, dtype=np.float64))


def hardness(s: np.ndarray, anchor: np.ndarray, s0: np.ndarray) -> np.ndarray:
    """Return the hardness H = (s - s0) / (s+ - s0) of each negative, clipped to [0, 1]; float64, shape (n,).

    0 is a random document, 1 is as near as the positive. Comparable between encoders with different score ranges. Where
    s+ <= s0, the positive is no better than a random document, and H is 1 for s >= s+, else 0.

    Args:
        s: scores of the negatives, shape (n,).
        anchor: s+, anchor scores, shape (n,).
        s0: the queries' mean scores to random documents, shape (n,).
    """
    s, anchor, s0 = (np.asarray(x, dtype=np.float64) for x in (s, anchor, s0))
    span = anchor - s0
    ratio = np.divide(s - s0, span, out=(s >= anchor).astype(np.float64), where=span > 0)
    return np.clip(ratio, 0.0, 1.0)


def safety(hardest: np.ndarray, anchor: np.ndarray, s0: np.ndarray, delta: float = DELTA) -> np.ndarray:
    """Return the max-margin safety S = (s+ - max s) / (delta (s+ - s0)) of each row, clipped to [0, 1]; float64, (n,).

    It is 0 where a negative scores at or above the anchor, and where s+ <= s0.

    Args:
        hardest: max s over the row's negatives, shape (n,).
        anchor: s+, the anchor score, shape (n,).
        s0: the query's mean score to random documents, shape (n,).
        delta: share of s+ - s0 from which on a margin is fully safe.
    """
    hardest, anchor, s0 = (np.asarray(x, dtype=np.float64) for x in (hardest, anchor, s0))
    span = delta * (anchor - s0)
    ratio = np.divide(anchor - hardest, span, out=np.zeros(np.shape(anchor)), where=span > 0)
    return np.clip(ratio, 0.0, 1.0)


def eci(c: np.ndarray, h: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return ECI = C 2HS / (H + S) in nats, 0 where H + S = 0; float64, shape (n,).

    Args:
        c: capacity of each row, in nats, shape (n,).
        h: mean hardness of the row's negatives, in [0, 1], shape (n,).
        s: safety of the row, in [0, 1], shape (n,).
    """
    total = h + s
    return np.asarray(c * np.divide(2 * h * s, total, out=np.zeros(np.shape(total)), where=total > 0))


def residual_weight(consistency: np.ndarray, locality: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Return w = c l x, the weight in [0, 1] of each negative's residual in ECI-sem; float64, shape (n,).

    The paper names the three factors; how they are measured and that they are multiplied is this project's definition.
    w is 0 for a random document, for a negative at or above the anchor without a model's probability, and for a text
    with all words of the query.

    Args:
        consistency: c in [0, 1], shape (n,): 1 - P(false negative) where there is a model for it, else the max-margin
            safety of this negative alone.
        locality: l in [0, 1], shape (n,): its hardness.
        overlap: in [0, 1], shape (n,): share of the query's word weight that it holds. The lexical residuality
            x = 1 - overlap is the part that shared words do not explain.
    """
    residuality = 1.0 - np.asarray(overlap, dtype=np.float64)
    parts = [np.clip(np.asarray(part, dtype=np.float64), 0, 1) for part in (consistency, locality, residuality)]
    return np.asarray(parts[0] * parts[1] * parts[2])


def eci_sem(residuals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ECI-sem = ln det(I + sum_k w_k r_k r_k^T) of each row's negatives, in nats; float64, shape (n,).

    Computed as ln det(I + G) with the K x K matrix G_kl = sqrt(w_k w_l) r_k . r_l, which has the same determinant
    (Sylvester), by symmetric elimination without pivoting: every pivot is at least 1, as G is positive semidefinite.

    With a_k = w_k |r_k|^2 it lies between ln(1 + sum a_k), if all residuals point the same way, as copies' do, and
    sum ln(1 + a_k), if they are orthogonal. It does not depend on the order, another negative never lowers it, and it
    is 0 for a row without negatives.

    Args:
        residuals: r_k = e(d_k) - e(d+), differences of normalised vectors, shape (n, K, d).
        weights: w_k, at least 0, shape (n, K); rows with fewer than K negatives are padded with weight 0.
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
