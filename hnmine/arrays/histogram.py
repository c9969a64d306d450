"""Histograms with round bin edges, the same in whatever order and pieces the values come."""

import numpy as np

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def borders(low: float, high: float, bins: int = 40) -> np.ndarray:
    """Return the edges of at most `bins` + 1 bins of one round width that cover [low, high]; ascending float64.

    The width is the smallest of 1, 2, 2.5 and 5 times a power of ten of which `bins` cover high - low. Edges are
    multiples of the width, rounded to 12 digits; the outer ones are moved where rounding would leave an end outside.

    Args:
        low: finite.
        high: finite, at least low. Where both are equal, a range of a thousandth of them (at least 1e-6) is covered.
        bins: at least 1.

    Raises:
        ValueError: low or high is not finite, or high is below low.
    """
    if not (np.isfinite(low) and np.isfinite(high)) or high < low:
        raise ValueError(f"no borders from {low} to {high}")
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)
    power = 10.0 ** np.floor(np.log10(span / bins))
    width = next(step * power for step in _STEPS if step * power * bins >= span * (1 - 1e-12))
    first, last = int(np.floor(low / width)), int(np.ceil(high / width))
    edges = np.array([float(f"{number * width:.12g}") for number in range(first, max(last, first + 1) + 1)])
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return edges


def counts(values: np.ndarray, edges: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
    """Return the number of values (n,) in each bin, as assigned by `bins`; int64, shape (m,).

    Edges are as in `bins`. `times` are whole numbers, shape (n,): how often each value counts; once by default.
    """
    return tally(bins(values, edges), len(edges) - 1, times)


def bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the index i of the bin [e_i, e_i+1) of each value; int64, in [0, m].

    The last bin is closed; values outside and NaN get m. The bin is guessed by a division, as if all had one width, and
    corrected until it fits.

    Args:
        values: shape (n,).
        edges: float64, strictly ascending, shape (m + 1,).
    """
    values, last = np.asarray(values, dtype=np.float64), len(edges) - 2
    outside = ~((values >= edges[0]) & (values <= edges[-1]))
    held = np.where(outside, edges[0], values) if outside.any() else values
    guess = (held - edges[0]) * ((last + 1) / (edges[-1] - edges[0]))
    place = np.clip(guess, 0, last).astype(np.int64)
    while True:
        below, above = held < edges[place], (held >= edges[place + 1]) & (place < last)
        if not below.any() and not above.any():
            break
        place += above.astype(np.int64) - below
    place[outside] = last + 1
    return np.asarray(place)


def tally(place: np.ndarray, count: int, times: np.ndarray | None = None) -> np.ndarray:
    """Return how often each of the bins 0 .. count - 1 occurs, int64, shape (count,); `times` as in `counts`."""
    return np.bincount(place, weights=times, minlength=count)[:count].astype(np.int64)
