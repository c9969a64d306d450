"""Recall of a full ranking of which only some documents are known, the others by a random sample that speaks for all.

Each known document has a weight, how many documents it stands for: 1 where it is known for sure, N' / m for each of m
drawn at random of N' (Horvitz and Thompson, Journal of the American Statistical Association 47, 1952).
"""

from dataclasses import dataclass

import numpy as np

NOWHERE, KNOWN = -2, -1
RESAMPLES = 300


def counted_to(weights: np.ndarray, found: np.ndarray, k: int) -> np.ndarray:
    """Return for each rank how much of the first k documents it stands for, counted from the best: weight and found.

    Args:
        weights: float >= 0, shape (q, n): of each known document of each query, best first; 0 where there is none.
        found: float, same shape, in [0, weight]: the part of it that was found.
        k: how many documents count.

    Returns:
        float64, shape (q, 2, n): the weight up to each rank, at most k, and the part of it that was found. Of a
        document that reaches beyond k only the part within counts, its found share with it.
    """
    weights, found = np.asarray(weights, dtype=np.float64), np.asarray(found, dtype=np.float64)
    before = np.cumsum(weights, axis=1) - weights
    inside = np.clip(k - before, 0, weights)
    share = np.divide(inside, weights, out=np.zeros_like(weights), where=weights > 0)
    return np.stack([np.cumsum(inside, axis=1), np.cumsum(found * share, axis=1)], axis=1)


def weighted_recall(weights: np.ndarray, found: np.ndarray, k: int) -> np.ndarray:
    """Return each query's share of its best k documents that was found, float64, shape (q,).

        recall = sum found within k / sum weight within k

    down the ranking until the weights reach k. Where every weight is 1 it is the recall. It comes out too high where
    a weight is large against k: one drawn document then takes all places below it, those of found ones with them; see
    `pooled_recall`.

    Args:
        weights: as in `counted_to`.
        found: likewise.
        k: at least 1.

    Returns:
        In [0, 1]; NaN for a query without any document.
    """
    counted = counted_to(weights, found, k)
    if not counted.shape[2]:
        return np.full(len(counted), np.nan)
    last = counted[:, :, -1]
    out = np.full(len(last), np.nan)
    np.divide(last[:, 1], last[:, 0], out=out, where=last[:, 0] > 0)
    return out


def curves(weights: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return each query's weight and found part up to each rank, whatever they come to; float64, shape (q, 2 n)."""
    both = [np.cumsum(np.asarray(values, dtype=np.float64), axis=1) for values in (weights, found)]
    return np.concatenate(both, axis=1)


def pooled_recall(means: np.ndarray, k: int) -> np.ndarray:
    """Return the recall of the best k documents from mean curves over queries, float64, shape (r,).

    With W(p) the mean weight of the first p known documents and F(p) the mean part of it that was found, recall is
    F(p) / W(p) at the p where W(p) = k, between two ranks by straight lines. Large weights even out over the queries,
    which they do not in one. Queries that are searched well and badly are not told apart: their mean recall is at least
    this (1 / (1 + x) is convex in the documents missed for each one found).

    Args:
        means: float, shape (r, 2 n): mean over queries of `curves`, one a resample of the queries.
        k: at least 1; where W never reaches it, the last rank counts.

    Returns:
        In [0, 1]; NaN without any document.
    """
    n = means.shape[1] // 2
    out = np.full(len(means), np.nan)
    for row, (weight, found) in enumerate(zip(means[:, :n], means[:, n:], strict=True)):
        if n and weight[-1] > 0:
            at = min(float(k), float(weight[-1]))
            out[row] = np.interp(at, np.append(0.0, weight), np.append(0.0, found)) / at
    return out


@dataclass(frozen=True)
class Ranking:
    """The best of the documents that have a score, for some queries.

    Attributes:
        drawn: int64, shape (q, n), best first: which of the m drawn documents each is, `KNOWN` for one that is
            known for sure, `NOWHERE` behind the last.
        found: bool, same shape: whether it was found for its query.
        size: m.
        weight: how many documents each drawn one stands for, at least 1.
    """

    drawn: np.ndarray
    found: np.ndarray
    size: int
    weight: float

    def recall(self, k: int, pooled: bool, times: np.ndarray | None = None, queries: np.ndarray | None = None) -> float:
        """Return the mean recall of the best k: mean of `weighted_recall`, or `pooled_recall`; NaN without documents.

        A drawn document that was found counts as found itself; the others that it stands for do not.

        Args:
            k: at least 1.
            pooled: which of the two.
            times: float, shape (m,): how often each drawn document counts; once by default.
            queries: float, shape (q,): likewise each query.
        """
        often = np.append(np.ones(self.size) if times is None else times, [0.0, 1.0])[self.drawn]
        weights = np.where(self.drawn >= 0, self.weight, 1.0) * often
        found = self.found * often
        counts = np.ones(len(weights)) if queries is None else queries.astype(np.float64)
        if pooled:
            means = np.einsum("q,qn->n", counts, curves(weights, found))[None] / max(1.0, float(counts.sum()))
            return float(pooled_recall(means, k)[0])
        values = weighted_recall(weights, found, k)
        counted = counts * ~np.isnan(values)
        return float(np.nansum(values * counts) / counted.sum()) if counted.any() else float("nan")

    def resampled(self, k: int, pooled: bool, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
        """Return the recall over resamples of queries and of drawn documents, each with replacement (Efron, 1979).

        The ranking must go further down than k, since a resample may leave drawn documents out.

        Returns:
            float64, shape (resamples,).
        """
        generator = np.random.default_rng([seed, 0x7265636C])
        sides = [(n, np.full(n, 1.0 / max(1, n))) for n in (self.size, len(self.drawn))]
        out = np.full(resamples, np.nan)
        for number in range(resamples):
            times, queries = (generator.multinomial(n, p) if n else np.zeros(0) for n, p in sides)
            out[number] = self.recall(k, pooled, times.astype(np.float64), queries)
        return out
