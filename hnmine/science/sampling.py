"""Choosing n negatives per group: by priority, by chance, under a cap, and from those that an earlier run chose."""

from collections.abc import Callable, Iterable

import numpy as np

from hnmine.arrays.groups import first_n, rank_in_group


def choose(groups: np.ndarray, priority: np.ndarray | None, n: int | np.ndarray) -> np.ndarray:
    """Return the positions of the n elements of each group with the smallest priority; int64, ascending.

    Args:
        groups: int64, shape (total,), ascending.
        priority: any sortable type, shape (total,); ties by position. None: the given order.
        n: elements per group: one number, or shape (total,) with each element's group's number. A smaller group gives
            all it has.
    """
    if priority is None:
        return np.flatnonzero(first_n(groups, n))
    order = np.lexsort((priority, groups))
    return np.sort(order[first_n(groups[order], n if isinstance(n, int) else n[order])])


def simans_priority(distance: np.ndarray, numbers: np.ndarray, a: float, b: float) -> np.ndarray:
    """Return priorities whose n smallest are a SimANS sample: p proportional to exp(-a (distance - b)^2); float64.

    SimANS (Zhou et al., EMNLP 2022, arXiv 2210.11773) samples negatives that score about as the positive does, neither
    far above it (false) nor far below it (easy); its distance is s - s+ in raw scores. Sampling without replacement is
    by exponential races: each element arrives at -ln(u) / p, and the first n to arrive are taken (Efraimidis and
    Spirakis, Information Processing Letters 97, 2006). The result is the logarithm of the arrival,
    ln(-ln(u)) + a (distance - b)^2, so that no p is too small for a float.

    Args:
        distance: score above the anchor, in any unit, shape (n,).
        numbers: uint64, shape (n,): see `hnmine.arrays.random_numbers`.
        a: decay of p, above 0, in 1 / distance^2.
        b: distance at which p is highest.
    """
    u = ((numbers >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52  # never 0, never 1
    off = distance.astype(np.float64) - b
    return np.asarray(np.log(-np.log(u)) + a * off * off)


def judged_first(groups: np.ndarray, judged: np.ndarray, priority: np.ndarray | None) -> np.ndarray:
    """Return priorities that put a group's judged elements first and otherwise keep the order; int64, all different.

    Candidates that people judged irrelevant are certain negatives, and are taken before uncertain ones.

    Args:
        groups: int64, shape (total,), ascending.
        judged: bool, shape (total,).
        priority: as in `choose`.
    """
    places = np.arange(len(groups))
    out = np.empty(len(groups), dtype=np.int64)
    out[np.lexsort((places if priority is None else priority, ~judged, groups))] = places
    return out


def choose_capped(
    groups: np.ndarray, documents: np.ndarray, n: int | np.ndarray, cap: int, used: dict[int, int]
) -> np.ndarray:
    """Return the positions of the first n elements of each group, no document more than `cap` times; int64, ascending.

    Groups are served in order. A used-up document makes room for the next of its group.

    Args:
        groups: int64, shape (total,), ascending; the better elements of a group come first.
        documents: int64, shape (total,).
        n: elements per group: one number, or shape (total,) with each element's group's number.
        cap: the most times that one document is chosen.
        used: times that each document was chosen before; updated.
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
    """Return the positions that `select` chooses of each group, no document more than `cap` times; int64, ascending.

    Groups are served in order, as in `choose_capped`, but `select` is called for many at once: its choices are final up
    to the first group that would use a document too often, from which on it is called again.

    Args:
        select: takes ascending positions and returns those chosen, ascending; each group's choice is its own.
        groups: int64, shape (total,), ascending.
        documents: int64, shape (total,); no group holds one twice.
        cap: as in `choose_capped`.
        used: likewise; updated.
    """
    chosen = [np.zeros(0, dtype=np.int64)]
    places = np.arange(len(groups))
    while len(places):
        picked = select(places[_used(documents[places], used) < cap])
        border = first_refused(groups[picked], documents[picked], cap, used)
        served = picked if border is None else picked[groups[picked] < border]
        count_used(documents[served], used)
        chosen.append(served)
        places = places[:0] if border is None else places[groups[places] >= border]
    return np.concatenate(chosen)


def first_refused(groups: np.ndarray, documents: np.ndarray, cap: int, used: dict[int, int]) -> int | None:
    """Return the first group that would take a document used up by earlier choices and earlier groups; None if none.

    Args:
        groups: int64, shape (n,), ascending.
        documents: int64, shape (n,): what each group would take.
        cap: the most times that one document is chosen.
        used: times that each document was chosen before.
    """
    over = _used(documents, used) + rank_in_group(documents) >= cap
    return int(groups[over].min()) if over.any() else None


def count_used(documents: np.ndarray, used: dict[int, int]) -> None:
    """Add one use of each document (int64, repeats count) to `used`."""
    rows, counts = np.unique(documents, return_counts=True)
    for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
        used[row] = used.get(row, 0) + count


def _used(documents: np.ndarray, used: dict[int, int]) -> np.ndarray:
    return np.array([used.get(document, 0) for document in documents.tolist()], dtype=np.int64)


def is_easy(now: np.ndarray, first: np.ndarray, ratio: float, below: float) -> np.ndarray:
    """Return whether a newer model finds each negative easy, ratio * s < s_first and s < below; bool, shape (n,).

    The idea is the dynamic hard negative mining of Conan-embedding (arXiv 2408.15710); the formula follows what others
    report of that paper, and was not checked against it. It holds for s_first >= 0. For negative scores, which a ratio
    above 1 would lower, this project asks for the same distance: s < s_first - (1 - 1 / ratio) |s_first|. A higher
    ratio or a lower `below` never finds more easy.

    Args:
        now: s, the score by the newer model, float, shape (n,).
        first: s_first, the score when the negative was chosen, float, shape (n,).
        ratio: at least 1; the higher, the further a score must have fallen.
        below: scores from here on are hard in any case.
    """
    s, s_first = (np.asarray(x, dtype=np.float64) for x in (now, first))
    fallen = np.where(s_first >= 0, ratio * s < s_first, s < s_first * (2.0 - 1.0 / ratio))
    return np.asarray(fallen & (s < below))


def best_kept(
    groups: np.ndarray, documents: np.ndarray, scores: np.ndarray, n: np.ndarray, cap: tuple[int, dict[int, int]] | None
) -> np.ndarray:
    """Return the positions of the n highest-scoring negatives of each group, which are kept; int64, ascending.

    Args:
        groups: int64, shape (total,), ascending.
        documents: int64, shape (total,); no group holds one twice.
        scores: float, shape (total,), by the newer model; ties go to the earlier position.
        n: int64, shape (total,): the number that each element's group has room for.
        cap: the most times that one document is kept, and how often each was chosen before (updated), as in
            `choose_capped`; None for no limit.
    """
    if cap is None:
        return choose(groups, -scores, n)
    order = np.lexsort((-scores, groups))
    return np.sort(order[choose_capped(groups[order], documents[order], n[order], *cap)])
