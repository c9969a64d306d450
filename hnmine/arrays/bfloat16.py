"""Vectors rounded to bfloat16, and bounds on the error of their inner products."""

import numpy as np

_HALF, _LAST = np.uint32(0x7FFF), np.uint32(1)


def round_to_bfloat16(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (b, loss): the vectors as bfloat16, and the length of each one's rounding error |x - b|.

    bfloat16 is the upper half of float32: a sign, 8 bits of exponent and 7 of mantissa, so that a number changes by at
    most 2^-8 of itself. Ties round to even.

    Args:
        vectors: x, float32, shape (n, d), finite; numbers within 2^-8 of the largest float32 become infinite.

    Returns:
        (b as its 16 bits, uint16, shape (n, d); the loss, float32, shape (n,), rounded up).
    """
    bits = np.ascontiguousarray(vectors, dtype=np.float32).view(np.uint32)
    rounded = bits >> np.uint32(16)
    rounded &= _LAST
    rounded += _HALF
    rounded += bits
    rounded >>= np.uint32(16)
    numbers = rounded.astype(np.uint16)
    rounded <<= np.uint32(16)
    rest = vectors - rounded.view(np.float32)  # exact: the difference of neighbouring floats
    # at a scale at which squares do not underflow
    scale = np.maximum(np.abs(rest).max(axis=1, initial=0), np.finfo(np.float32).tiny)
    rest /= scale[:, None]
    squares = np.einsum("nd,nd->n", rest, rest)
    loss = scale * np.sqrt(squares) * np.float32(1 + (vectors.shape[1] + 4) * 2.0**-23)
    return numbers, np.asarray(np.nextafter(loss, np.float32(np.inf)), dtype=np.float32)


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
