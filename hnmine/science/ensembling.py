"""Negatives of several sources in one set: one source drawn for each example, or all of them in turn."""

import numpy as np

from hnmine.science.sampling import first_of_each, random_order

# Sets the draw of a source apart from the other random numbers that a seed makes.
_SALT = np.uint64(0x656E73656D626C65)


def drawn_source(seeds: np.ndarray, sources: int) -> np.ndarray:
    """Return the source that serves each example: uniform on 0 .. sources - 1, by the example's seed alone.

    Cross-sample ensembling of NV-Retriever (Moreira et al., arXiv 2407.15831): each example's negatives come from one
    teacher, drawn at random.

    Args:
        seeds: uint64, shape (n,).
        sources: how many there are, at least 1.

    Returns:
        int64, shape (n,).
    """
    numbers = random_order(seeds ^ _SALT, np.zeros(len(seeds), dtype=np.int64))
    return np.asarray((numbers % np.uint64(sources)).astype(np.int64))


def in_turn(groups: np.ndarray, ranks: np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """Return the elements that sources choose in turn, in their order: each its best that no other has chosen yet.

    Intra-sample ensembling of NV-Retriever (Moreira et al., arXiv 2407.15831), in its form without repeats. A source
    with nothing left is passed over. A group's choice ends with its n-th element, or when no source has any left.

    Args:
        groups: int64, shape (total,), ascending; no group holds an element twice.
        ranks: int, shape (total, sources): rank from 1 in each source, 0 where the source did not find the element;
            no rank twice in a group and source.
        n: how many of each group: one number, or for each element that of its group.

    Returns:
        int64 positions, ascending.
    """
    wanted = np.broadcast_to(n, groups.shape)
    taken = np.zeros(len(groups), dtype=bool)
    counts = np.zeros(int(groups.max(initial=-1)) + 1, dtype=np.int64)
    lists = [_best(groups, own, wanted) for own in ranks.T]
    # each round, a group that is not full gets at least one more while there are any
    for _ in range(int(wanted.max(initial=0))):
        for own in lists:
            open_ones = own[~taken[own] & (counts[groups[own]] < wanted[own])]
            picked = open_ones[first_of_each(groups[open_ones], 1)]
            taken[picked] = True
            counts[groups[picked]] += 1
    return np.flatnonzero(taken)


def _best(groups: np.ndarray, ranks: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the n best of each group by one source, best first: it never comes to choose any beyond these."""
    found = np.flatnonzero(ranks > 0)
    order = found[np.lexsort((ranks[found], groups[found]))]
    return np.asarray(order[first_of_each(groups[order], n[order])])
