"""Estimated recall of a ranking of all documents of which only some, and a random sample of the rest, have a score.

Each scored document has a weight, the number of documents that it represents: 1 if it was not sampled, and N' / m for
each of m sampled from N' (Horvitz and Thompson, Journal of the American Statistical Association 47, 1952).
"""

from dataclasses import dataclass

import numpy as np

NOWHERE, KNOWN = -2, -1
RESAMPLES = 300


def weighted_recall(weights: np.ndarray, found: np.ndarray, k: int) -> np.ndarray:
    """Return each query's recall of the best k documents; float64 in [0, 1], shape (q,), NaN without documents.

        recall = sum found within k / sum weight within k

    Of a document whose weight reaches beyond k, the part within k counts, and the same share of its found part. With
    all weights 1 this is the plain recall. It is too high if a weight is large compared with k, since one sampled
    document then takes the places of found ones below it; see `pooled_recall`.

    Args:
        weights: at least 0, shape (q, n): of each query's scored documents, best first; 0 for padding.
        found: in [0, weight], shape (q, n): the part of each weight that was found.
        k: at least 1.
    """
    weights, found = np.asarray(weights, dtype=np.float64), np.asarray(found, dtype=np.float64)
    if not weights.shape[1]:
        return np.full(len(weights), np.nan)
    inside = np.clip(k - (np.cumsum(weights, axis=1) - weights), 0, weights)
    share = np.divide(inside, weights, out=np.zeros_like(weights), where=weights > 0)
    total, hits = (np.cumsum(values, axis=1)[:, -1] for values in (inside, found * share))
    return np.asarray(np.divide(hits, total, out=np.full(len(total), np.nan), where=total > 0))


def pooled_recall(weights: np.ndarray, found: np.ndarray, k: int, counts: np.ndarray) -> float:
    """Return the recall of the best k documents from all queries together, in [0, 1]; NaN without documents.

    With W(p) the mean weight of the queries' first p scored documents and F(p) the mean part of it that was found,
    recall is F(p) / W(p) at the p where W(p) = k, by linear interpolation between ranks; if W never reaches k, at the
    last rank. Averaging evens out large weights. The mean of the queries' own recalls is at least this, since
    1 / (1 + x) is convex in the documents missed for each found.

    Args:
        weights: as in `weighted_recall`.
        found: likewise.
        k: at least 1.
        counts: float, shape (q,): how often each query counts.
    """
    queries = max(1.0, float(counts.sum()))
    curves = [np.cumsum(np.asarray(values, dtype=np.float64), axis=1) for values in (weights, found)]
    weight, hits = (np.einsum("q,qn->n", counts, curve) / queries for curve in curves)
    if not len(weight) or weight[-1] <= 0:
        return float("nan")
    at = min(float(k), float(weight[-1]))
    return float(np.interp(at, np.append(0.0, weight), np.append(0.0, hits)) / at)


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
            return pooled_recall(weights, found, k, counts)
        values = weighted_recall(weights, found, k)
        counted = counts * ~np.isnan(values)
        return float(np.nansum(values * counts) / counted.sum()) if counted.any() else float("nan")

    def resampled(self, k: int, pooled: bool, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
        """Return the recall in resamples of queries and of sampled documents, with replacement (Efron, 1979).

        The ranking must be longer than k, since a resample may leave sampled documents out. Returns float64, shape
        (resamples,).
        """
        generator = np.random.default_rng([seed, 0x7265636C])
        sides = [(n, np.full(n, 1.0 / max(1, n))) for n in (self.size, len(self.drawn))]
        out = np.full(resamples, np.nan)
        for number in range(resamples):
            times, queries = (generator.multinomial(n, p) if n else np.zeros(0) for n, p in sides)
            out[number] = self.recall(k, pooled, times.astype(np.float64), queries)
        return out
