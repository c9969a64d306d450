"""Statistics of measured numbers: confidence intervals, significance tests and effect sizes."""

import numpy as np

from hnmine.arrays.random_numbers import random_numbers

RESAMPLES = 1000
"""Enough for the ends of a 95% interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13)."""

GROUPS = 10_000
"""Rows are first added up in this many random groups where there are at least twice as many."""
# Makes the random groups independent of the resamples.
_SALT = 0x67726F7570
# (resample, query) draws made at once.
_AT_ONCE = 1 << 17
_SIGNS_AT_ONCE = 256


def bootstrap_ratios(top: np.ndarray, bottom: np.ndarray, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Return the ratios sum(top) / sum(bottom) of resamples of the rows, drawn with replacement (Efron, 1979).

    All columns share the resamples, so that differences between two of them are paired. Takes memory for 131,072 draws,
    or one resample.

    Of many rows, random groups are drawn instead, each with the sum of its rows, as in the grouped jackknife
    (Quenouille, Notes on Bias in Estimation, Biometrika 43, 1956). Sums of random groups of independent rows are
    independent, so the spread of a thousand resamples of `GROUPS` groups is that of a thousand resamples of all rows.

    Args:
        top: numerators of m numbers from each of n queries, shape (n, m).
        bottom: their denominators, at least 0, shape (n, m); 1 for a mean over all queries.
        seed: any whole number; it and n decide the draws.
        resamples: number of resamples.

    Returns:
        float64, shape (resamples, m); NaN where a denominator is 0.
    """
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    m = top.shape[1]
    out = np.full((resamples, m), np.nan)
    if not len(top):
        return out
    both = _grouped(np.concatenate([top, bottom], axis=1).T, seed)
    n = both.shape[1]
    items = np.arange(n)
    seeds = random_numbers(np.full(resamples, seed & (2**64 - 1), dtype=np.uint64), np.arange(resamples))
    width = max(1, _AT_ONCE // n)
    for first in range(0, resamples, width):
        own = seeds[first : first + width]
        drawn = (random_numbers(own[:, None], items) % np.uint64(n)).view(np.int64)
        drawn += np.arange(len(own))[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=len(own) * n).reshape(len(own), n).astype(np.float64)
        # not a matrix product, whose last bits depend on the number of threads
        sums = np.einsum("rn,mn->rm", counts, both)
        np.divide(sums[:, :m], sums[:, m:], out=out[first : first + width], where=sums[:, m:] > 0)
    return out


def _grouped(parts: np.ndarray, seed: int) -> np.ndarray:
    """Return parts, shape (m, n), unchanged, or summed in `GROUPS` random groups of about equal size."""
    n = parts.shape[1]
    if n < 2 * GROUPS:
        return np.ascontiguousarray(parts)
    order = np.argsort(random_numbers(np.full(n, (seed ^ _SALT) & (2**64 - 1), dtype=np.uint64), np.arange(n)))
    starts = np.arange(GROUPS) * n // GROUPS
    return np.asarray(np.add.reduceat(parts[:, order], starts, axis=1))


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the (1 - level) / 2 and (1 + level) / 2 quantiles of each column, its percentile interval; float64, (m,).

    Values are numbers of resamples, shape (resamples, m); NaN is left out, and a column of NaN gives NaN. Efron,
    Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7, 1979.
    """
    low, high = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        real = values[~np.isnan(values[:, column]), column]
        if len(real):
            low[column], high[column] = np.quantile(real, [(1 - level) / 2, (1 + level) / 2])
    return low, high


def basic_interval(value: float, resamples: np.ndarray, level: float = 0.95) -> list[float]:
    """Return the basic bootstrap interval of a share, [2 v - high, 2 v - low] within [0, 1] and around v = `value`.

    It mirrors the percentile interval [low, high] of the resampled shares (NaN is left out) at v. Where they lie to one
    side of v, as those of a biased estimate do, v probably lies to the same side of the truth, which mirroring corrects
    (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 5.2).
    """
    low, high = percentile_interval(resamples[:, None], level)
    if np.isnan(low[0]):
        return [value, value]
    return [float(np.clip(2 * value - high[0], 0, value)), float(np.clip(2 * value - low[0], value, 1))]


def wilson_interval(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of the share p = hits / n of n trials (Wilson, JASA 22, 1927); (0, 1) for n = 0.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), with z = 1.96 for 95%
    """
    if trials == 0:
        return 0.0, 1.0
    return wilson_of_share(hits / trials, trials, z)


def wilson_of_share(share: float, trials: float, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's interval of a share of `trials` > 0 independent trials, a number that need not be whole."""
    low, high = _wilson(np.array([share]), np.array([float(trials)]), z)
    return float(low[0]), float(high[0])


def _wilson(share: np.ndarray, n: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's intervals of shares p of n > 0 independent trials; float64, shape (m,) each."""
    p, w = share, z * z / n
    centre, spread = p + w / 2, z * np.sqrt(p * (1 - p) / n + w / (4 * n))
    low, high = (centre - spread) / (1 + w), (centre + spread) / (1 + w)
    # rounding would miss the exact ends of p = 0 and p = 1
    return np.where(p > 0, np.maximum(0.0, low), 0.0), np.where(p < 1, np.minimum(1.0, high), 1.0)


def clustered_upper_bounds(hits: np.ndarray, trials: np.ndarray, z: float = 1.644854) -> np.ndarray:
    """Return one-sided upper bounds of shares whose trials come in clusters, by Wilson's interval; 1 for no trials.

    Trials of one cluster are alike, so n of them tell less than n independent ones. Wilson's formula is given n / deff
    trials, where deff is the design effect, the variance of the ratio estimate over that of independent trials and at
    least 1 (Kish, Survey Sampling, 1965, section 8.2; its use in Wilson's interval: Korn and Graubard, Survey
    Methodology 24, 1998):

        p = sum h / sum t,  deff = k / (k - 1) sum (h - p t)^2 / (p (1 - p) sum t)

    k counts the clusters with trials. With k < 2, or p = 0 or 1, deff is unknown and taken as 1. A bound is never below
    Wilson's for independent trials, nor below p.

    Args:
        hits: h, the hits of each cluster, of each of m shares, int64, shape (clusters, m).
        trials: t >= h, the trials, likewise.
        z: 1.64 for 95%, one-sided.

    Returns:
        float64, shape (m,).
    """
    h, n, k = hits.sum(axis=0).astype(np.float64), trials.sum(axis=0).astype(np.float64), (trials > 0).sum(axis=0)
    p = np.divide(h, n, out=np.zeros(len(n)), where=n > 0)
    effect, known = np.ones(len(n)), (h > 0) & (h < n) & (k > 1)
    squares = ((hits - p * trials) ** 2).sum(axis=0)[known]
    of, q = k[known], p[known]
    effect[known] = np.maximum(1.0, of / (of - 1) * squares / (q * (1 - q) * n[known]))
    bounds = np.ones(len(n))
    any_ = n > 0
    bounds[any_] = _wilson(p[any_], n[any_] / effect[any_], z)[1]
    return bounds


def newcombe_interval(
    hits: int, trials: int, other_hits: int, other_trials: int, z: float = 1.959964
) -> tuple[float, float]:
    """Return an interval of the difference q - p of two shares, p = hits / n first, of independent trials.

    With the Wilson intervals (l, u) of p and (l', u') of q it is d - sqrt((q - l')^2 + (u - p)^2) to
    d + sqrt((u' - q)^2 + (p - l)^2), where d = q - p: Newcombe, Statistics in Medicine 17, 1998, method 10. It is
    (-1, 1) where either share has no trials.
    """
    if not trials or not other_trials:
        return -1.0, 1.0
    p, q = hits / trials, other_hits / other_trials
    (low, high), (other_low, other_high) = (
        wilson_interval(hits, trials, z),
        wilson_interval(other_hits, other_trials, z),
    )
    d = q - p
    return d - float(np.hypot(q - other_low, high - p)), d + float(np.hypot(other_high - q, p - low))


def cohens_d(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return Cohen's d = (mean(a) - mean(b)) / s, where s is the pooled standard deviation.

        s^2 = ((n_a - 1) var(a) + (n_b - 1) var(b)) / (n_a + n_b - 2)

    Variances are divided by n - 1. By Cohen's convention 0.2 is small, 0.5 medium and 0.8 large (J. Cohen, Statistical
    Power Analysis for the Behavioral Sciences, 2nd ed. 1988, ch. 2).

    Args:
        a: finite numbers, shape (n,).
        b: finite numbers, shape (m,).

    Returns:
        a number without unit, positive where a is larger; 0 where nothing varies and the means are equal; None where d
        is undefined: a group is empty, n + m < 3, or nothing varies and the means differ.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not len(a) or not len(b) or len(a) + len(b) < 3:
        return None
    difference = float(a.mean() - b.mean())
    squares = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum())
    if squares <= 0:
        return 0.0 if difference == 0 else None
    return difference / float(np.sqrt(squares / (len(a) + len(b) - 2)))


def randomisation_test(differences: np.ndarray, seed: int, flips: int = 9_999) -> float:
    """Return the two-sided p-value of Fisher's paired randomisation test for a mean difference of 0.

    Under the null hypothesis each query's difference could have either sign. p is the share of random sign
    assignments, the real one included, whose mean is at least as far from 0 (recommended for retrieval by Smucker,
    Allan and Carterette, CIKM 2007). It is in [1 / (flips + 1), 1], and 1 for no queries.

    `differences` are one system's numbers minus the other's, float, shape (queries,).
    """
    if not len(differences):
        return 1.0
    generator = np.random.default_rng([seed, 0x70616972])
    real = abs(float(differences.sum()))
    # sums of the same numbers in another order differ in their last bits, and count as equal
    limit = real - 1e-12 * float(np.abs(differences).sum())
    hits = 0
    for first in range(0, flips, _SIGNS_AT_ONCE):
        signs = generator.integers(0, 2, size=(min(_SIGNS_AT_ONCE, flips - first), len(differences)), dtype=np.int8)
        hits += int((np.abs((2 * signs - 1) @ differences) >= limit).sum())
    return (1 + hits) / (flips + 1)
