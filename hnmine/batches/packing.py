"""From groups of examples to batches: full ones out of each group, mixed ones out of what is left over."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hnmine.science.packing import first_fit

Compare = Callable[[np.ndarray], np.ndarray]
"""Gives the conflicts among some examples: their numbers, int64 (m,), to bool (m, m)."""


@dataclass(frozen=True)
class Packed:
    """What packing came to.

    Attributes:
        batch: int64, one an example: the number of its batch.
        conflicts: int64, one an example: examples that it was compared with and kept apart from.
    """

    batch: np.ndarray
    conflicts: np.ndarray


def groups_of(cluster: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield the examples of each cluster in the order given, clusters ascending; at most `most` at a time."""
    order = np.argsort(cluster, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1):
        for first in range(0, len(own), most):
            yield own[first : first + most]


def pack(cluster: np.ndarray, turn: np.ndarray, size: int, most: int, compare: Compare) -> Packed:
    """Return batches of at most `size` examples without conflict.

    Each cluster gives as many full batches as first-fit makes of it. What is left of all clusters, in their order, is
    packed in the same way, some at a time: full batches stand, the rest goes on to the next. Only the last batches, and
    those of a rest that grows too large since all of it is in conflict, are not full.

    Args:
        cluster: int64, one an example, examples in the order in which they are to be placed.
        turn: int64, one an example: how many of its query come before it. Two of one query are always in conflict, so
            what is left over is packed turn by turn.
        size: examples a batch.
        most: examples that are compared with each other at a time; above `size`.
        compare: gives their conflicts.
    """
    found = _Numbers(np.full(len(cluster), -1, dtype=np.int64), np.zeros(len(cluster), dtype=np.int64), size)
    left = [np.zeros(0, dtype=np.int64)]
    group = np.zeros(len(cluster), dtype=np.int64)
    for number, members in enumerate(groups_of(cluster, most)):
        group[members] = number
        conflict = compare(members)
        found.conflicts[members] += conflict.sum(axis=1)
        left.append(found.keep_full(members, first_fit(conflict, size)))
    pool, rest, first = np.concatenate(left), left[0], 0
    pool = pool[np.argsort(turn[pool], kind="stable")]
    while first < len(pool) or len(rest):
        taken = max(0, most - len(rest))
        members = np.concatenate([rest, pool[first : first + taken]])
        conflict, old = compare(members), np.arange(len(members)) < len(rest)
        known = (group[members][:, None] == group[members]) | (old[:, None] & old)  # counted before
        found.conflicts[members] += (conflict & ~known).sum(axis=1)
        first += taken
        rest = found.keep_full(members, first_fit(conflict, size))
        if first >= len(pool) or len(rest) > most // 2:
            rest = found.keep_all(rest, members, conflict)
    return Packed(found.batch, found.conflicts)


@dataclass
class _Numbers:
    """Numbers given to batches so far."""

    batch: np.ndarray
    conflicts: np.ndarray
    size: int
    next: int = 0

    def keep_full(self, members: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Number the batches that are full, and return the members of the others."""
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
