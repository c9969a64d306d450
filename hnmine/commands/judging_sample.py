"""A stratified random sample of a run's negatives, for people or a language model to judge."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import random_numbers
from hnmine.science.survey import allocate

STRATA = 5
"""Strata of retrieved negatives, by quantiles of their risk; negatives that are no candidates are one more."""


class Pairs(NamedTuple):
    """Distinct (query, document) pairs of a set's negatives, ascending.

    Attributes:
        query: row of each query, int64.
        document: row of each document, int64.
        risk: how likely each is a false negative, float64 in [0, 1]; NaN of those that are no candidates.
    """

    query: np.ndarray
    document: np.ndarray
    risk: np.ndarray


class Drawn(NamedTuple):
    """Sampled pairs, in random order.

    Attributes:
        places: their positions among the pairs, int64.
        strata: the stratum of each, int64, from 0, the least risky first.
        sizes: pairs of each stratum, int64, shape (strata,).
        numbers: sampled pairs of each stratum, int64, shape (strata,).
    """

    places: np.ndarray
    strata: np.ndarray
    sizes: np.ndarray
    numbers: np.ndarray


def strata_of(risk: np.ndarray, number: int) -> np.ndarray:
    """Return the stratum of each pair, int64: quantile groups of the risk from 0, then one for NaN if there are any.

    There are at most `STRATA` groups, few enough for ten of `number` pairs each. Their sizes differ by at most one.
    """
    known = ~np.isnan(risk)
    count = int(known.sum())
    groups = max(1, min(STRATA, number // 10, count))
    out = np.zeros(len(risk), dtype=np.int64)
    order = np.flatnonzero(known)[np.argsort(risk[known], kind="stable")]
    out[order] = np.arange(count) * groups // max(1, count)
    out[~known] = groups if count else 0
    return out


def draw(pairs: Pairs, number: int, seed: int, *, calibrated: bool) -> Drawn:
    """Return a stratified random sample of `number` pairs, or all if there are fewer.

    Each stratum is sampled without replacement, so a pair's inclusion probability is numbers / sizes of its stratum. A
    pair's place in the order depends on the seed and its rows alone; the first lines are a random sample of all lines.

    Args:
        pairs: at least one.
        number: pairs to draw.
        seed: any whole number.
        calibrated: whether the risk is a probability, which then says how many to draw of each stratum: see
            `hnmine.science.survey.allocate`. Otherwise it only orders.
    """
    strata = strata_of(pairs.risk, number)
    sizes = np.bincount(strata)
    spreads = np.ones(len(sizes))
    if calibrated:
        risk = np.where(np.isnan(pairs.risk), 0.0, pairs.risk)
        mean = np.bincount(strata, risk, minlength=len(sizes)) / sizes
        spreads = np.sqrt(mean * (1 - mean))
    numbers = allocate(sizes, spreads, number)
    seeds = random_numbers(np.full(len(strata), seed & (2**64 - 1), dtype=np.uint64), pairs.query)
    keys = random_numbers(seeds, pairs.document)
    order = np.lexsort((keys, strata))
    starts = np.cumsum(sizes) - sizes
    place = np.arange(len(order)) - starts[strata[order]]
    drawn = order[place < numbers[strata[order]]]
    drawn = drawn[np.argsort(keys[drawn], kind="stable")]
    return Drawn(drawn, strata[drawn], sizes, numbers)


def no_candidates(chosen: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return query row, document row and score of chosen negatives that are no candidates, such as random documents."""
    positions, rows = Ragged.from_arrow(chosen.column("positions")), Ragged.from_arrow(chosen.column("doc_rows"))
    own = positions.values < 0
    scores = Ragged.from_arrow(chosen.column("scores")).values
    return chosen.column("query_row").to_numpy()[rows.owners[own]], rows.values[own], scores[own]
