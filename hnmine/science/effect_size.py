"""Effect size: the difference of two groups' means in standard deviations."""

import numpy as np


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
