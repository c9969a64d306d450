"""Composition of batches: clusters of similar queries, and full batches without conflicts out of each cluster."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hnmine.arrays.dots import dots, unit
from hnmine.arrays.groups import rank_in_group
from hnmine.arrays.kmeans import nearest_centroid, spherical_kmeans
from hnmine.science.batch_packing import exchange, first_fit, first_fit_decreasing, nearest_neighbour_tour

# More points for a centroid change it little and take longer.
POINTS = 64
MIXED = 4
"""Examples of full batches that are packed anew, for each one in a batch that is not full, when these are merged."""

Compare = Callable[[np.ndarray], np.ndarray]
"""Returns the conflicts among some examples: int64 (m,) to bool (m, m)."""


def target_size(batch_size: int) -> int:
    """Return about how many queries a cluster should have: a few batches, but few enough to compare all pairs."""
    return max(2 * batch_size, min(4 * batch_size, 512))


def clusters(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the cluster of each vector; clusters with neighbouring numbers are similar.

    The same vectors in the same order always give the same clusters. Batches from clusters are those of NGAME (Dahiya
    et al., WSDM 2023, arXiv 2207.04452) and of cluster-stratified batching (Merrick 2024, arXiv 2407.18887); B3 (arXiv
    2505.11293) uses communities in a graph of ranks instead.

    Args:
        vectors: float32, shape (n, dim); only their direction counts.
        count: clusters wanted; at most n are made.
        seed: of the sample and of the first centroids.

    Returns:
        int64, shape (n,), in [0, count).
    """
    count = min(count, len(vectors))
    if count <= 1:
        return np.zeros(len(vectors), dtype=np.int64)
    points = unit(vectors)
    centroids = spherical_kmeans(points, count, POINTS, seed % 2**31)
    number = np.empty(count, dtype=np.int64)
    number[nearest_neighbour_tour(dots(centroids, centroids))] = np.arange(count)
    return np.asarray(number[nearest_centroid(points, centroids)])


def pack(cluster: np.ndarray, size: int, most: int, compare: Compare) -> "Packing":
    """Return batches of at most `size` examples without conflicts.

    First-fit makes full batches within each cluster. The rest of all clusters is packed in the same way, up to `most`
    examples at a time: full batches are kept, and what is left joins the next portion. The first sweep is by cluster,
    so that similar examples come together; where conflicts leave too many over, these are set aside. A second sweep
    packs them in the order given, which mixes clusters, those with most conflicts first. Only what is left then makes
    batches that are not full.

    Args:
        cluster: int64, one per example, in the order in which examples are placed.
        size: examples per batch.
        most: examples that are compared at a time; above `size`.
        compare: returns the conflicts among examples.
    """
    n = len(cluster)
    packing = Packing(np.full(n, -1), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), size, most, compare)
    order, left = np.argsort(cluster, kind="stable"), [np.zeros(0, dtype=np.int64)]
    of_clusters = np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)
    groups = [own[first : first + most] for own in of_clusters for first in range(0, len(own), most)]
    for number, members in enumerate(groups):
        packing.group[members] = number
        conflict = compare(members)
        packing.conflicts[members] += conflict.sum(axis=1)
        left.append(packing.keep(members, first_fit(conflict, size), size))
    aside = packing.sweep(np.concatenate(left), last=False)
    packing.sweep(np.sort(aside), last=True)
    return packing


def drop_short(packing: "Packing") -> None:
    """Take the examples of batches that are not full out of their batches: they get the number -1."""
    packing.batch[packing.short] = -1
    packing.renumber()


def merge_short(packing: "Packing", query: np.ndarray) -> np.ndarray:
    """Merge the batches that are not full into full ones with few conflicts; only the last one may stay short.

    Examples of some full batches are packed anew among them. Up to `most` are compared at a time, those of one query
    spread evenly over the portions.

    Args:
        packing: as `pack` returns it; changed in place.
        query: int64, one per example: equal for examples of one query, which are kept apart before others.

    Returns:
        int64, one per example: number of examples of its batch that it is in conflict with.
    """
    within = np.zeros(len(packing.batch), dtype=np.int64)
    if len(np.unique(packing.batch[packing.short])) < 2:
        return within
    pool, size = packing.dissolve(), packing.size
    _, own, counts = np.unique(query[pool], return_inverse=True, return_counts=True)
    pool = pool[np.argsort((rank_in_group(own) + 0.5) / counts[own], kind="stable")]
    portion = max(packing.most // size, 1) * size
    for first in range(0, len(pool), portion):
        members = pool[first : first + portion]
        conflict = packing.compare(members)
        batch = exchange(conflict, query[members], size)
        within[members] = (conflict & (batch[:, None] == batch)).sum(axis=1)
        packing.keep(members, batch, least=1)
    packing.renumber()
    return within


@dataclass
class Packing:
    """Batches of examples, made step by step by `pack`.

    Attributes:
        batch: int64, one per example: the number of its batch, -1 while it has none.
        conflicts: int64, one per example: number of examples that it was compared with and is in conflict with.
        group: int64, one per example: the group in which it was first compared.
        size: examples per batch.
        most: examples that are compared at a time.
        compare: returns the conflicts among examples.
        next: number of the next batch.
    """

    batch: np.ndarray
    conflicts: np.ndarray
    group: np.ndarray
    size: int
    most: int
    compare: Compare
    next: int = 0

    @property
    def short(self) -> np.ndarray:
        """Whether each example is in a batch that is not full, bool."""
        placed = self.batch >= 0
        sizes = np.bincount(self.batch[placed], minlength=1)
        return np.asarray(placed & (sizes[self.batch] < self.size))

    def dissolve(self) -> np.ndarray:
        """Take the examples of all batches that are not full, and of some that are, out of their batches; return them.

        There are `MIXED` times as many of full batches, which are evenly spread; the result is in ascending order.
        """
        sizes = np.bincount(self.batch, minlength=1)
        full, wanted = np.flatnonzero(sizes == self.size), MIXED * int(self.short.sum())
        places = np.linspace(0, max(len(full) - 1, 0), min(len(full), -(-wanted // self.size))).astype(np.int64)
        found = np.flatnonzero(self.short | np.isin(self.batch, full[places]))
        self.batch[found] = -1
        return found

    def renumber(self) -> None:
        """Number the batches without gaps, in their order."""
        placed = self.batch >= 0
        labels, number = np.unique(self.batch[placed], return_inverse=True)
        self.batch[placed], self.next = number, len(labels)

    def sweep(self, pool: np.ndarray, *, last: bool) -> np.ndarray:
        """Make full batches of examples in their order, some at a time, and return those that are set aside.

        Args:
            pool: the examples.
            last: put examples that would be set aside into batches that are not full.
        """
        rest, aside, first = pool[:0], [pool[:0]], 0
        fit = first_fit_decreasing if last else first_fit
        while first < len(pool):
            taken = self.most - len(rest)
            members = np.concatenate([rest, pool[first : first + taken]])
            conflict, old = self.compare(members), np.arange(len(members)) < len(rest)
            if not last:  # pairs of the last sweep may have been counted before
                known = (self.group[members][:, None] == self.group[members]) | (old[:, None] & old)
                self.conflicts[members] += (conflict & ~known).sum(axis=1)
            first += taken
            rest = self.keep(members, fit(conflict, self.size), self.size)
            if first >= len(pool) or len(rest) > self.most // 2:
                if last:
                    which = np.isin(members, rest)
                    self.keep(members[which], fit(conflict[np.ix_(which, which)], self.size), least=1)
                else:
                    aside.append(rest)
                rest = rest[:0]
        return np.concatenate(aside)

    def keep(self, members: np.ndarray, label: np.ndarray, least: int) -> np.ndarray:
        """Number the batches (int64 `label`, one per member) of `least` members; return the other members, in order."""
        large = np.bincount(label)[label] >= least
        labels, number = np.unique(label[large], return_inverse=True)
        self.batch[members[large]] = self.next + number
        self.next += len(labels)
        return np.asarray(members[~large])
