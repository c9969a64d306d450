"""What the labels of near queries say of a candidate: whether it is a positive of them, and of how near a one."""

import numpy as np

from hnmine.arrays.groups import run_starts
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import random_numbers


def near_query_weights(nearness: Ragged) -> np.ndarray:
    """Return the weight of each near query, w_j = exp(z_j - max z) / sum of exp(z - max z), which add to 1 a query.

    This project's own choice: a query one deviation nearer than another weighs e times as much.

    Args:
        nearness: for each query, z of each of its near queries: its similarity in deviations of the query's
            similarities to random queries.

    Returns:
        float64, shape (total,); empty lists have no weights.
    """
    z = nearness.values.astype(np.float64)
    top = np.full(len(nearness), -np.inf)
    np.maximum.at(top, nearness.owners, z)
    weight = np.exp(z - top[nearness.owners])
    total = np.bincount(nearness.owners, weights=weight, minlength=len(nearness))
    return np.asarray(weight / total[nearness.owners])


def near_labels(
    candidates: Ragged, near: Ragged, nearness: np.ndarray, labels: Ragged
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the labels of its query's near queries say of each candidate.

    Args:
        candidates: for each query, document rows of its candidates, none twice.
        near: for each query, rows of its near queries in `labels`.
        nearness: z of each near query, as of `near_query_weights`, ordered as `near.values`.
        labels: for every query, document rows of its positives; repeats count once.

    Returns:
        (z of the nearest near query that has the candidate as a positive, 0 where none has; the share of the weight of
        all near queries that has it as a positive), float64, shape (candidates,).
    """
    weights = near_query_weights(near.with_values(nearness))
    known = labels.take(near.values)
    place, found = candidates.find(near.owners[known.owners], known.values)
    count = max(1, len(candidates.values))
    pairs = np.sort(known.owners[found] * count + place[found])  # faster than np.unique
    of, place = np.divmod(pairs[run_starts(pairs)], count)
    nearest = np.full(len(candidates.values), -np.inf)
    np.maximum.at(nearest, place, nearness[of].astype(np.float64))
    share = np.bincount(place, weights=weights[of], minlength=len(candidates.values))
    return np.where(np.isinf(nearest), 0.0, nearest), share


def one_label(labels: Ragged, rows: np.ndarray, numbers: np.ndarray, seed: int) -> Ragged:
    """Return one label of each query that is asked for, and none of a query without labels.

    The labels of a query are taken in turn, from a random one on: as many consecutive numbers as it has give all of
    them.

    Args:
        labels: for every query, its labels.
        rows: int64, shape (n,): the queries asked for, repeats are fine.
        numbers: int64, shape (n,): which of its labels, from 0.
        seed: any whole number that is not negative; with the row it decides the first label.
    """
    lengths = labels.lengths[rows]
    there = np.flatnonzero(lengths)
    seeds = np.full(len(there), seed ^ 0x6C6162, dtype=np.uint64)
    first = random_numbers(seeds, rows[there]) % lengths[there].astype(np.uint64)
    place = (first.astype(np.int64) + numbers[there]) % lengths[there]
    return Ragged.from_lengths(labels.values[labels.starts[rows[there]] + place], (lengths > 0).astype(np.int64))
