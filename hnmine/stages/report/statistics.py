"""Summary statistics of a mined set that the report and the audit share: shares, means, distributions, hubs."""

from typing import Any

import numpy as np

_PERCENTILES = {"min": 0, "p05": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "max": 100}


def share(part: int, whole: int) -> float:
    """Return part / whole; 0 where the whole is 0."""
    return part / whole if whole else 0.0


def mean(values: np.ndarray) -> float | None:
    """Return the mean in float64; None without values."""
    return float(values.astype(np.float64).mean()) if len(values) else None


def distribution(values: np.ndarray) -> dict[str, Any]:
    """Return count, mean, standard deviation (of the population) and percentiles; without values the count alone."""
    if not len(values):
        return {"count": 0}
    values = values.astype(np.float64)
    percentiles = np.percentile(values, list(_PERCENTILES.values())).tolist()
    named = dict(zip(_PERCENTILES, percentiles, strict=True))
    return {"count": len(values), "mean": float(values.mean()), "std": float(values.std()), **named}


def hub_statistics(counts: np.ndarray) -> dict[str, Any]:
    """Return how unevenly documents serve as negatives.

    Args:
        counts: int64 >= 1, shape (documents,): of how many queries each document is a negative.

    Returns:
        documents: how many documents serve; most_served: the largest count; top_percent_share: the share of the
        negatives of all queries that the busiest 1% of the documents (at least one) provide.
    """
    if not len(counts):
        return {"documents": 0, "most_served": 0, "top_percent_share": 0.0}
    busiest = np.sort(counts)[::-1][: max(1, len(counts) // 100)]
    return {
        "documents": len(counts),
        "most_served": int(counts.max()),
        "top_percent_share": float(busiest.sum() / counts.sum()),
    }
