"""Agreement: of mined sets, by common items and changes of scores, and of two judges."""

from collections.abc import Sequence

import numpy as np


def agreement(sets: Sequence[tuple[np.ndarray, np.ndarray]], groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each group's items that all sets have, and that any set has; int64, shape (groups,) each.

    Args:
        sets: one or more sets as (group, item) pairs, int64, not negative; no pair twice in a set.
        groups: number of groups; groups are in [0, groups).
    """
    span = max(int(items.max(initial=0)) for _, items in sets) + 1
    codes = np.concatenate([group * span + items for group, items in sets])
    unique, counts = np.unique(codes, return_counts=True)
    owners = unique // span
    shared = np.bincount(owners[counts == len(sets)], minlength=groups)
    return shared, np.bincount(owners, minlength=groups)


def jaccard(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Return |A and B| / |A or B| (Jaccard 1901), float64 in [0, 1]; NaN where both are empty."""
    return np.asarray(np.divide(intersection, union, out=np.full(np.shape(union), np.nan), where=union > 0))


def shift(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Return count, mean and mean absolute value of after - before, and the share of it that is 0 (`unchanged`).

    Both are of shape (n,), NaN where unknown; only a count of 0 is returned where no pair is known.
    """
    moved = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    moved = moved[~np.isnan(moved)]
    if not len(moved):
        return {"count": 0}
    return {
        "count": len(moved),
        "mean": float(moved.mean()),
        "mean_absolute": float(np.abs(moved).mean()),
        "unchanged": float((moved == 0).mean()),
    }


def cohens_kappa(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Cohen's kappa of two judges' answers: their agreement beyond that of chance (Cohen 1960).

        kappa = (o - e) / (1 - e),  o = share of equal answers,  e = p q + (1 - p) (1 - q)

    p and q are each judge's share of True. 1 is full agreement, 0 that of chance; below 0 they agree less than by
    chance. J. Cohen, A Coefficient of Agreement for Nominal Scales, Educational and Psychological Measurement 20, 1960.

    Args:
        first: bool, shape (n,): one judge's answers.
        second: the other's about the same items, likewise.

    Returns:
        a number of at most 1; None without items, and where both gave one and the same answer to all (e = 1).
    """
    if not len(first):
        return None
    p, q = float(np.mean(first)), float(np.mean(second))
    by_chance = p * q + (1 - p) * (1 - q)
    if by_chance >= 1:
        return None
    return (float(np.mean(np.asarray(first) == np.asarray(second))) - by_chance) / (1 - by_chance)
