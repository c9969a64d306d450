"""Intervals without assumptions on how a number is distributed: the bootstrap over queries."""

import numpy as np

from hnmine.science.sampling import numbered, random_order, seeded

RESAMPLES = 1000
"""Enough for the ends of a 95% interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13)."""

GROUPS = 10_000
"""From twice as many rows on, rows are first added up in so many random groups."""
# Sets the groups apart from the resamples.
_SALT = 0x67726F7570
# (resample, query) numbers that are drawn at a time.
_AT_ONCE = 1 << 17


def resampled(top: np.ndarray, bottom: np.ndarray, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Return ratios sum(top) / sum(bottom) over resamples of the rows, drawn with replacement (Efron, 1979).

    All columns share the resamples, so that differences between two of them are paired.

    Of many rows, random groups are drawn instead, each with what its rows add, as in the grouped jackknife (Quenouille,
    Notes on Bias in Estimation, Biometrika 43, 1956): the sums of random groups of independent rows are independent
    too, and the spread of a thousand resamples of `GROUPS` of them is that of a thousand of all rows.

    Args:
        top: float, shape (n, m): what each of n queries adds to the numerator of each of m numbers.
        bottom: float >= 0, shape (n, m): to the denominator; 1 for a mean over all queries.
        seed: any whole number; it and n decide the draws.
        resamples: how many.

    Returns:
        float64, shape (resamples, m); NaN where a denominator is 0. It takes memory for 131,072 draws, or one
        resample.
    """
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    m = top.shape[1]
    out = np.full((resamples, m), np.nan)
    if not len(top):
        return out
    both = _grouped(np.concatenate([top, bottom], axis=1).T, seed)
    n = both.shape[1]
    items = numbered(np.arange(n))
    seeds = random_order(np.full(resamples, seed & (2**64 - 1), dtype=np.uint64), np.arange(resamples))
    width = max(1, _AT_ONCE // n)
    for first in range(0, resamples, width):
        own = seeds[first : first + width]
        drawn = (seeded(own[:, None], items) % np.uint64(n)).view(np.int64)
        drawn += np.arange(len(own))[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=len(own) * n).reshape(len(own), n).astype(np.float64)
        # einsum and no matrix product: its last bits do not depend on the number of threads
        sums = np.einsum("rn,mn->rm", counts, both)
        np.divide(sums[:, :m], sums[:, m:], out=out[first : first + width], where=sums[:, m:] > 0)
    return out


def _grouped(parts: np.ndarray, seed: int) -> np.ndarray:
    """Return parts, shape (m, n), as they are, or summed in `GROUPS` random groups of about one size."""
    n = parts.shape[1]
    if n < 2 * GROUPS:
        return np.ascontiguousarray(parts)
    order = np.argsort(random_order(np.full(n, (seed ^ _SALT) & (2**64 - 1), dtype=np.uint64), np.arange(n)))
    starts = np.arange(GROUPS) * n // GROUPS
    return np.asarray(np.add.reduceat(parts[:, order], starts, axis=1))


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the (1 - level) / 2 and (1 + level) / 2 quantiles of each column: the percentile interval.

    Efron, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7, 1979.

    Args:
        values: resampled numbers, shape (resamples, m); NaN is left out.
        level: share of the resamples inside.

    Returns:
        (low, high), float64, shape (m,); NaN for a column of NaN alone.
    """
    low, high = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        real = values[~np.isnan(values[:, column]), column]
        if len(real):
            low[column], high[column] = np.quantile(real, [(1 - level) / 2, (1 + level) / 2])
    return low, high


def basic_interval(value: float, resamples: np.ndarray, level: float = 0.95) -> list[float]:
    """Return the basic bootstrap interval of a share: the percentile interval mirrored at the value itself.

    2 v - high to 2 v - low, within [0, 1], and with v inside. Where resamples are off to one side of v, as they are for
    a biased estimate, v is likely off to the same side of the truth, and the mirrored interval makes up for it (Davison
    and Hinkley, Bootstrap Methods and their Application, 1997, section 5.2).

    Args:
        value: v, the number from all of the data, in [0, 1].
        resamples: the same from each resample, shape (resamples,); NaN is left out.
        level: share of the resamples inside.
    """
    low, high = percentile_interval(resamples[:, None], level)
    if np.isnan(low[0]):
        return [value, value]
    return [float(np.clip(2 * value - high[0], 0, value)), float(np.clip(2 * value - low[0], value, 1))]
