"""Standard scores, which put scores of different queries, teachers and collections on one scale.

Their zero is the mean of a group, or a query's background: its mean score to random documents.
"""

import numpy as np


def group_z_scores(values: np.ndarray, groups: np.ndarray, counted: np.ndarray, count: int) -> np.ndarray:
    """Return (x - mean) / std with mean and standard deviation of each group's counted members; float64, shape (n,).

    It is 0 in a group whose counted members are equal, or that has none.

    Args:
        values: float, shape (n,).
        groups: int64, shape (n,), in [0, count).
        counted: bool, shape (n,): members that mean and deviation are taken over; all get a value.
        count: number of groups.
    """
    mean, std = group_moments(values, groups, counted, count)
    return np.asarray((values.astype(np.float64) - mean[groups]) / std[groups])


def group_moments(
    values: np.ndarray, groups: np.ndarray, counted: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation that `group_z_scores` uses, float64, shape (count,); arguments as there.

    The deviation is infinite where counted members are equal or there are none, so that anything divided by it is 0.
    """
    x = values.astype(np.float64)
    number = np.bincount(groups, weights=counted, minlength=count)
    safe = np.maximum(number, 1)
    mean = np.bincount(groups, weights=np.where(counted, x, 0), minlength=count) / safe
    centred = x - mean[groups]
    variance = np.bincount(groups, weights=np.where(counted, centred**2, 0), minlength=count) / safe
    std = np.sqrt(variance)
    # a deviation within rounding counts as 0: equal scores must not be blown up
    flat = std <= 1e-6 * np.maximum(1.0, np.abs(mean))
    return mean, np.where(flat | (number == 0), np.inf, std)


def background_z_scores(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return (x - mean) / std, float64, with each value's own background mean and deviation; 0 where std is 0."""
    x = values.astype(np.float64) - mean
    return np.asarray(np.divide(x, std, out=np.zeros_like(x), where=std > 0))


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
