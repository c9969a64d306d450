"""Packing examples into batches of one size without, or with few, false negatives between the examples of a batch."""

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


def first_fit_decreasing(conflict: np.ndarray, size: int) -> np.ndarray:
    """Return the batches of `first_fit` with the elements that have most conflicts placed first; ties in their order.

    The order of Welsh and Powell (1967): elements that few others go with are placed while there is choice. Arguments
    and result are those of `first_fit`; its batches are numbered in the order of their making.
    """
    order = np.argsort(-conflict.sum(axis=1), kind="stable")
    batch = np.empty(len(conflict), dtype=np.int64)
    batch[order] = first_fit(conflict[np.ix_(order, order)], size)
    return batch


def exchange(conflict: np.ndarray, group: np.ndarray, size: int) -> np.ndarray:
    """Return full batches with few conflicts: all have `size` elements but the last, which has what is left over.

    w(i, j) = conflict(i, j) + n * (group(i) = group(j)); the sum of w over the pairs within batches is lowered

    Elements are dealt to the batches in turn, those of a group one after another, so that no batch has two of a group
    that has fewer elements than there are batches. Then pairs of elements are exchanged while that lowers the sum
    (Kernighan and Lin 1970): of each element that has conflicts, in order, the best exchange. So elements of one group
    are kept apart before other conflicts are.

    Args:
        conflict: bool, shape (n, n), symmetric, False on the diagonal.
        group: int64, shape (n,).
        size: elements of a batch, at least 1.

    Returns:
        int64, shape (n,): the batch of each element, from 0 without gaps.
    """
    n = len(conflict)
    count = -(-n // size)
    if count <= 1:
        return np.zeros(n, dtype=np.int64)
    same = group[:, None] == group
    order = np.lexsort((np.arange(n), group, -same.sum(axis=1)))
    room = np.full(count, size)
    room[-1] = n - (count - 1) * size
    rounds, numbers = np.meshgrid(np.arange(size), np.arange(count), indexing="ij")
    batch = np.empty(n, dtype=np.int64)
    batch[order] = numbers[rounds < room[numbers]]
    np.fill_diagonal(same, val=False)
    weight = conflict.astype(np.int64) + n * same
    cost = weight @ np.eye(count, dtype=np.int64)[batch]  # of each element in each batch
    everyone, moved = np.arange(n), True
    while moved:
        moved = False
        for i in np.flatnonzero(cost[everyone, batch]).tolist():
            here = batch[i]
            change = cost[i, batch] - cost[i, here] + cost[:, here] - cost[everyone, batch] - 2 * weight[i]
            j = int(np.argmin(np.where(batch == here, 0, change)))
            there = batch[j]
            if here != there and change[j] < 0:
                cost[:, here] += weight[:, j] - weight[:, i]
                cost[:, there] += weight[:, i] - weight[:, j]
                batch[i], batch[j], moved = there, here, True
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
