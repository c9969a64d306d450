"""Drawing documents at random from the whole corpus, in an order that each seed makes for itself."""

import numpy as np

from hnmine.science.copies import repeats
from hnmine.science.sampling import first_of_each, random_order

_ROUNDS = 6
# Half the bits of the smallest network: on fewer, pairs of places come out visibly unevenly.
_LEAST = 4
# First number of draws for each group, beyond twice what it wants: nearly all succeed at once.
_SPARE = 6


def shuffled(seeds: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Return what stands at given places of the numbers 0 .. size - 1, shuffled by a seed.

    Each seed has a permutation of its own, and any place of it is found without making the others: a Feistel network
    (Luby and Rackoff, SIAM Journal on Computing 17, 1988) over a power of 4 that is large enough, walked until it hits
    a number below size (Black and Rogaway, CT-RSA 2002). Its rounds take their numbers from `random_order`.

    Args:
        seeds: uint64, shape (n,).
        places: int64, shape (n,), each in [0, size).
        size: how many numbers there are, below 2^62.

    Returns:
        int64, shape (n,): for one seed, a permutation of the places.
    """
    half = max(_LEAST, ((size - 1).bit_length() + 1) // 2)
    out = places.astype(np.int64)
    todo = np.arange(len(out))
    while len(todo):
        out[todo] = _feistel(seeds[todo], out[todo], half)
        todo = todo[out[todo] >= size]
    return out


def _feistel(seeds: np.ndarray, numbers: np.ndarray, half: int) -> np.ndarray:
    """Return a permutation of the numbers below 4^half."""
    mask = (1 << half) - 1
    left, right = numbers >> half, numbers & mask
    for number in range(_ROUNDS):
        key = random_order(seeds, (number << half) | right) & np.uint64(mask)
        left, right = right, left ^ key.astype(np.int64)
    return (left << half) | right


def draw(
    seeds: np.ndarray,
    wanted: np.ndarray,
    names: np.ndarray,
    barred: tuple[np.ndarray, np.ndarray],
    open_rows: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return random documents for each group: the first of its own shuffled corpus that may be taken.

    A document may not be taken whose name is barred for the group, or is that of one the group has taken already.

    Args:
        seeds: uint64, shape (groups,).
        wanted: int64, shape (groups,): how many documents each wants.
        names: int64, shape (documents,), each in [0, documents): equal for copies of one text.
        barred: (group, name), both int64, same shape: what each group may not take.
        open_rows: bool, shape (documents,): documents that may be taken at all; None for all.

    Returns:
        (group, document), int64, group ascending, each group's in the order they were drawn. A group gets fewer than
        it wants only where the whole corpus holds no more for it.
    """
    size = len(names)
    taken = np.sort(barred[0] * size + barred[1])
    left, drawn = wanted.astype(np.int64), np.zeros(len(wanted), dtype=np.int64)
    found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    todo, factor = np.flatnonzero(left > 0), 1
    while len(todo) and size:
        count = np.minimum(factor * (2 * left[todo] + _SPARE), size - drawn[todo])
        group = np.repeat(todo, count)
        place = drawn[group] + np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
        rows = shuffled(seeds[group], place, size)
        free = ~_among(group * size + names[rows], taken)
        if open_rows is not None:
            free &= open_rows[rows]
        group, rows = group[free], rows[free]
        new = ~repeats(group, names[rows])
        group, rows = group[new], rows[new]
        pick = first_of_each(group, left[group])
        group, rows = group[pick], rows[pick]
        found.append((group, rows))
        taken = np.sort(np.concatenate([taken, group * size + names[rows]]))
        left -= np.bincount(group, minlength=len(left))
        drawn[todo] += count
        todo, factor = todo[(left[todo] > 0) & (drawn[todo] < size)], 2 * factor
    groups, documents = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(groups, kind="stable")
    return groups[order], documents[order]


def _among(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Tell which values are among those of an ascending array."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.asarray(ascending[place] == values)
