"""Inner products and cosines of single pairs of vectors, bit for bit the same in any batch.

The last bits of a matrix product depend on its shape, the pair's place in a block and the number of threads. Those of
scores that are compared, sorted and stored must not, so these functions compute each pair by itself. They are slower
than a matrix product, and meant for the few pairs that a search has found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# Pairs that `dots` computes at once.
_PAIRS = 1 << 20


def indexed_dots(left: np.ndarray, of_left: np.ndarray, right: np.ndarray, of_right: np.ndarray) -> np.ndarray:
    """Return the inner product left[of_left[i]] . right[of_right[i]] of each pair i; float32, shape (pairs,).

    Uses faiss' `pairwise_indexed_inner_product` in the calling thread, which copies no vector.

    Args:
        left: shape (n, d), taken as float32.
        of_left: int64, shape (pairs,), in [0, n).
        right: shape (m, d), taken as float32.
        of_right: int64, shape (pairs,), in [0, m).

    Raises:
        ValueError: the vectors' dimensions differ, or an index is out of range.
    """
    if left.shape[1] != right.shape[1]:
        raise ValueError(f"vectors of {left.shape[1]} and {right.shape[1]} numbers have no inner product")
    found, dim = np.zeros(len(of_left), dtype=np.float32), left.shape[1]
    if not len(found) or not dim:
        return found
    for places, vectors in ((of_left, left), (of_right, right)):  # the kernel would read past the end
        if len(places) != len(found) or places.min() < 0 or places.max() >= len(vectors):
            raise ValueError(f"places of {len(places)} pairs do not fit {len(vectors)} vectors")
    import faiss

    library: Any = faiss  # its type hints lack the function
    vectors_of = [np.ascontiguousarray(vectors, dtype=np.float32) for vectors in (left, right)]
    places_of = [np.ascontiguousarray(places, dtype=np.int64) for places in (of_left, of_right)]
    one, two, at_one, at_two, out = (library.swig_ptr(array) for array in (*vectors_of, *places_of, found))
    with faiss_single_thread():
        library.pairwise_indexed_inner_product(dim, len(found), one, at_one, two, at_two, out)
    return found


def dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return all inner products of two sets of vectors: (n, d) and (m, d) give float32 (n, m)."""
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
    """Return the cosine of left[of_left[i]] and directions[of_right[i]] of each pair i, float32, shape (pairs,).

    Args:
        left: float32, shape (n, d); a zero vector has cosine 0 to every other.
        of_left: int64, shape (pairs,), in [0, n).
        directions: float32, shape (m, d), normalised (see `unit`).
        of_right: int64, shape (pairs,), in [0, m).
    """
    used, inverse = np.unique(of_left, return_inverse=True)
    norm = _roots(indexed_dots(left, used, left, used))
    return np.asarray(indexed_dots(left, of_left, directions, of_right) / norm[inverse])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors divided by their lengths, float32, shape (n, d); zero vectors stay zero."""
    return np.asarray(vectors / norms(vectors)[:, None], dtype=np.float32)


def norms(vectors: np.ndarray) -> np.ndarray:
    """Return the length of each vector, and 1 for zero vectors; (n, d) gives float32 (n,)."""
    return _roots(pair_dots(vectors, vectors))


def _roots(squares: np.ndarray) -> np.ndarray:
    roots = np.sqrt(squares)
    return np.asarray(np.where(roots == 0, 1, roots), dtype=np.float32)


def max_norm(vectors: np.ndarray) -> float:
    """Return the largest length of the vectors, shape (n, d); 0 for no vectors."""
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max(initial=0)))


def error_bound(dim: int, left: float, right: float) -> float:
    """Return a bound on the difference between two float32 computations of one inner product.

    Each is within d * 2^-24 * |q| * |x| of the true product (Higham, Accuracy and Stability of Numerical Algorithms,
    section 3.1), so two of them differ by at most twice that. d is the dimension, `left` and `right` are the largest
    lengths |q| and |x| of the vectors.
    """
    return float(2 * dim * 2.0**-24 * left * right)


@contextmanager
def faiss_single_thread() -> Iterator[None]:
    """Run faiss calls of this thread on one OpenMP thread, and restore the number afterwards."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
