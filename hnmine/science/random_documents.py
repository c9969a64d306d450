"""Random documents from the whole corpus as negatives."""

import numpy as np

from hnmine.arrays.groups import first_n, in_sorted, ranges, repeated
from hnmine.arrays.random_numbers import permuted

# Documents looked at for each group in the first round, beyond twice what it wants: one round is nearly always enough.
_SPARE = 6


def draw_documents(
    seeds: np.ndarray,
    wanted: np.ndarray,
    names: np.ndarray,
    barred: tuple[np.ndarray, np.ndarray],
    open_rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw random documents for each group: the first allowed ones of its own permutation of the corpus.

    A document is not allowed if its name is barred for the group, or belongs to one that the group has already.

    Args:
        seeds: uint64, shape (groups,).
        wanted: int64, shape (groups,): documents wanted.
        names: int64, shape (documents,), in [0, documents): equal for copies of one text.
        barred: (group, name), int64, same shape: names that a group may not have.
        open_rows: bool, shape (documents,): documents that any group may have; None for all.

    Returns:
        (group, document), int64, groups ascending, each group's documents as drawn. A group gets fewer than it wants
        only where the whole corpus has no more for it.
    """
    size = len(names)
    taken = np.sort(barred[0] * size + barred[1])
    left, seen = wanted.astype(np.int64), np.zeros(len(wanted), dtype=np.int64)
    found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    todo, factor = np.flatnonzero(left > 0), 1
    while len(todo) and size:
        count = np.minimum(factor * (2 * left[todo] + _SPARE), size - seen[todo])
        group = np.repeat(todo, count)
        rows = permuted(seeds[group], ranges(seen[todo], count), size)
        free = ~in_sorted(group * size + names[rows], taken)
        if open_rows is not None:
            free &= open_rows[rows]
        group, rows = group[free], rows[free]
        new = ~repeated(group, names[rows])
        group, rows = group[new], rows[new]
        pick = first_n(group, left[group])
        group, rows = group[pick], rows[pick]
        found.append((group, rows))
        taken = np.sort(np.concatenate([taken, group * size + names[rows]]))
        left -= np.bincount(group, minlength=len(left))
        seen[todo] += count
        todo, factor = todo[(left[todo] > 0) & (seen[todo] < size)], 2 * factor
    groups, documents = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(groups, kind="stable")
    return groups[order], documents[order]
