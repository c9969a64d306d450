"""From groups of examples to batches: full ones out of each group, mixed ones out of what is left over."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hnmine.science.batch_packing import first_fit

Compare = Callable[[np.ndarray], np.ndarray]
"""Gives the conflicts among some examples: their numbers, int64 (m,), to bool (m, m)."""


@dataclass(frozen=True)
class Packed:
    """What packing came to.

    Attributes:
        batch: int64, one an example: the number of its batch.
        conflicts: int64, one an example: examples of its cluster, or of a neighbouring one, that it was compared with
            and kept apart from.
    """

    batch: np.ndarray
    conflicts: np.ndarray


def groups_of(cluster: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield the examples of each cluster in the order given, clusters ascending; at most `most` at a time."""
    order = np.argsort(cluster, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1):
        for first in range(0, len(own), most):
            yield own[first : first + most]


def pack(cluster: np.ndarray, size: int, most: int, compare: Compare) -> Packed:
    """Return batches of at most `size` examples without conflict.

    Each cluster gives as many full batches as first-fit makes of it. What is left of all clusters is packed in the same
    way, some at a time: full batches stand, the rest goes on to the next. First in the order of the clusters, so that
    neighbours meet; a rest that grows too large, since neighbours are in conflict, is set aside and then packed in the
    order given, which mixes clusters. Only what even that leaves over makes batches that are not full.

    Args:
        cluster: int64, one an example, examples in the order in which they are to be placed.
        size: examples a batch.
        most: examples that are compared with each other at a time; above `size`.
        compare: gives their conflicts.
    """
    n = len(cluster)
    work = _Packing(np.full(n, -1), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), size, most, compare)
    left = [np.zeros(0, dtype=np.int64)]
    for number, members in enumerate(groups_of(cluster, most)):
        work.group[members] = number
        conflict = compare(members)
        work.conflicts[members] += conflict.sum(axis=1)
        left.append(work.keep_full(members, first_fit(conflict, size)))
    aside = work.sweep(np.concatenate(left), last=False)
    work.sweep(np.sort(aside), last=True)
    return Packed(work.batch, work.conflicts)


@dataclass
class _Packing:
    """Batches so far.

    Attributes:
        batch: of each example, -1 where it has none.
        conflicts: counted for each example.
        group: the examples that each was first compared with.
        size: examples a batch.
        most: examples that are compared with each other at a time.
        compare: gives their conflicts.
        next: number of the next batch.
    """

    batch: np.ndarray
    conflicts: np.ndarray
    group: np.ndarray
    size: int
    most: int
    compare: Compare
    next: int = 0

    def sweep(self, pool: np.ndarray, *, last: bool) -> np.ndarray:
        """Make full batches of examples in their order, some at a time; return those that are set aside.

        Args:
            pool: the examples.
            last: whether what would be set aside makes batches that are not full instead.
        """
        rest, aside, first = pool[:0], [pool[:0]], 0
        while first < len(pool):
            taken = self.most - len(rest)
            members = np.concatenate([rest, pool[first : first + taken]])
            conflict, old = self.compare(members), np.arange(len(members)) < len(rest)
            if not last:  # in the last sweep a pair may meet again
                known = (self.group[members][:, None] == self.group[members]) | (old[:, None] & old)
                self.conflicts[members] += (conflict & ~known).sum(axis=1)
            first += taken
            rest = self.keep_full(members, first_fit(conflict, self.size))
            if first >= len(pool) or len(rest) > self.most // 2:
                aside.append(self.keep_all(rest, members, conflict) if last else rest)
                rest = rest[:0]
        return np.concatenate(aside)

    def keep_full(self, members: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Number the batches that are full, and return the members of the others, in their order."""
        sizes = np.bincount(label)
        full = sizes[label] == self.size
        _, number = np.unique(label[full], return_inverse=True)
        self.batch[members[full]] = self.next + number
        self.next += int((sizes == self.size).sum())
        return np.asarray(members[~full])

    def keep_all(self, rest: np.ndarray, members: np.ndarray, conflict: np.ndarray) -> np.ndarray:
        """Number all batches of the rest, and return nobody."""
        inside = np.isin(members, rest)
        label = first_fit(conflict[np.ix_(inside, inside)], self.size)
        self.batch[members[inside]] = self.next + label
        self.next += int(label.max(initial=-1)) + 1
        return np.asarray(rest[:0])
