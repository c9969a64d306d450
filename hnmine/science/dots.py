"""Inner products that come out the same bit for bit, wherever a pair of vectors meets.

A matrix product's last bits depend on its shape, its place in a block and the number of threads. Scores that are
compared with each other, sorted and stored must not. These functions reduce each pair by itself, over the
contiguous last axis, so a pair has one score on one machine. They are slower than a matrix product and are meant
for the few pairs that a matrix product has found.
"""

import numpy as np


def dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return all inner products: (n, d) and (m, d) give float32 (n, m)."""
    return np.asarray(np.einsum("nd,md->nm", np.ascontiguousarray(left), np.ascontiguousarray(right)))


def pair_dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the inner product of each row with its counterpart: (n, d) and (n, d) give float32 (n,)."""
    return np.asarray(np.einsum("nd,nd->n", np.ascontiguousarray(left), np.ascontiguousarray(right)))


def error_bound(queries: np.ndarray, documents: np.ndarray) -> float:
    """Return how far two ways of computing one inner product can be apart.

    Each float32 inner product of length d is within d * 2^-24 * |q| * |x| of the true one (Higham, Accuracy and
    Stability of Numerical Algorithms, section 3.1), so two of them are within twice that of each other.
    """
    if not len(queries) or not len(documents):
        return 0.0
    norms = [float(np.sqrt(np.einsum("nd,nd->n", m, m).max())) for m in (queries, documents)]
    return float(2 * queries.shape[1] * 2.0**-24 * norms[0] * norms[1])
