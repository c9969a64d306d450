"""Choosing n negatives out of those that were kept."""

from collections.abc import Iterable

import numpy as np


def first_of_each(groups: np.ndarray, n: int) -> np.ndarray:
    """Return which elements are among the first n of their group.

    Args:
        groups: int64, shape (total,), ascending.
        n: how many of each group.

    Returns:
        bool, shape (total,).
    """
    if not len(groups):
        return np.zeros(0, dtype=bool)
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(groups)]]))
    return (np.arange(len(groups)) - np.repeat(starts, lengths)) < n


def random_order(seeds: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return a random number for each item that depends on its own seed and on itself, and on nothing else.

    The n smallest of a group are a uniform sample without replacement, the same whatever the order, the batch or
    the shard. The numbers are SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) of seed and item.

    Args:
        seeds: uint64, shape (n,).
        items: int64, shape (n,), not negative.

    Returns:
        uint64, shape (n,).
    """
    return _mix(_mix(seeds) ^ _mix(items.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)))


def _mix(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = x + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


def choose(groups: np.ndarray, priority: np.ndarray | None, n: int) -> np.ndarray:
    """Return the positions of the n elements of each group with the smallest priority.

    Args:
        groups: int64, shape (total,), ascending.
        priority: any sortable type, shape (total,); ties by position. None: the order given is the priority.
        n: how many of each group; a smaller group gives all it has.

    Returns:
        int64 positions, ascending.
    """
    if priority is None:
        return np.flatnonzero(first_of_each(groups, n))
    order = np.lexsort((priority, groups))
    return np.sort(order[first_of_each(groups[order], n)])


def choose_capped(groups: np.ndarray, documents: np.ndarray, n: int, cap: int, used: dict[int, int]) -> np.ndarray:
    """Return positions of at most n elements of each group, no document more than `cap` times in all.

    Groups are served in order, each with its best elements whose document is not used up.

    Args:
        groups: int64, shape (total,), ascending; within a group the better come first.
        documents: int64, shape (total,).
        n: how many of each group.
        cap: most often that one document may be chosen.
        used: how often each document was chosen before; updated.

    Returns:
        int64 positions, ascending.
    """
    chosen: list[int] = []
    current, left = -1, 0
    pairs: Iterable[tuple[int, int]] = zip(groups.tolist(), documents.tolist(), strict=True)
    for position, (group, document) in enumerate(pairs):
        if group != current:
            current, left = group, n
        if left and used.get(document, 0) < cap:
            used[document] = used.get(document, 0) + 1
            left -= 1
            chosen.append(position)
    return np.array(chosen, dtype=np.int64)
