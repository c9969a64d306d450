"""The hidden-positive protocol: labelled positives are hidden to measure how many false negatives a filter keeps."""

import numpy as np

from hnmine.arrays.groups import rank_in_run
from hnmine.arrays.random_numbers import random_numbers


def pick_known(query_rows: np.ndarray, positives: np.ndarray, hidings: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positive that stays known in each hiding of each query with two or more positives.

    Args:
        query_rows: int64, shape (queries,): rows of the queries; with the seed they decide the choice.
        positives: int64, shape (queries,): number of positives of each query.
        hidings: the most hidings of one query, which never has more than it has positives.
        seed: any whole number that is not negative.

    Returns:
        (query, known), int64: the query's position, ascending, and the place of its known positive among its own,
        without repeats. Queries with fewer than two positives are left out.
    """
    owner = np.repeat(np.arange(len(positives)), np.where(positives > 1, positives, 0))
    place = rank_in_run(owner)
    seeds = random_numbers(np.full(len(owner), seed, dtype=np.uint64), query_rows[owner])
    order = np.lexsort((random_numbers(seeds, place), owner))
    kept = np.sort(order[place < hidings])
    return owner[kept], place[kept]


def fold_of(query_rows: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each query, int64 in [0, folds), from its row and the seed alone."""
    numbers = random_numbers(np.full(len(query_rows), seed ^ 0x666F6C64, dtype=np.uint64), query_rows)
    return (numbers % np.uint64(folds)).astype(np.int64)
