"""Packing examples into batches of one size without false negatives between the examples of a batch."""

import numpy as np

from hnmine.arrays.groups import ranges

Named = tuple[np.ndarray, np.ndarray]
"""(owner, name) of some things: int64 in [0, count) and any sortable type, each of shape (n,)."""


def conflicts(barred: Named, offered: Named, count: int) -> np.ndarray:
    """Return which examples must not share a batch: one offers a document that the other bars; bool, (count, count).

    c(i, j) = some name is barred by i and offered by j, or barred by j and offered by i, and i != j

    The documents of an example serve as negatives of every other one in its batch (in-batch negatives: Karpukhin et al.
    2020, arXiv 2004.04906). So an example offers its positive and negatives, and bars what is relevant to its query.
    Repeats in `barred` and `offered` are allowed; `count` is the number of examples.
    """
    found = np.zeros((count, count), dtype=bool)
    order = np.argsort(offered[1], kind="stable")
    owners, names = offered[0][order], offered[1][order]
    first = np.searchsorted(names, barred[1], side="left")
    lengths = np.searchsorted(names, barred[1], side="right") - first
    found[np.repeat(barred[0], lengths), owners[ranges(first, lengths)]] = True
    found |= found.T
    np.fill_diagonal(found, val=False)
    return found


def first_fit(conflict: np.ndarray, size: int) -> np.ndarray:
    """Return the batch of each element, the first with room and without conflict; int64, numbers from 0 without gaps.

    First-fit (Johnson 1974, for bins) with room counted in elements is the greedy colouring of the conflict graph
    (Welsh and Powell 1967) with at most `size` elements a colour. Elements are placed in the given order, so this fills
    one batch after another, each with the first elements that earlier ones could not take.

    Args:
        conflict: bool, shape (n, n), symmetric.
        size: the most elements of a batch, at least 1.
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


def nearest_neighbour_tour(similarity: np.ndarray) -> np.ndarray:
    """Return all elements in an order in which each is followed by the most similar one left; int64, shape (n,).

    The nearest-neighbour tour (Rosenkrantz, Stearns and Lewis 1977) from element 0; ties go to the lower number. The
    similarity is of shape (n, n).
    """
    order = np.zeros(len(similarity), dtype=np.int64)
    left = np.ones(len(similarity), dtype=bool)
    for place in range(1, len(order)):
        left[order[place - 1]] = False
        order[place] = np.argmax(np.where(left, similarity[order[place - 1]], -np.inf))
    return order


def off_diagonal_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of each row without its diagonal element: a query's mean score to the others' positives.

    `scores` are of shape (n, n), those of queries to their own positive on the diagonal. The result is float64, shape
    (n,); NaN for n = 1.
    """
    values = scores.astype(np.float64)
    if len(values) < 2:
        return np.full(len(values), np.nan)
    np.fill_diagonal(values, 0)
    return np.asarray(values.sum(axis=1) / (len(values) - 1))
