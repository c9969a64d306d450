"""Promised rates: the fullest of many settings whose rate is at most a stated one, with 95% confidence."""

import numpy as np

from hnmine.science.statistics import clustered_upper_bounds

STARTS = (0.1, 0.25, 0.5, 0.9)
"""Shares of the trials of the fullest setting: where the tests of a promised rate start."""
BOUND_Z = 2.241403
"""Normal quantile of 1 - 5% / 4, one-sided: 5% for a mistake, shared by the four `STARTS`."""


def promised(hits: np.ndarray, trials: np.ndarray, rate: float) -> int | None:
    """Return the fullest setting of which a rate of at most `rate` can be promised with 95% confidence; None for none.

    Of many settings some seem to keep to the rate by luck, so taking the fullest whose bound is within `rate` would
    break the promise too often. Settings are tested by `fixed_sequence` instead. A setting passes if its upper bound
    (`clustered_upper_bounds`, at level 5% / 4) is at most `rate`. The four starts are the first settings with `STARTS`
    of the trials of the last; they depend on no hit and not on `rate`, so a lower rate never gives a fuller setting.

    Args:
        hits: of each cluster under each setting, int64, shape (clusters, settings).
        trials: at least the hits, likewise; their sums over clusters never fall from one setting to the next.
        rate: above 0.
    """
    chosen = trials.sum(axis=0)
    if not len(chosen) or not chosen[-1]:
        return None
    passes = clustered_upper_bounds(hits, trials, BOUND_Z) <= rate
    return fixed_sequence(passes, np.searchsorted(chosen, np.array(STARTS) * chosen[-1]))


def fixed_sequence(passes: np.ndarray, starts: np.ndarray) -> int | None:
    """Return the position of the last hypothesis that a fixed-sequence test with several starts rejects; None for none.

    Hypotheses ("this setting breaks the promise") stand in an order that does not depend on what is measured. From each
    of the J starts they are tested one after another until the first that is not rejected. The probability that any
    true hypothesis is rejected is at most delta if each test has level delta / J: from one start only the first true
    hypothesis can be wrongly rejected, and the starts share delta (Angelopoulos, Bates, Candes, Jordan and Lei, Learn
    then Test, arXiv 2110.01052, section 3.2, algorithm 2).

    Args:
        passes: bool, shape (n,): whether the test at level delta / J rejects each hypothesis.
        starts: int64, shape (J,): positions in [0, n).
    """
    passed = np.asarray(passes, dtype=bool)
    failures = np.append(np.flatnonzero(~passed), len(passed))
    # the first failure at or after each start
    ends = failures[np.searchsorted(failures, starts)]
    reached = ends[ends > starts] - 1
    return int(reached.max()) if len(reached) else None
