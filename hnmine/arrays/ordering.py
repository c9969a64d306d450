"""Values in order within their groups, and places in that order, without a loop over groups."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ordered:
    """Values in ascending order within each group; groups themselves may lie in any order.

    Attributes:
        values: shape (n,): those of group g are values[starts[g] : starts[g] + counts[g]].
        starts: int64, shape (groups,).
        counts: int64, shape (groups,).
    """

    values: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, groups: np.ndarray, count: int) -> "Ordered":
        """Return values in order; those that fall within ascending groups, as a ranking does, are not sorted again.

        Args:
            values: numbers, none of them NaN, shape (n,).
            groups: int64, shape (n,), in [0, count).
            count: number of groups.
        """
        counts = np.bincount(groups, minlength=count)
        ends = np.cumsum(counts)
        inside = groups[1:] == groups[:-1]
        if (groups[1:] >= groups[:-1]).all() and not (inside & (values[1:] > values[:-1])).any():
            return cls(values[::-1], len(values) - ends, counts)
        return cls(values[np.lexsort((values, groups))], ends - counts, counts)

    def below(self, values: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Return how many of a group's values are below each of other values, by binary search.

        Args:
            values: numbers, shape (m,).
            groups: int64, shape (m,): the group that each is held against.

        Returns:
            int64, shape (m,).
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


def once_a_query(owners: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return the positions of the first of each (query, document), by query and then as they came.

    Args:
        owners: int64, shape (n,).
        documents: any integers, shape (n,).
    """
    order = np.lexsort((np.arange(len(owners)), documents, owners))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (owners[order][1:] != owners[order][:-1]) | (documents[order][1:] != documents[order][:-1])
    first = np.sort(order[new])
    return np.asarray(first[np.argsort(owners[first], kind="stable")])


def count_before(flags: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return how many flags of the same group are set before each place, int64.

    Args:
        flags: bool, shape (n,).
        groups: int64, shape (n,), ascending, not negative.
    """
    before = np.cumsum(flags) - flags
    first = np.diff(groups, prepend=-1) != 0
    return np.asarray(before - before[np.maximum.accumulate(np.where(first, np.arange(len(groups)), 0))])
