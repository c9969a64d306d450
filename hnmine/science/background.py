"""A query's scores to random documents, the zero from which hardness is measured."""

import numpy as np


def background(scores: np.ndarray, excluded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and (population) standard deviation of each row's scores to random documents; float32, shape (n,).

    Args:
        scores: float32, shape (n, sample): scores of n queries (or positives) to the same random documents.
        excluded: bool, same shape: scores left out, such as those to the query's own positives. A row that excludes
            all of its scores counts them all.
    """
    counted = np.where(excluded.all(axis=1, keepdims=True), True, ~excluded)
    number = counted.sum(axis=1)
    values = scores.astype(np.float64)
    mean = np.where(counted, values, 0).sum(axis=1) / number
    spread = np.where(counted, (values - mean[:, None]) ** 2, 0).sum(axis=1) / number
    return mean.astype(np.float32), np.sqrt(spread).astype(np.float32)


def at_background(scores: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return whether each score is no higher than a random document's may well be, s <= s0 + sd; bool, shape (n,).

    This holds for about 84% of random documents if their scores are normally distributed, and for hardly any of a
    query's nearest documents. It is False where the score is NaN.

    Args:
        scores: s, shape (n,).
        mean: s0, the query's mean score to random documents, shape (n,).
        std: sd, the standard deviation of those scores, shape (n,).
    """
    return np.asarray(scores.astype(np.float64) <= mean.astype(np.float64) + std.astype(np.float64))
