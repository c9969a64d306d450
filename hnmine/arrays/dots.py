"""Inner products that come out the same bit for bit, wherever a pair of vectors meets.

A matrix product's last bits depend on its shape, its place in a block and the number of threads. Scores that are
compared with each other, sorted and stored must not. These functions multiply each pair by itself, so a pair has one
score on one machine. They are slower than a matrix product and are meant for the few pairs that one has found.
"""

from typing import Any

import numpy as np

# Pairs whose numbers are held at once where all of one side meet all of the other.
_PAIRS = 1 << 20


def indexed_dots(left: np.ndarray, of_left: np.ndarray, right: np.ndarray, of_right: np.ndarray) -> np.ndarray:
    """Return left[of_left[i]] . right[of_right[i]] for each pair i, in the thread that asks for it.

    By faiss' `pairwise_indexed_inner_product`, which copies no vector.

    Args:
        left: shape (n, d), taken as float32.
        of_left: int64, shape (pairs,), in [0, n).
        right: shape (m, d), likewise.
        of_right: int64, shape (pairs,), in [0, m).

    Returns:
        float32, shape (pairs,).

    Raises:
        ValueError: the vectors' lengths differ, or a place is out of range.
    """
    if left.shape[1] != right.shape[1]:
        raise ValueError(f"vectors of {left.shape[1]} and {right.shape[1]} numbers have no inner product")
    found, dim = np.zeros(len(of_left), dtype=np.float32), left.shape[1]
    if not len(found) or not dim:
        return found
    for places, vectors in ((of_left, left), (of_right, right)):  # the kernel itself would read past the end
        if len(places) != len(found) or places.min() < 0 or places.max() >= len(vectors):
            raise ValueError(f"places of {len(places)} pairs do not fit {len(vectors)} vectors")
    import faiss

    library: Any = faiss  # its type hints lack the function
    vectors_of = [np.ascontiguousarray(vectors, dtype=np.float32) for vectors in (left, right)]
    places_of = [np.ascontiguousarray(places, dtype=np.int64) for places in (of_left, of_right)]
    one, two, at_one, at_two, out = (library.swig_ptr(array) for array in (*vectors_of, *places_of, found))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        library.pairwise_indexed_inner_product(dim, len(found), one, at_one, two, at_two, out)
    finally:
        faiss.omp_set_num_threads(threads)
    return found


def dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return all inner products: (n, d) and (m, d) give float32 (n, m)."""
    found = np.zeros((len(left), len(right)), dtype=np.float32)
    step, columns = max(1, _PAIRS // max(1, len(right))), np.arange(len(right))
    for first in range(0, len(left), step):
        rows = np.arange(first, min(first + step, len(left)))
        pairs = np.repeat(rows, len(right)), np.tile(columns, len(rows))
        found[rows] = indexed_dots(left, pairs[0], right, pairs[1]).reshape(len(rows), len(right))
    return found


def pair_dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the inner product of each row with its counterpart: (n, d) and (n, d) give float32 (n,)."""
    rows = np.arange(len(left))
    return indexed_dots(left, rows, right, rows)


def indexed_cosines(left: np.ndarray, of_left: np.ndarray, directions: np.ndarray, of_right: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of left[of_left[i]] and directions[of_right[i]], float32, shape (pairs,).

    Args:
        left: float32, shape (n, d); a vector of length 0 has cosine 0 to everything.
        of_left: int64, shape (pairs,), in [0, n).
        directions: float32, shape (m, d), of length 1 (see `unit`).
        of_right: int64, shape (pairs,), in [0, m).
    """
    used, inverse = np.unique(of_left, return_inverse=True)
    length = _lengths(indexed_dots(left, used, left, used))
    return np.asarray(indexed_dots(left, of_left, directions, of_right) / length[inverse])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors at length 1, float32, shape (n, d); a vector of length 0 stays as it is."""
    return np.asarray(vectors / lengths(vectors)[:, None], dtype=np.float32)


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Return the length of each vector, 1 for one of length 0; (n, d) gives float32 (n,)."""
    return _lengths(pair_dots(vectors, vectors))


def _lengths(squares: np.ndarray) -> np.ndarray:
    norms = np.sqrt(squares)
    return np.asarray(np.where(norms == 0, 1, norms), dtype=np.float32)


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
