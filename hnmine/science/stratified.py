"""Stratified choice of negatives: one from each quantile of the scores in turn."""

import numpy as np

from hnmine.arrays.groups import SortedGroups, rank_in_run
from hnmine.science.sampling import choose, judged_first


def quantile_strata(groups: np.ndarray, scores: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the stratum of each element, a quantile of its group's scores; int64 in [0, count), shape (total,).

        floor(count * |{d' : s(d') > s(d)}| / |{d'}|),  d' over the elements of d's group

    0 holds the highest scores. Equal scores share a stratum, the highest one that any of them would have by its place,
    so that a stratum may be empty; without ties the sizes of strata differ by at most one. Only the order of scores
    matters: a strictly increasing transform of them changes nothing. Stratified negatives for distillation are reported
    of "Beyond Hard Negatives" (arXiv 2604.04734, 8 quantiles) and Querit (arXiv 2606.19037, 16 bins); the formula and
    the ties are this project's.

    Args:
        groups: int64, shape (total,), ascending.
        scores: float, shape (total,), without NaN.
        count: int64, shape (total,): number of strata of each element's group, at least 1.
    """
    negated = -scores
    ordered = SortedGroups.of(negated, groups, int(groups.max(initial=-1)) + 1)
    return np.asarray(count * ordered.count_below(negated, groups) // np.maximum(1, ordered.counts[groups]))


def take_in_turn(
    groups: np.ndarray, strata: np.ndarray, numbers: np.ndarray, n: np.ndarray, first: np.ndarray | None = None
) -> np.ndarray:
    """Return the positions of n elements of each group, one of each stratum in turn; int64, ascending.

    Strata are served from 0 on, round after round; one with nothing left is passed over, so that none is used twice
    before each that has elements is used once. A smaller group gives all it has.

    Args:
        groups: int64, shape (total,), ascending.
        strata: int64, shape (total,), not negative.
        numbers: uint64, shape (total,), random: in a stratum, smaller ones come first.
        n: int64, shape (total,): elements wanted of each element's group.
        first: bool, shape (total,): elements chosen before all others of their group, in turn like them; they count as
            their stratum's first.
    """
    last = np.zeros(len(groups), dtype=bool) if first is None else ~first
    order = np.lexsort((numbers, last, strata, groups))
    width = int(strata.max(initial=0)) + 1
    rounds = np.empty(len(groups), dtype=np.int64)
    rounds[order] = rank_in_run(groups[order] * width + strata[order])
    turn = rounds * width + strata
    return choose(groups, turn if first is None else judged_first(groups, first, turn), n)
