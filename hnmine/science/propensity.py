"""Propensity: the share of relevant documents that are labelled, and true rates estimated with it.

The assumption is that labelled documents are a random part of the relevant ones, *selected completely at random*
(Elkan and Noto, Learning Classifiers from Only Positive and Unlabeled Data, KDD 2008): each relevant document is
labelled with the same probability c. Where easy ones are labelled more often, the unlabelled ones are harder than the
hidden ones that stand for them.

Of the negatives that the hidden-positive protocol chooses, a share h are hidden positives: relevant and labelled. With
u relevant and unlabelled, c = h / (h + u). A mined set knows all labels, so its negatives are the protocol's without
the h, and the rate of false negatives among them is r = u / (1 - h).
"""

import numpy as np


def propensity(hidden: float, false: float) -> float | None:
    """Return c = h / (h + (1 - h) r), the estimated share of relevant documents that are labelled; in (0, 1].

    Args:
        hidden: h, share of hidden positives among the negatives that the protocol chooses, in [0, 1].
        false: r, share of false negatives among the negatives of the mined set, as judged, in [0, 1].

    Returns:
        1 where r = 0; None where h = 0, of which nothing can be concluded.
    """
    return None if hidden <= 0 else hidden / (hidden + (1 - hidden) * false)


def false_rate(hidden: float, labelled: float) -> float:
    """Return r = min(1, h (1 - c) / (c (1 - h))), the estimated rate of false negatives in a mined set.

    It inverts `propensity`, for a setting whose rate of hidden positives is h; 1 where h = 1 and c < 1.

    Args:
        hidden: h, in [0, 1].
        labelled: c, in (0, 1].
    """
    odds = labelled * (1 - hidden)
    if odds <= 0:
        return 0.0 if labelled >= 1 else 1.0
    return min(1.0, hidden * (1 - labelled) / odds)


def propensity_interval(
    hidden: float, hidden_interval: tuple[float, float], false: float, false_interval: tuple[float, float]
) -> tuple[float, float]:
    """Return an interval of `propensity` from those of h and r, which are measured on different data.

    ln((1 - c) / c) = ln r - ln(h / (1 - h)) is a difference of two independent estimates; its limits are combined from
    theirs by the square root of the sum of squared distances (Zou and Donner, Construction of confidence limits about
    effect measures, Statistics in Medicine 27, 2008). An end of h or r at 0 makes c's end 0 or 1. Where h or r itself
    is 0 or 1, the interval is that of the ends.

    Args:
        hidden: h.
        hidden_interval: its interval.
        false: r.
        false_interval: its interval.
    """
    (h_low, h_high), (r_low, r_high) = hidden_interval, false_interval
    if not (0 < hidden < 1 and false > 0):
        return (propensity(h_low, r_high) or 0.0), (propensity(h_high, r_low) or 1.0)
    with np.errstate(divide="ignore"):
        h, h1, h2 = (float(np.log(x) - np.log1p(-x)) for x in (hidden, h_low, h_high))
        r, r1, r2 = (float(np.log(x)) for x in (false, r_low, r_high))
    middle = r - h
    low, high = middle - float(np.hypot(r - r1, h2 - h)), middle + float(np.hypot(r2 - r, h - h1))
    return float(1 / (1 + np.exp(high))), float(1 / (1 + np.exp(low)))
