"""Random samples of rows, each determined by the seed and the rows alone, whatever the shards."""

import numpy as np

from hnmine.science.sampling import random_order


def sample_rows(rows: int, size: int, seed: int, salt: int = 0x6261636B) -> np.ndarray:
    """Return a random sample of `size` of the rows 0 to `rows` - 1, ascending int64; all of them where there are fewer.

    Args:
        rows: number of rows.
        size: wanted size of the sample.
        seed: any whole number >= 0.
        salt: samples with different salts are independent. The default is that of the background documents.
    """
    generator = np.random.default_rng([seed, salt])
    return np.sort(generator.choice(rows, size=min(size, rows), replace=False)).astype(np.int64)


def sample_share(rows: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return whether each row is in a random sample of about that share of all rows, bool, shape (n,).

    Each row is decided alone, so that a sample can be taken shard by shard.

    Args:
        rows: int64, shape (n,).
        share: probability of each row; 1 or more takes all.
        seed: any whole number in [0, 2**63).
    """
    numbers = random_order(np.full(len(rows), seed ^ 0x7368, dtype=np.uint64), rows)
    return np.asarray(numbers.astype(np.float64) < share * 2.0**64)


def sample_stable(rows: int, size: int, seed: int) -> np.ndarray:
    """Return a sample as `sample_rows` does, in which most rows stay when rows are added at the end."""
    order = np.argsort(random_order(np.full(rows, seed ^ 0x6F76, dtype=np.uint64), np.arange(rows)), kind="stable")
    return np.sort(order[:size])
