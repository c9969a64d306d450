"""Diversity: choosing negatives that differ from one another, by maximal marginal relevance."""

import numpy as np

from hnmine.arrays.dots import indexed_dots
from hnmine.arrays.groups import first_n, run_starts


def marginal_relevance(
    groups: np.ndarray, relevance: np.ndarray, vectors: np.ndarray, at: np.ndarray, n: int, diversity: float
) -> np.ndarray:
    """Return the positions of n elements of each group, chosen by maximal marginal relevance; int64, ascending.

    Elements are chosen one by one, each the d that maximises

        (1 - diversity) relevance(d) - diversity max over the chosen d' of cos(d, d')

    without the second term for the first. Carbonell and Goldstein, SIGIR 1998, where lambda is 1 - diversity. Ties go
    to the earlier position, so diversity 0 with descending relevance gives the first n of each group.

    Args:
        groups: int64, shape (total,), ascending.
        relevance: float, shape (total,): each element's score.
        vectors: float32, shape (m, d), normalised.
        at: int64, shape (total,): the vector of each element.
        n: elements per group; a smaller group gives all it has.
        diversity: in [0, 1]; 0 chooses by relevance alone, 1 by similarity alone, beginning with the group's first.
    """
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    starts = run_starts(groups)
    owner = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(groups)))
    score = (1 - diversity) * relevance.astype(np.float64)
    closest = np.full(len(groups), -np.inf)
    free = np.ones(len(groups), dtype=bool)
    last = np.zeros(len(starts), dtype=np.int64)
    for step in range(n):
        value = np.where(free, score if step == 0 else score - diversity * np.where(free, closest, 0), -np.inf)
        hit = np.flatnonzero((value == np.maximum.reduceat(value, starts)[owner]) & free)
        pick = hit[first_n(owner[hit], 1)]
        free[pick] = False
        rest = np.flatnonzero(free)
        if step == n - 1 or not len(rest):
            break
        last[owner[pick]] = pick
        similar = indexed_dots(vectors, at[rest], vectors, at[last[owner[rest]]])
        closest[rest] = np.maximum(closest[rest], similar)
    return np.flatnonzero(~free)
