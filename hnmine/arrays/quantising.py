"""Vectors as bytes: each number to the nearest multiple of a step, and how far products of such vectors can be off."""

import numpy as np

LIMIT = 127
"""The largest number of steps, either way: -128 is left out, so that a vector and its negative round alike."""


def step_for(largest: float | np.ndarray) -> np.ndarray:
    """Return the step by which numbers up to `largest` in size reach `LIMIT`, float32; 1 where all are 0.

    Args:
        largest: the largest absolute value, any shape, finite.
    """
    largest = np.asarray(largest, dtype=np.float32)
    least = np.finfo(np.float32).tiny
    return np.asarray(np.where(largest > 0, np.maximum(largest / np.float32(LIMIT), least), 1), dtype=np.float32)


def to_bytes(vectors: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return round(x / step), held to +-`LIMIT`, int8, of the same shape; ties round to even.

    Args:
        vectors: float32, shape (n, d), finite.
        step: float32, positive: one number, or shape (n, 1).
    """
    return np.asarray(np.clip(np.rint(vectors / step), -LIMIT, LIMIT), dtype=np.int8)


def lost(vectors: np.ndarray, numbers: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the length of what rounding took from each vector, |x - step * b|, rounded up to float32, shape (n,).

    In float64, since the squares of small remainders are 0 in float32.

    Args:
        vectors: float32, shape (n, d).
        numbers: int8, shape (n, d): what `to_bytes` made of them.
        step: as for `to_bytes`.
    """
    rest = vectors - numbers * np.asarray(step, dtype=np.float64)
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", rest, rest)) * (1 + 1e-6), dtype=np.float32)


def product_error(query_lost: np.ndarray, query_length: np.ndarray, lost: float, length: float) -> np.ndarray:
    """Return how far the product of rounded vectors can be from that of the vectors, shape (queries,).

    With q = q' + e and x = x' + f, primes marking the rounded ones, q.x - q'.x' = e.x + q'.f, so by Cauchy and Schwarz
    |q.x - q'.x'| <= |e| |x| + |q'| |f|, and |q'| <= |q| + |e|.

    Args:
        query_lost: |e| of each query, shape (queries,).
        query_length: |q| of each, shape (queries,).
        lost: the largest |f| of the other vectors.
        length: the largest |x| of the other vectors.
    """
    return np.asarray(query_lost * length + (query_length + query_lost) * lost)
