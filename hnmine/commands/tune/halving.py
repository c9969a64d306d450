"""Successive halving by seeds: all settings are trained once, the better half of them more often."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Measure = Callable[[Sequence[str], int], Mapping[str, np.ndarray]]
"""Trains settings with a seed and returns the gain of each test query, NaN for the others; float64, shape (queries,).

A setting is missing where there was no time to train it. Settings with the same set have the same gains.
"""


@dataclass
class Halving:
    """The trainings of all settings.

    Attributes:
        gains: of each setting, those of each query with each of its seeds, from seed 0 on.
        finalists: the settings trained with all seeds.
        seeds: number of seeds of the finalists.
        cut: whether time ran out before all trainings were done.
    """

    gains: dict[str, list[np.ndarray]] = field(default_factory=dict)
    finalists: list[str] = field(default_factory=list)
    seeds: int = 0
    cut: bool = False


def rounds(seeds: int) -> Iterator[range]:
    """Yield the seeds of each round: 0, 1, 2 to 3, 4 to 7 ..., up to `seeds` of them."""
    first = 0
    while first < seeds:
        last = min(max(1, 2 * first), seeds)
        yield range(first, last)
        first = last


def better_half(gains: Mapping[str, Sequence[np.ndarray]], controls: Collection[str]) -> list[str]:
    """Return the settings that go on, in their order: the better half by mean gain, and all controls.

    Settings with the same gains stand for one, and go on together. Half of an odd number is rounded up. All settings
    have the same number of seeds; a query tested with several counts once, with its mean.
    """
    means = {name: _mean(parts) for name, parts in gains.items()}
    different = sorted(set(means.values()), reverse=True)
    least = different[(len(different) + 1) // 2 - 1]
    return [name for name, mean in means.items() if mean >= least or name in controls]


def _mean(parts: Sequence[np.ndarray]) -> float:
    return float(np.nanmean(query_means(parts)))


def query_means(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of each query's gains over seeds, float64, NaN for queries that no seed tests."""
    table = np.stack(parts)
    tested = ~np.isnan(table)
    times = tested.sum(axis=0)
    summed = np.where(tested, table, 0.0).sum(axis=0)
    return np.asarray(np.divide(summed, times, out=np.full(table.shape[1], np.nan), where=times > 0))


def halve(names: Sequence[str], controls: Collection[str], seeds: int, measure: Measure) -> Halving:
    """Train settings by successive halving (Jamieson and Talwalkar, AISTATS 2016), with seeds as the resource.

    After each round the better half goes on, and every control. Where time runs out with the first seed, the settings
    trained until then are the finalists; with a later one, its trainings count for nothing, since settings are compared
    with the same seeds alone.

    Args:
        names: the settings.
        controls: those that always go on.
        seeds: number of seeds of the settings that go through all rounds.
        measure: trains.
    """
    found, active = Halving(), list(names)
    for number, part in enumerate(rounds(seeds)):
        if number:
            active = better_half({name: found.gains[name] for name in active}, controls)
        for seed in part:
            gains = measure(active, seed)
            found.cut = any(name not in gains for name in active)
            if found.cut and found.seeds:
                found.finalists = active
                return found
            for name, own in gains.items():
                found.gains.setdefault(name, []).append(own)
            found.finalists = [name for name in active if name in gains]
            found.seeds += bool(gains)
            if found.cut:
                return found
    return found
