"""Estimated recall of a ranking of all documents of which only some, and a random sample of the rest, have a score.

Each scored document has a weight, the number of documents that it represents: 1 if it was not sampled, and N' / m for
each of m sampled from N' (Horvitz and Thompson, Journal of the American Statistical Association 47, 1952).
"""

from dataclasses import dataclass

import numpy as np

NOWHERE, KNOWN = -2, -1
RESAMPLES = 300


def cumulative_within(weights: np.ndarray, found: np.ndarray, k: int) -> np.ndarray:
    """Return the cumulative weight of each ranking's first k documents, and the part of it that was found.

    Args:
        weights: at least 0, shape (q, n): of each query's scored documents, best first; 0 for padding.
        found: in [0, weight], shape (q, n): the part of each weight that was found.
        k: documents that count.

    Returns:
        float64, shape (q, 2, n): (weight, found) up to each rank. Of a document whose weight reaches beyond k, the part
        within k counts, and the same share of its found part.
    """
    weights, found = np.asarray(weights, dtype=np.float64), np.asarray(found, dtype=np.float64)
    before = np.cumsum(weights, axis=1) - weights
    inside = np.clip(k - before, 0, weights)
    share = np.divide(inside, weights, out=np.zeros_like(weights), where=weights > 0)
    return np.stack([np.cumsum(inside, axis=1), np.cumsum(found * share, axis=1)], axis=1)


def weighted_recall(weights: np.ndarray, found: np.ndarray, k: int) -> np.ndarray:
    """Return each query's recall of the best k documents.

        recall = sum found within k / sum weight within k

    With all weights 1 this is the plain recall. It is too high if a weight is large compared with k, since one sampled
    document then takes the places of found ones below it; see `pooled_recall`.

    Args:
        weights: as in `cumulative_within`.
        found: likewise.
        k: at least 1.

    Returns:
        float64 in [0, 1], shape (q,); NaN for a query without documents.
    """
    counted = cumulative_within(weights, found, k)
    if not counted.shape[2]:
        return np.full(len(counted), np.nan)
    last = counted[:, :, -1]
    out = np.full(len(last), np.nan)
    np.divide(last[:, 1], last[:, 0], out=out, where=last[:, 0] > 0)
    return out


def cumulative_curves(weights: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return each query's cumulative weight, then its cumulative found part, up to each rank; float64, (q, 2 n)."""
    both = [np.cumsum(np.asarray(values, dtype=np.float64), axis=1) for values in (weights, found)]
    return np.concatenate(both, axis=1)


def pooled_recall(means: np.ndarray, k: int) -> np.ndarray:
    """Return the recall of the best k documents from curves averaged over queries.

    With W(p) the mean weight of the first p scored documents and F(p) the mean part of it that was found, recall is
    F(p) / W(p) at the p where W(p) = k, by linear interpolation between ranks. Averaging evens out large weights. The
    mean of the queries' own recalls is at least this, since 1 / (1 + x) is convex in the documents missed for each
    found.

    Args:
        means: shape (r, 2 n): mean over queries of `cumulative_curves`, one row a resample of the queries.
        k: at least 1; if W never reaches it, the last rank counts.

    Returns:
        float64 in [0, 1], shape (r,); NaN without documents.
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
    """The best scored documents of some queries.

    Attributes:
        drawn: int64, shape (q, n), best first: the number of each sampled document, in [0, m); `KNOWN` for one that
            was not sampled, `NOWHERE` for padding.
        found: bool, shape (q, n): whether the document was found for its query.
        size: m.
        weight: number of documents that each sampled one represents, at least 1.
    """

    drawn: np.ndarray
    found: np.ndarray
    size: int
    weight: float

    def recall(self, k: int, pooled: bool, times: np.ndarray | None = None, queries: np.ndarray | None = None) -> float:
        """Return the recall of the best k, `pooled_recall` or the mean `weighted_recall`; NaN without documents.

        A sampled document that was found counts as one found; the others that it represents count as not found.

        Args:
            k: at least 1.
            pooled: whether to take `pooled_recall`.
            times: float, shape (m,): how often each sampled document counts; once by default.
            queries: float, shape (q,): how often each query counts; once by default.
        """
        often = np.append(np.ones(self.size) if times is None else times, [0.0, 1.0])[self.drawn]
        weights = np.where(self.drawn >= 0, self.weight, 1.0) * often
        found = self.found * often
        counts = np.ones(len(weights)) if queries is None else queries.astype(np.float64)
        if pooled:
            sums = np.einsum("q,qn->n", counts, cumulative_curves(weights, found))[None]
            return float(pooled_recall(sums / max(1.0, float(counts.sum())), k)[0])
        values = weighted_recall(weights, found, k)
        counted = counts * ~np.isnan(values)
        return float(np.nansum(values * counts) / counted.sum()) if counted.any() else float("nan")

    def resampled(self, k: int, pooled: bool, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
        """Return the recall in resamples of queries and of sampled documents, with replacement (Efron, 1979).

        The ranking must be longer than k, since a resample may leave sampled documents out.

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
