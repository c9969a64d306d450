"""Margin rules that keep candidates as negatives by their scores, one published rule a function.

Every function takes float32 arrays that broadcast, and returns bool, True to keep. s is the candidate's score, s+ the
anchor score. Scores may be negative, as those of cross-encoders and dot products often are.
"""

import numpy as np

from hnmine.arrays.groups import SortedGroups


def absolute(s: np.ndarray, lowest: float | None, highest: float | None) -> np.ndarray:
    """Keep lowest <= s <= highest; None sets no limit.

    TopK-Abs of NV-Retriever (arXiv 2407.15831, section 3.2), with a floor added.
    """
    keep = np.ones(np.shape(s), dtype=bool)
    if lowest is not None:
        keep &= s >= np.float32(lowest)
    if highest is not None:
        keep &= s <= np.float32(highest)
    return keep


def at_or_above(s: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return whether s >= s+, where s+ is the score of the positive; False where one of the two is not finite."""
    real = np.isfinite(s) & np.isfinite(positive)
    return np.asarray(real & (s >= positive))


def margin(s: np.ndarray, anchor: np.ndarray, m: float) -> np.ndarray:
    """Keep s <= s+ - m, with m >= 0 in units of the score.

    TopK-MarginPos of NV-Retriever (arXiv 2407.15831, section 3.2).
    """
    return np.asarray(s <= margin_limit(anchor, m))


def margin_limit(anchor: np.ndarray, m: float) -> np.ndarray:
    """Return the highest score that `margin` keeps: s+ - m."""
    return np.asarray(anchor - np.float32(m))


def percent(s: np.ndarray, anchor: np.ndarray, p: float) -> np.ndarray:
    """Keep s <= s+ - (1 - p) |s+|, with 0 < p <= 1.

    TopK-PercPos of NV-Retriever (arXiv 2407.15831, section 3.2) is s <= p s+. For a negative s+ that limit lies
    above the positive. A margin measured by |s+| lies below it for every sign, and is the same for s+ > 0.
    """
    return np.asarray(s <= percent_limit(anchor, p))


def percent_limit(anchor: np.ndarray, p: float) -> np.ndarray:
    """Return the highest score that `percent` keeps: s+ - (1 - p) |s+|."""
    return np.asarray(anchor - np.float32(1 - p) * np.abs(anchor))


def adaptive(s: np.ndarray, anchor: np.ndarray, floor: np.ndarray, m: float) -> np.ndarray:
    """Keep s <= s+ - m max(0, s+ - s0), with 0 <= m < 1 and s0 the query's mean score to random documents.

    The margin grows with the positive's lead over random documents: the idea of the adaptive margin of
    LG-ANNA-Embedding (arXiv 2506.07438), in this project's form. Shifting or scaling all scores changes nothing, so one
    m serves teachers whose cosines are all high or all low. A positive that scores no better than random documents
    leaves no margin.
    """
    return np.asarray(s <= adaptive_limit(anchor, floor, m))


def adaptive_limit(anchor: np.ndarray, floor: np.ndarray, m: float) -> np.ndarray:
    """Return the highest score that `adaptive` keeps: s+ - m max(0, s+ - s0)."""
    return np.asarray(anchor - np.float32(m) * np.maximum(anchor - floor, np.float32(0)))


def easiest(s: np.ndarray, groups: np.ndarray, counted: np.ndarray, share: float) -> np.ndarray:
    """Keep the lowest scores of each group: s <= the ceil(share n)-th smallest of its n counted members; ties are kept.

    This project's complement to a margin: where a query's positive scores below all of its candidates, none is below a
    margin, and these are the easiest that the query has. A group without counted members keeps none.

    Args:
        s: float32, shape (total,).
        groups: int64, shape (total,), not negative.
        counted: bool, shape (total,): the n members; labelled positives are not counted, but compared.
        share: in [0, 1]; 0 keeps none.
    """
    inside = np.zeros(len(s), dtype=bool)
    if share == 0 or not counted.any():
        return inside
    ordered = SortedGroups.of(s[counted], groups[counted], int(groups.max()) + 1)
    some = ordered.counts > 0
    # 0.2 * 5 must give 1, though the product may round to slightly more
    wanted = np.ceil(share * ordered.counts[some] - 1e-9).astype(np.int64)
    limits = np.full(len(some), -np.inf, dtype=np.float32)
    limits[some] = ordered.values[ordered.starts[some] + np.maximum(wanted, 1) - 1]
    return np.asarray(s <= limits[groups])


def guide(g: np.ndarray, anchor: np.ndarray, m: float) -> np.ndarray:
    """Keep g <= g+ - m, with m >= 0 in units of the score; g and g+ are a second teacher's scores of d and of d+.

    GISTEmbed (Solatorio 2024, arXiv 2402.16829) masks a negative that its guide model scores above the positive, which
    is m = 0. The margin is the absolute one of sentence-transformers' GISTEmbedLoss, which masks g > g+ - m. That loss
    works within a batch, and also masks by the guide's scores of two queries or of two documents; this rule works on
    mined candidates and does not.
    """
    return np.asarray(g <= anchor - np.float32(m))


def multi_similarity(s: np.ndarray, lowest: np.ndarray, epsilon: float) -> np.ndarray:
    """Keep s > min over P of s+ - epsilon, with epsilon >= 0 in units of the score; `lowest` is that minimum.

    The negatives that the pair mining of the multi-similarity loss selects (Wang et al. 2019, arXiv 1904.06627,
    section 3.2), there within a batch. It rejects easy negatives only, and keeps those that score above the positives.
    """
    return np.asarray(s > lowest - np.float32(epsilon))


def rank_window(rank: np.ndarray, first: int, last: int) -> np.ndarray:
    """Keep first <= rank <= last, with retrieval ranks from 1 that count positives.

    Common practice, as in BGE's hn_mine.py (there a range of list positions).
    """
    return np.asarray((rank >= first) & (rank <= last))


def below(similarity: np.ndarray, limit: float) -> np.ndarray:
    """Keep similarity <= limit: for cosines to a positive document, or to the query.

    A candidate that is nearly the positive is probably another positive.
    """
    return np.asarray(similarity <= np.float32(limit))
