"""Significance of a difference between two systems on the same queries."""

import numpy as np

_AT_ONCE = 256


def randomisation_test(differences: np.ndarray, seed: int, flips: int = 9_999) -> float:
    """Return the two-sided p-value of Fisher's paired randomisation test for a mean difference of 0.

    Under the null hypothesis each query's difference could have either sign. p is the share of random sign
    assignments, the real one included, whose mean is at least as far from 0 (recommended for retrieval by Smucker,
    Allan and Carterette, CIKM 2007). It is in [1 / (flips + 1), 1], and 1 for no queries.

    Args:
        differences: float, shape (queries,): one system's number minus the other's.
        seed: of the signs.
        flips: number of random assignments.
    """
    if not len(differences):
        return 1.0
    generator = np.random.default_rng([seed, 0x70616972])
    real = abs(float(differences.sum()))
    # sums of the same numbers in another order differ in their last bits, and count as equal
    limit = real - 1e-12 * float(np.abs(differences).sum())
    hits = 0
    for first in range(0, flips, _AT_ONCE):
        signs = generator.integers(0, 2, size=(min(_AT_ONCE, flips - first), len(differences)), dtype=np.int8)
        hits += int((np.abs((2 * signs - 1) @ differences) >= limit).sum())
    return (1 + hits) / (flips + 1)
