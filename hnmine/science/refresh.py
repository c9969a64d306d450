"""Refreshing mined negatives under a newer model: which of the earlier ones are easy now, and which are kept."""

import numpy as np

from hnmine.science.sampling import choose, choose_capped


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
