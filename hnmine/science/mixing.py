"""Pairs of vectors to mix into synthetic negatives, with their coefficients."""

from typing import NamedTuple

import numpy as np

from hnmine.arrays.random_numbers import random_numbers

QUERY = -1
"""Index that stands for the query's own vector."""


class Mixtures(NamedTuple):
    """Synthetic negatives of some examples; one value a mixture, those of an example together.

    Attributes:
        first: int64, index among the example's negatives, or `QUERY`.
        second: int64, index among the example's negatives, another than `first`.
        alpha: float32 in (0, 1), the share of `first`; below 1/2 where that is the query.
        lengths: int64, shape (examples,): mixtures of each example.
    """

    first: np.ndarray
    second: np.ndarray
    alpha: np.ndarray
    lengths: np.ndarray


def draw_mixtures(seeds: np.ndarray, counts: np.ndarray, pairs: int, query_pairs: int) -> Mixtures:
    """Return pairs whose mixed vectors serve as further negatives.

        h = (alpha v_first + (1 - alpha) v_second) / |alpha v_first + (1 - alpha) v_second|

    MoCHi (Kalantidis et al., NeurIPS 2020, arXiv 2010.01028): two hard negatives with alpha uniform in (0, 1), and the
    query with a hard negative with alpha uniform in (0, 1/2), so that the negative's share is larger. Both are drawn
    uniformly, a pair possibly more than once. MoCHi draws from the nearest vectors of its memory; here the
    negatives are those that were mined. Each example's draw depends on its own seed and count alone.

    Args:
        seeds: uint64, shape (examples,).
        counts: int64, shape (examples,): negatives of each. Fewer than two give no pairs of negatives, none nothing.
        pairs: pairs of negatives for each example.
        query_pairs: pairs of the query and a negative for each; they come after the others.
    """
    total = pairs + query_pairs
    numbers = random_numbers(seeds[:, None], np.arange(3 * total)).reshape(len(seeds), 3, total)
    of_query = np.arange(total) >= pairs
    n = np.maximum(counts, 1).astype(np.uint64)[:, None]
    others = np.where(of_query, n, np.maximum(n, 2) - 1)
    first = np.where(of_query, QUERY, (numbers[:, 0] % n).astype(np.int64))
    second = (numbers[:, 1] % others).astype(np.int64)
    second += ~of_query & (second >= first)
    alpha = ((numbers[:, 2] >> np.uint64(41)).astype(np.float64) + 0.5) * 2.0**-23  # exact in float32: never 0 or 1
    alpha = np.where(of_query, alpha / 2, alpha).astype(np.float32)
    there = np.where(of_query, counts[:, None] >= 1, counts[:, None] >= 2)
    return Mixtures(first[there], second[there], alpha[there], there.sum(axis=1))
