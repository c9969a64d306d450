"""Which negatives of an earlier round of mining are worth keeping under a newer model."""

import numpy as np

from hnmine.science.sampling import choose, choose_capped


def easy(now: np.ndarray, first: np.ndarray, ratio: float, below: float) -> np.ndarray:
    """Tell which negatives a newer model finds easy: ratio * s < s_first, and s < below.

    s is the negative's score now, s_first its score when it was chosen. The idea is that of the dynamic hard negative
    mining of Conan-embedding (arXiv 2408.15710), the formula after what others say of that paper; it was not checked
    against it. So it is where s_first >= 0; below 0, where a product with a ratio above 1 lowers a score, the same
    distance is asked for: s < s_first - (1 - 1 / ratio) |s_first|, which is this project's completion.

    Args:
        now: s, float, shape (n,).
        first: s_first, float, shape (n,).
        ratio: >= 1; the higher, the further a score must have fallen.
        below: scores from here on are hard whatever they were.

    Returns:
        bool, shape (n,). A higher ratio or a lower `below` never finds more easy.
    """
    s, s_first = (np.asarray(x, dtype=np.float64) for x in (now, first))
    fallen = np.where(s_first >= 0, ratio * s < s_first, s < s_first * (2.0 - 1.0 / ratio))
    return np.asarray(fallen & (s < below))


def staying(
    groups: np.ndarray, documents: np.ndarray, scores: np.ndarray, n: np.ndarray, cap: tuple[int, dict[int, int]] | None
) -> np.ndarray:
    """Return which of the negatives worth keeping stay: of each group the n that score highest.

    Args:
        groups: int64, shape (total,), ascending.
        documents: int64, shape (total,); no group holds one twice.
        scores: float, shape (total,), by the newer model; ties go to the earlier one.
        n: int64, shape (total,): for each element how many its group has room for.
        cap: most often that one document may stay, over all groups in their order, and how often each was chosen
            before (updated); None for no limit.

    Returns:
        int64 positions, ascending.
    """
    if cap is None:
        return choose(groups, -scores, n)
    order = np.lexsort((-scores, groups))
    return np.sort(order[choose_capped(groups[order], documents[order], n[order], *cap)])
