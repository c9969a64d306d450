"""Inner products that come out the same bit for bit, wherever a pair of vectors meets.

A matrix product's last bits depend on its shape, its place in a block and the number of threads. Scores that are
compared with each other, sorted and stored must not. These functions reduce each pair by itself, over the
contiguous last axis, so a pair has one score on one machine. They are slower than a matrix product and are meant
for the few pairs that a matrix product has found.
"""

import numpy as np

_PART = 8192


def dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return all inner products: (n, d) and (m, d) give float32 (n, m)."""
    return _reduce("nd,md->nm", left, right)


def pair_dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the inner product of each row with its counterpart: (n, d) and (n, d) give float32 (n,)."""
    return _reduce("nd,nd->n", left, right)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors at length 1, float32, shape (n, d); a vector of length 0 stays as it is."""
    return np.asarray(vectors / lengths(vectors)[:, None], dtype=np.float32)


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Return the length of each vector, 1 for one of length 0; (n, d) gives float32 (n,)."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return np.asarray(np.where(norms == 0, 1, norms), dtype=np.float32)


def _reduce(formula: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the einsum, dimension by dimension in parts that numpy's buffer (8,192 numbers) does not cut itself."""
    left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
    total = np.asarray(np.einsum(formula, left[:, :_PART], right[:, :_PART]))
    for first in range(_PART, left.shape[1], _PART):
        total += np.einsum(formula, left[:, first : first + _PART], right[:, first : first + _PART])
    return total


def longest(vectors: np.ndarray) -> float:
    """Return the largest length of any of the vectors, shape (n, d); 0 where there are none."""
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max(initial=0)))


def error_bound(dim: int, left: float, right: float) -> float:
    """Return how far two ways of computing one inner product can be apart.

    Each float32 inner product of length d is within d * 2^-24 * |q| * |x| of the true one (Higham, Accuracy and
    Stability of Numerical Algorithms, section 3.1), so two of them are within twice that of each other.

    Args:
        dim: d, numbers a vector.
        left: the largest length |q| of the vectors on one side.
        right: the largest length |x| of those on the other.
    """
    return float(2 * dim * 2.0**-24 * left * right)
