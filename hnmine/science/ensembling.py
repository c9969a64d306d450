"""Ensembling: combining the negatives of several sources, by one random source an example or by all in turn."""

import numpy as np

from hnmine.arrays.groups import first_n
from hnmine.arrays.random_numbers import random_numbers

# Makes the choice of a source independent of other random numbers of the same seed.
_SALT = np.uint64(0x656E73656D626C65)


def random_source(seeds: np.ndarray, sources: int) -> np.ndarray:
    """Return a source for each example, uniform on 0 .. sources - 1, from its seed (uint64) alone; int64, shape (n,).

    Cross-sample ensembling of NV-Retriever (Moreira et al., arXiv 2407.15831): the negatives of each example come from
    one random teacher.
    """
    numbers = random_numbers(seeds ^ _SALT, np.zeros(len(seeds), dtype=np.int64))
    return np.asarray((numbers % np.uint64(sources)).astype(np.int64))


def round_robin(groups: np.ndarray, ranks: np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """Return the positions of n elements of each group, chosen by the sources in turn, each its best; int64, ascending.

    Intra-sample ensembling of NV-Retriever (Moreira et al., arXiv 2407.15831), in its form without repeats:
    each source chooses its best that is not chosen yet. One with nothing left is passed over. A group gets fewer than n
    where no source has any left.

    Args:
        groups: int64, shape (total,), ascending; no group holds an element twice.
        ranks: int, shape (total, sources): rank from 1 in each source, 0 where the source did not find the element;
            no rank twice in a group and source.
        n: elements per group: one number, or shape (total,) with each element's group's number.
    """
    wanted = np.broadcast_to(n, groups.shape)
    taken = np.zeros(len(groups), dtype=bool)
    counts = np.zeros(int(groups.max(initial=-1)) + 1, dtype=np.int64)
    lists = [_best(groups, own, wanted) for own in ranks.T]
    # each round gives every group that is not full at least one more while there are any
    for _ in range(int(wanted.max(initial=0))):
        for own in lists:
            candidates = own[~taken[own] & (counts[groups[own]] < wanted[own])]
            picked = candidates[first_n(groups[candidates], 1)]
            taken[picked] = True
            counts[groups[picked]] += 1
    return np.flatnonzero(taken)


def _best(groups: np.ndarray, ranks: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the n best of each group in one source, best first; it never has to choose beyond these."""
    found = np.flatnonzero(ranks > 0)
    order = found[np.lexsort((ranks[found], groups[found]))]
    return np.asarray(order[first_n(groups[order], n[order])])
