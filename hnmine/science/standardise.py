"""Putting scores of different queries, teachers and collections on one scale."""

import numpy as np


def within(values: np.ndarray, groups: np.ndarray, counted: np.ndarray, count: int) -> np.ndarray:
    """Return (x - mean) / std, mean and standard deviation taken over the counted members of each group.

    Args:
        values: float, shape (n,).
        groups: int64, shape (n,), in [0, count).
        counted: bool, shape (n,): which members make mean and deviation (all get a value).
        count: number of groups.

    Returns:
        float64, shape (n,); 0 in a group whose counted members are all equal, or that has none.
    """
    mean, scale = moments(values, groups, counted, count)
    return np.asarray((values.astype(np.float64) - mean[groups]) / scale[groups])


def moments(values: np.ndarray, groups: np.ndarray, counted: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the counted members of each group: what `within` standardises by.

    Args:
        values: float, shape (n,).
        groups: int64, shape (n,), in [0, count).
        counted: bool, shape (n,).
        count: number of groups.

    Returns:
        float64, shape (count,) each; a deviation is infinite where the counted members are all equal, or there are
        none, so that whatever is divided by it is 0.
    """
    x = values.astype(np.float64)
    number = np.bincount(groups, weights=counted, minlength=count)
    safe = np.maximum(number, 1)
    mean = np.bincount(groups, weights=np.where(counted, x, 0), minlength=count) / safe
    centred = x - mean[groups]
    variance = np.bincount(groups, weights=np.where(counted, centred**2, 0), minlength=count) / safe
    std = np.sqrt(variance)
    # a spread below rounding is none: identical scores must not blow up
    flat = std <= 1e-6 * np.maximum(1.0, np.abs(mean))
    return mean, np.where(flat | (number == 0), np.inf, std)


def against(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return (x - mean) / std with a background's mean and deviation given for each value; 0 where std is 0."""
    x = values.astype(np.float64) - mean
    return np.asarray(np.divide(x, std, out=np.zeros_like(x), where=std > 0))
