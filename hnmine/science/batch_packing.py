"""Putting examples into batches of one size such that no two that are in conflict share one."""

import numpy as np

Named = tuple[np.ndarray, np.ndarray]
"""(owner, name) of some things: int64 in [0, count) and any sortable type, shape (n,)."""


def conflicts(barred: Named, offered: Named, count: int) -> np.ndarray:
    """Return which examples must not share a batch: one offers a document that would be a false negative of the other.

    c(i, j) = some name is barred by i and offered by j, or barred by j and offered by i, and i != j

    In a batch the documents of every example serve as negatives of every other (in-batch negatives: Karpukhin et al.
    2020, arXiv 2004.04906), so an example bars what is relevant to its query and offers its positive and its negatives.

    Args:
        barred: names that each example bars, repeats are fine.
        offered: names that each example offers, likewise.
        count: number of examples.

    Returns:
        bool, shape (count, count), symmetric; False on the diagonal.
    """
    found = np.zeros((count, count), dtype=bool)
    order = np.argsort(offered[1], kind="stable")
    owners, names = offered[0][order], offered[1][order]
    first = np.searchsorted(names, barred[1], side="left")
    lengths = np.searchsorted(names, barred[1], side="right") - first
    starts = np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
    found[np.repeat(barred[0], lengths), owners[starts + np.arange(int(lengths.sum()))]] = True
    found |= found.T
    np.fill_diagonal(found, val=False)
    return found


def first_fit(conflict: np.ndarray, size: int) -> np.ndarray:
    """Return a batch for each element: the first that has room and holds nothing the element is in conflict with.

    First-fit (Johnson 1974, for bins), which with room counted in elements is the greedy colouring of the conflict
    graph (Welsh and Powell 1967) with at most `size` elements a colour. Elements are placed in the order given, so
    batches are filled one after another here: each takes, in order, what the ones before it could not.

    Args:
        conflict: bool, shape (n, n), symmetric.
        size: most elements a batch; >= 1.

    Returns:
        int64, shape (n,): numbers of batches from 0, without gaps.
    """
    batch = np.full(len(conflict), -1, dtype=np.int64)
    number = 0
    left = np.ones(len(conflict), dtype=bool)
    while left.any():
        free, taken = left.copy(), 0
        while taken < size and free.any():
            place = int(np.argmax(free))
            batch[place] = number
            left[place] = free[place] = False
            free &= ~conflict[place]
            taken += 1
        number += 1
    return batch


def chain(similarity: np.ndarray) -> np.ndarray:
    """Return all elements in an order in which neighbours are alike: each is followed by the most similar one left.

    The nearest-neighbour tour (Rosenkrantz, Stearns and Lewis 1977) from element 0; ties go to the lower number.

    Args:
        similarity: float, shape (n, n).

    Returns:
        int64, shape (n,): a permutation; empty for n = 0.
    """
    order = np.zeros(len(similarity), dtype=np.int64)
    left = np.ones(len(similarity), dtype=bool)
    for place in range(1, len(order)):
        left[order[place - 1]] = False
        order[place] = np.argmax(np.where(left, similarity[order[place - 1]], -np.inf))
    return order


def others_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of each row without its diagonal element: a query's mean score to the others' positives.

    Args:
        scores: float, shape (n, n): row i holds the scores of query i, those of its own positive on the diagonal.

    Returns:
        float64, shape (n,); NaN for n = 1.
    """
    values = scores.astype(np.float64)
    if len(values) < 2:
        return np.full(len(values), np.nan)
    np.fill_diagonal(values, 0)
    return np.asarray(values.sum(axis=1) / (len(values) - 1))


def turns(groups: np.ndarray) -> np.ndarray:
    """Return how many elements of its group come before each element, int64; groups are int64, in any order."""
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], groups[order], side="left")
    found = np.empty(len(groups), dtype=np.int64)
    found[order] = np.arange(len(groups)) - starts
    return found
