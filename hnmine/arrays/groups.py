"""Sorting, ranking and comparing the elements of an array within their groups, without a loop over groups."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SortedGroups:
    """The values of each group in ascending order.

    Attributes:
        values: shape (n,); group g holds values[starts[g] : starts[g] + counts[g]].
        starts: int64, shape (groups,); the groups may lie in any order.
        counts: int64, shape (groups,).
    """

    values: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, groups: np.ndarray, count: int) -> "SortedGroups":
        """Sort values within their groups. Rankings (descending values of ascending groups) are only reversed.

        Args:
            values: numbers without NaN, shape (n,).
            groups: int64, shape (n,), in [0, count), in any order.
            count: number of groups.
        """
        counts = np.bincount(groups, minlength=count)
        ends = np.cumsum(counts)
        inside = groups[1:] == groups[:-1]
        if (groups[1:] >= groups[:-1]).all() and not (inside & (values[1:] > values[:-1])).any():
            return cls(values[::-1], len(values) - ends, counts)
        return cls(values[np.lexsort((values, groups))], ends - counts, counts)

    def count_below(self, values: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return how many of its group's values are less than each value, by binary search; int64, shape (m,).

        `groups` (int64, shape (m,)) are the groups that the values (numbers, shape (m,)) are compared with.
        """
        low, high = np.zeros(len(values), dtype=np.int64), self.counts[groups]
        if not len(self.values):
            return low
        starts, last = self.starts[groups], len(self.values) - 1
        for _ in range(int(self.counts.max(initial=0)).bit_length()):
            middle = (low + high) // 2
            less = self.values[np.minimum(starts + middle, last)] < values
            low, high = np.where(less & (low < high), middle + 1, low), np.where(less, high, middle)
        return low


def run_starts(groups: np.ndarray) -> np.ndarray:
    """Return the position at which each run of equal neighbours begins, int64."""
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))


def rank_in_run(groups: np.ndarray) -> np.ndarray:
    """Return each element's position within its run of equal neighbours, int64, from 0."""
    starts = run_starts(groups)
    return np.asarray(np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups))))


def rank_in_group(groups: np.ndarray) -> np.ndarray:
    """Return how many elements of its group come before each element, int64; groups are in any order."""
    order = np.argsort(groups, kind="stable")
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = rank_in_run(groups[order])
    return ranks


def first_n(groups: np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """Return whether each element is among the first n of its group; bool, shape (total,).

    Args:
        groups: int64, shape (total,), ascending.
        n: elements per group: one number, or shape (total,) with each element's group's number.
    """
    return np.asarray(rank_in_run(groups) < n)


def spans_within(sizes: np.ndarray, most: int, least: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of runs of elements, at least `least`, whose sizes (int64) add to at most `most`."""
    ends, first = np.cumsum(sizes), 0
    while first < len(ends):
        done = ends[first - 1] if first else 0
        last = min(len(ends), max(first + least, int(np.searchsorted(ends, done + most, side="right"))))
        yield first, last
        first = last


def below_nth(groups: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Return whether fewer than n earlier elements of its group are at most as large as each element; bool, (total,).

    Args:
        groups: int64, shape (total,), ascending.
        values: float, shape (total,), without NaN.
        n: at least 1.
    """
    rank, owner = rank_in_run(groups), np.cumsum(rank_in_run(groups) == 0) - 1
    lowest = np.full((int(owner.max(initial=-1)) + 1, n), np.inf)  # of each group so far, ascending
    inside = np.zeros(len(groups), dtype=bool)
    order = np.argsort(rank, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(rank[order])) + 1):
        new = own[values[own] < lowest[owner[own], -1]]
        inside[new] = True
        lowest[owner[new], -1] = values[new]
        lowest[owner[new]] = np.sort(lowest[owner[new]], axis=1)
    return inside


def count_before(flags: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the number of true flags of the same group (int64, ascending) before each position, int64."""
    before, starts = np.cumsum(flags) - flags, run_starts(groups)
    return np.asarray(before - np.repeat(before[starts], np.diff(starts, append=len(groups))))


def repeated(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return whether an earlier element has the same group (int64, any order) and key (any integers); bool."""
    order = np.lexsort((keys, groups))
    same = (groups[order][1:] == groups[order][:-1]) & (keys[order][1:] == keys[order][:-1])
    out = np.zeros(len(keys), dtype=bool)
    out[order[1:][same]] = True
    return out


def distinct_pairs(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the positions of the first of each (group, key), see `repeated`, sorted by group and then by position."""
    first = np.flatnonzero(~repeated(groups, keys))
    return np.asarray(first[np.argsort(groups[first], kind="stable")])


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return starts[i], starts[i] + 1, ... of each range i, lengths[i] numbers each, range after range; int64."""
    first = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return np.asarray(first + np.arange(len(first)))


def in_sorted(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Return whether each value occurs in an ascending array, bool, by binary search."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.asarray(ascending[place] == values)
