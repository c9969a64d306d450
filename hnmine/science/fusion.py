"""Fusion: merging the ranked lists of several sources into one list of candidates."""

from typing import Literal

import numpy as np

from hnmine.arrays.groups import count_before

K = 60
"""The constant of reciprocal rank fusion."""

Fuse = Literal["union", "rrf", "quota"]


def within_depth(ranks: np.ndarray, owners: np.ndarray, uncounted: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Return whether each candidate lies within each source's depth; bool, shape (n, sources), False for rank 0.

    A source's list for a query ends with its depth-th counted document: rank r lies within if r - 1 minus the number of
    uncounted documents before it is less than the depth.

    Args:
        ranks: int, shape (n, sources): rank from 1 in each source's list, 0 where the source did not find it.
        owners: int64, shape (n,), ascending: the query of each candidate.
        uncounted: bool, shape (n,): labelled positives, which take no place.
        depths: int, shape (sources,).
    """
    inside = np.zeros(ranks.shape, dtype=bool)
    for source, depth in enumerate(depths):
        found = np.flatnonzero(ranks[:, source] > 0)
        order = found[np.lexsort((ranks[found, source], owners[found]))]
        before = count_before(uncounted[order], owners[order])
        inside[order, source] = ranks[order, source] - 1 - before < depth
    return inside


def reciprocal_ranks(ranks: np.ndarray) -> np.ndarray:
    """Return RRF(d) = sum over sources of 1 / (60 + rank(d)); float64, shape (n,), in [0, sources / 61].

    Cormack, Clarke, Buettcher, SIGIR 2009. `ranks` are as in `within_depth`; a rank of 0 adds nothing.
    """
    found = ranks > 0
    # summed in ascending order: the same ranks in other sources give the same sum, bit for bit
    terms = np.sort(np.where(found, 1.0 / (K + np.maximum(ranks, 1)), 0.0), axis=1)
    return np.asarray(terms.sum(axis=1))


def first_counted(values: np.ndarray, rows: np.ndarray, owners: np.ndarray, counted: np.ndarray, k: int) -> np.ndarray:
    """Return whether each candidate is at or before its query's k-th counted one by falling value; bool, shape (n,).

    Args:
        values: float64, shape (n,); ties go by row.
        rows: int64, shape (n,): document rows.
        owners: int64, shape (n,), ascending: the query of each candidate.
        counted: bool, shape (n,): candidates that take one of the k places.
        k: places.
    """
    order = np.lexsort((rows, -values, owners))
    kept = np.zeros(len(order), dtype=bool)
    kept[order] = count_before(counted[order], owners[order]) < k
    return kept
