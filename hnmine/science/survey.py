"""Estimates from a stratified random sample: how many to draw of each stratum, and a share with its interval."""

from typing import NamedTuple

import numpy as np

from hnmine.science.statistics import wilson_of_share


class Share(NamedTuple):
    """An estimated share with its 95% interval, and the estimated number of units that it is a share of."""

    value: float
    low: float
    high: float
    units: float


def allocate(sizes: np.ndarray, spreads: np.ndarray, number: int) -> np.ndarray:
    """Return how many units to draw of each stratum, int64, shape (strata,): their sum is min(number, sum of sizes).

    Every stratum gets two units first, or all it has. Half of the rest is in proportion to N, the other half to N s,
    the most precise allocation for a total (Neyman, On the Two Different Aspects of the Representative Method, Journal
    of the Royal Statistical Society 97, 1934). The first half keeps wrong spreads from emptying a stratum. Remainders
    go to the largest fractions, ties to the first stratum.

    Args:
        sizes: N, units of each stratum, int64, at least 1.
        spreads: s, the standard deviation that is expected within each stratum, at least 0.
        number: units to draw in all.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    drawn = np.minimum(sizes, 2)
    if number <= int(drawn.sum()):
        return _shared_out(drawn, drawn.astype(np.float64), number)
    weight = sizes * np.asarray(spreads, dtype=np.float64)
    share = sizes / sizes.sum()
    mixed = share if weight.sum() <= 0 else (share + weight / weight.sum()) / 2
    return np.asarray(drawn + _shared_out(sizes - drawn, mixed, number - int(drawn.sum())))


def _shared_out(room: np.ndarray, weight: np.ndarray, number: int) -> np.ndarray:
    """Return whole numbers in proportion to weights, at most `room` each, that sum to min(number, sum of room)."""
    out = np.zeros(len(room), dtype=np.int64)
    while number > 0 and (room > out).any():
        own = np.where(room > out, weight + 1e-12, 0.0)
        wanted = number * own / own.sum()
        step = np.minimum(np.floor(wanted).astype(np.int64), room - out)
        if not step.any():
            first = np.lexsort((np.arange(len(room)), -wanted))
            step[[place for place in first if room[place] > out[place]][:number]] = 1
        out += step
        number -= int(step.sum())
    return out


def stratified_share(
    values: np.ndarray, counts: np.ndarray, strata: np.ndarray, sizes: np.ndarray, z: float = 1.959964
) -> Share | None:
    """Return the share of hits among the units that count, from a stratified random sample; None if no unit counts.

    With N_h units and n_h sampled ones in stratum h, each sampled unit stands for N_h / n_h (Horvitz and Thompson, JASA
    47, 1952). The share is the ratio of the two estimated totals (Hajek, 1971), R = Y / D:

        D = sum_h N_h mean_h(d),  Y = sum_h N_h mean_h(d y)
        var(R) = sum_h N_h^2 (1 - n_h / N_h) var_h(d (y - R)) / n_h / D^2

    as for a domain of the population (Cochran, Sampling Techniques, 3rd ed. 1977, sections 5A.14 and 6.11). Drawing is
    of units within strata, so the variance needs no clusters. The variance within a stratum is not estimated below that
    of its share with one more hit and one more miss, weighted by R: a stratum without sampled hits may have some (the
    correction vanishes with n_h, and where all units are sampled). The interval is Wilson's for R (1 - R) / var(R)
    independent trials (Korn and Graubard, Survey Methodology 24, 1998).

    Args:
        values: y, the outcome of each sampled unit in [0, 1], float64, shape (n,).
        counts: d, whether it belongs to the units of interest, bool, shape (n,); all True for the whole population.
        strata: h of each, int64, shape (n,); every stratum has a sampled unit.
        sizes: N_h, int64, shape (strata,).
        z: 1.96 for 95%.
    """
    y, d = np.asarray(values, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    n = np.bincount(strata, minlength=len(sizes)).astype(np.float64)
    weight = (sizes / n)[strata]
    units = float((weight * d).sum())
    if units <= 0:
        return None
    share = float((weight * d * y).sum()) / units
    left = 1 - n / sizes
    total = np.zeros(len(sizes))
    for stratum in range(len(sizes)):
        own = strata == stratum
        z_own = (d * (y - share))[own]
        spread = float(((z_own - z_own.mean()) ** 2).sum()) / max(1.0, n[stratum] - 1)
        part = float(d[own].mean())
        hits = (float((d * y)[own].sum()) + 2 * share * part) / (n[stratum] + 2)
        rate = min(1.0, hits / part) if part else 0.0
        total[stratum] = sizes[stratum] ** 2 * left[stratum] * max(spread, part * rate * (1 - rate)) / n[stratum]
    variance = float(total.sum()) / units**2
    unlike = float((weight**2 * left[strata] * d).sum()) / units**2  # var(R) over R (1 - R) where all strata are alike
    if share in (0, 1):  # where all are hits, or none, the variance is 0, or what rounding leaves
        variance = 0.0
    trials = share * (1 - share) / variance if variance > 0 else 1 / unlike if unlike > 0 else np.inf
    low, high = wilson_of_share(share, trials, z) if np.isfinite(trials) else (share, share)
    return Share(share, low, high, units)
