"""Choosing n negatives out of those that were kept."""

from collections.abc import Callable, Iterable

import numpy as np


def first_of_each(groups: np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """Return which elements are among the first n of their group.

    Args:
        groups: int64, shape (total,), ascending.
        n: how many of each group: one number, or for each element that of its group, shape (total,).

    Returns:
        bool, shape (total,).
    """
    if not len(groups):
        return np.zeros(0, dtype=bool)
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(groups)]]))
    return np.asarray((np.arange(len(groups)) - np.repeat(starts, lengths)) < n)


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
    return seeded(seeds, numbered(items))


def numbered(items: np.ndarray) -> np.ndarray:
    """Return the numbers of items (int64, not negative) under no seed yet, uint64: see `seeded`."""
    return _mix(items.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))


def seeded(seeds: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return `random_order` of seeds and of items whose `numbered` is given, for many seeds of the same items.

    Args:
        seeds: uint64, of a shape that broadcasts with that of the numbers: (m, 1) and (n,) give (m, n).
        numbers: uint64.
    """
    return _mix(_mix(seeds) ^ numbers)


def _mix(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = np.asarray(x + np.uint64(0x9E3779B97F4A7C15))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z ^= z >> np.uint64(shift)
            z *= np.uint64(factor)
        z ^= z >> np.uint64(31)
        return z


def ambiguity(distance: np.ndarray, numbers: np.ndarray, a: float, b: float) -> np.ndarray:
    """Return priorities whose n smallest are a SimANS sample: p proportional to exp(-a (distance - b)^2).

    SimANS (Zhou et al., EMNLP 2022, arXiv 2210.11773) draws negatives that score about as the positive does, neither
    far above it (false) nor far below it (easy); its distance is s - s+ in raw scores. The n are drawn one after
    another without replacement, by exponential races: each element arrives at -ln(u) / p, and the first n to arrive
    are taken (Efraimidis and Spirakis, Information Processing Letters 97, 2006). The logarithm of the arrival,
    ln(-ln(u)) + a (distance - b)^2, is returned, so that no p is too small for a float.

    Args:
        distance: how far each score lies above its anchor, in any unit, shape (n,).
        numbers: uint64, shape (n,), random: see `random_order`.
        a: how sharply p falls off; > 0, in units of 1 / distance^2.
        b: the distance at which p is highest.

    Returns:
        float64, shape (n,).
    """
    u = ((numbers >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52  # never 0, never 1
    off = distance.astype(np.float64) - b
    return np.asarray(np.log(-np.log(u)) + a * off * off)


def choose(groups: np.ndarray, priority: np.ndarray | None, n: int | np.ndarray) -> np.ndarray:
    """Return the positions of the n elements of each group with the smallest priority.

    Args:
        groups: int64, shape (total,), ascending.
        priority: any sortable type, shape (total,); ties by position. None: the order given is the priority.
        n: how many of each group, one number or for each element that of its group; a smaller group gives all it has.

    Returns:
        int64 positions, ascending.
    """
    if priority is None:
        return np.flatnonzero(first_of_each(groups, n))
    order = np.lexsort((priority, groups))
    return np.sort(order[first_of_each(groups[order], n if isinstance(n, int) else n[order])])


def choose_capped(
    groups: np.ndarray, documents: np.ndarray, n: int | np.ndarray, cap: int, used: dict[int, int]
) -> np.ndarray:
    """Return positions of at most n elements of each group, no document more than `cap` times in all.

    Groups are served in order, each with its best elements whose document is not used up.

    Args:
        groups: int64, shape (total,), ascending; within a group the better come first.
        documents: int64, shape (total,).
        n: how many of each group: one number, or for each element that of its group.
        cap: most often that one document may be chosen.
        used: how often each document was chosen before; updated.

    Returns:
        int64 positions, ascending.
    """
    chosen: list[int] = []
    current, left = -1, 0
    wanted = np.broadcast_to(n, groups.shape)
    pairs: Iterable[tuple[int, int]] = zip(groups.tolist(), documents.tolist(), strict=True)
    for position, (group, document) in enumerate(pairs):
        if group != current:
            current, left = group, int(wanted[position])
        if left and used.get(document, 0) < cap:
            used[document] = used.get(document, 0) + 1
            left -= 1
            chosen.append(position)
    return np.array(chosen, dtype=np.int64)


def select_capped(
    select: Callable[[np.ndarray], np.ndarray],
    groups: np.ndarray,
    documents: np.ndarray,
    cap: int,
    used: dict[int, int],
) -> np.ndarray:
    """Return positions of what `select` takes of each group, no document more than `cap` times in all.

    Groups are served in order, as by `choose_capped`, but `select` looks at many groups at once: what it takes stands
    up to the first group that would take a document too often; from there on it is asked again.

    Args:
        select: takes positions (ascending) and returns those chosen (ascending); each group's choice is its own.
        groups: int64, shape (total,), ascending.
        documents: int64, shape (total,); no group holds one twice.
        cap: most often that one document may be chosen.
        used: how often each document was chosen before; updated.

    Returns:
        int64 positions, ascending.
    """
    chosen = [np.zeros(0, dtype=np.int64)]
    places = np.arange(len(groups))
    while len(places):
        before = _used(documents[places], used)
        picked = select(places[before < cap])
        border = first_refused(groups[picked], documents[picked], cap, used)
        served = picked if border is None else picked[groups[picked] < border]
        count_used(documents[served], used)
        chosen.append(served)
        places = places[:0] if border is None else places[groups[places] >= border]
    return np.concatenate(chosen)


def first_refused(groups: np.ndarray, documents: np.ndarray, cap: int, used: dict[int, int]) -> int | None:
    """Return the first group that holds a document which earlier choices and earlier groups have used up.

    Args:
        groups: int64, shape (n,), ascending.
        documents: int64, shape (n,): what each group would take.
        cap: most often that one document may be chosen.
        used: how often each document was chosen before.
    """
    order = np.argsort(documents, kind="stable")
    ordered = documents[order]
    earlier = np.empty(len(order), dtype=np.int64)
    earlier[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    over = _used(documents, used) + earlier >= cap
    return int(groups[over].min()) if over.any() else None


def count_used(documents: np.ndarray, used: dict[int, int]) -> None:
    """Add one use of each of the documents (int64) to `used`."""
    rows, counts = np.unique(documents, return_counts=True)
    for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
        used[row] = used.get(row, 0) + count


def _used(documents: np.ndarray, used: dict[int, int]) -> np.ndarray:
    return np.array([used.get(document, 0) for document in documents.tolist()], dtype=np.int64)
