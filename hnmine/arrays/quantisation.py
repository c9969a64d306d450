"""Vectors as int8 multiples of a step, and bounds on the error of their inner products."""

import numpy as np

LIMIT = 127
"""Largest multiple either way; without -128, a vector and its negative round alike."""


def step_for(largest: float | np.ndarray) -> np.ndarray:
    """Return the step of which the largest absolute value (finite, any shape) is `LIMIT`; float32, 1 for 0."""
    largest = np.asarray(largest, dtype=np.float32)
    least = np.finfo(np.float32).tiny
    return np.asarray(np.where(largest > 0, np.maximum(largest / np.float32(LIMIT), least), 1), dtype=np.float32)


def to_bytes(vectors: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return round(x / step), clipped to +-`LIMIT`; int8, the shape of the vectors. Ties round to even.

    Vectors are float32, shape (n, d), finite; steps are float32 above 0: one number, or shape (n, 1).
    """
    return np.asarray(np.clip(np.rint(vectors / step), -LIMIT, LIMIT), dtype=np.int8)


def rounding_loss(vectors: np.ndarray, numbers: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the length |x - step b| of each vector's rounding error, rounded up; float32, shape (n,).

    Computed in float64, since squares of small remainders underflow in float32. x are the vectors and b their
    `to_bytes`, shape (n, d) each.
    """
    rest = vectors - numbers * np.asarray(step, dtype=np.float64)
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", rest, rest)) * (1 + 1e-6), dtype=np.float32)


def product_error(query_loss: np.ndarray, query_norms: np.ndarray, loss: float, norm: float) -> np.ndarray:
    """Return a bound on the difference between inner products of rounded and of exact vectors, shape (queries,).

    With q = q' + e and x = x' + f, where q' and x' are rounded, q.x - q'.x' = e.x + q'.f. By Cauchy and Schwarz its
    absolute value is at most |e| |x| + |q'| |f|, and |q'| <= |q| + |e|.

    Args:
        query_loss: |e| of each query, shape (queries,).
        query_norms: |q| of each query, shape (queries,).
        loss: the largest |f| of the other vectors.
        norm: the largest |x| of the other vectors.
    """
    return np.asarray(query_loss * norm + (query_norms + query_loss) * loss)
