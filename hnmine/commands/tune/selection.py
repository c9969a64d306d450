"""Chooses among trained settings: the safest within one standard error of the best, and what can be told at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hnmine.commands.tune.grid import Role
from hnmine.science.statistics import bootstrap_ratios, percentile_interval

Outcome = Literal["undecided", "in_batch", "random", "setting"]
FEWEST_COMPARED = 30
"""With fewer test queries nothing is decided."""
LEVEL = 0.95


@dataclass(frozen=True)
class Trial:
    """A setting that was trained with all seeds.

    Attributes:
        name: of the setting.
        role: see `hnmine.commands.tune.grid.Role`.
        gains: gain of each test query, float64, shape (m,); the same queries for all settings.
        rate: false-negative rate, measured or expected; None where nothing was retrieved, which counts as 0.
        hardness: of its negatives; None without any, which counts as 0.
        negatives: wanted for each example.
        empty: whether it wants negatives and has none, so that it cannot be chosen.
    """

    name: str
    role: Role
    gains: np.ndarray
    rate: float | None
    hardness: float | None
    negatives: int
    empty: bool = False

    @property
    def risk(self) -> tuple[float, float, int, str]:
        """What safety is compared by, safest first: false negatives, hardness, number of negatives, name."""
        return self.rate or 0.0, self.hardness or 0.0, self.negatives, self.name


@dataclass(frozen=True)
class Selection:
    """A choice among trials, by their names.

    Attributes:
        outcome: undecided: nothing is learned, or no setting can be told from the best, and the config's own is chosen;
            in_batch, random: the choice is that control; setting: it is a mined set.
        best: the one with the highest mean gain.
        best_mined: the best of those with retrieved negatives; None where there are none.
        chosen: the choice.
        within: those within one standard error of the best.
        random_is_enough: whether the best mined set gains no more than random documents, by its 95% interval; None
            without both.
        in_batch_is_enough: likewise against no mined negatives.
        learned: whether the best setting gains anything over the untrained student.
    """

    outcome: Outcome
    best: str
    best_mined: str | None
    chosen: str
    within: list[str]
    random_is_enough: bool | None
    in_batch_is_enough: bool | None
    learned: bool


def standard_error(differences: np.ndarray) -> float:
    """Return the standard error of the mean of paired differences, float64, shape (m,); infinite for m < 2."""
    if len(differences) < 2:
        return float("inf")
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))


def paired_interval(differences: np.ndarray, seed: int) -> list[float]:
    """Return the 95% percentile interval of the mean of differences (m,), queries drawn with replacement."""
    resampled = bootstrap_ratios(differences[:, None], np.ones((len(differences), 1)), seed)
    low, high = percentile_interval(resampled)
    return [float(low[0]), float(high[0])]


def within_one_error(trials: Sequence[Trial]) -> tuple[Trial, list[Trial]]:
    """Return the trial with the highest mean gain, and those whose mean is within one standard error of it.

    The error is that of the paired differences from the best one, which is itself among them (the one-standard-error
    rule of Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984, section 3.4.3). Of equal
    means the safest is the best.
    """
    best = min(trials, key=lambda one: (-float(one.gains.mean()), one.risk))
    near = []
    for one in trials:
        differences = best.gains - one.gains
        if one is best or float(differences.mean()) <= standard_error(differences):
            near.append(one)
    return best, near


Pair = tuple[np.ndarray, np.ndarray]
"""Gains of two settings on the same queries and seeds, float64, shape (m,) each."""


def told_apart(others: Sequence[Pair], controls: Sequence[Pair]) -> bool:
    """Return whether any two settings can be told apart at a level of 5%.

    A pair is told apart where its mean paired difference exceeds t standard errors, t that of a two-sided interval
    (Student's distribution). Half of the level goes to the controls, which are named beforehand; the other half to the
    best setting against all others. There it is corrected for all pairs of settings (Bonferroni), since the best one
    was found by looking at all of them.

    Args:
        others: each setting but the best, with the best.
        controls: all pairs of the config's own setting, no mined negatives and random documents.
    """
    level = (1 - LEVEL) / 2
    return _differs(others, level / max(1, len(others) * (len(others) + 1) // 2)) or _differs(
        controls, level / max(1, len(controls))
    )


def _differs(pairs: Sequence[Pair], level: float) -> bool:
    """Return whether the two of any pair with enough queries differ at a level."""
    from scipy.special import stdtrit

    for one, other in pairs:
        differences = one - other
        if len(differences) < FEWEST_COMPARED:
            continue
        most = float(stdtrit(len(differences) - 1, 1 - level / 2))
        if abs(float(differences.mean())) > most * standard_error(differences):
            return True
    return False


def select(trials: Sequence[Trial], *, learned: bool, apart: bool, seed: int) -> Selection:
    """Choose among trials, of which the config's own is one.

    Args:
        trials: those trained with all seeds.
        learned: whether the best setting gains anything over the untrained student.
        apart: whether any setting can be told from the best: see `told_apart`.
        seed: of the intervals.
    """
    best, near = within_one_error(trials)
    mined = [one for one in trials if one.role in ("own", "tried") and one.rate is not None]
    best_mined = within_one_error(mined)[0] if mined else None
    chosen = min([one for one in near if not one.empty] or near, key=lambda one: one.risk)
    outcome: Outcome = chosen.role if chosen.role in ("in_batch", "random") else "setting"
    if not (learned and apart):
        outcome, chosen = "undecided", next(one for one in trials if one.role == "own")
    enough: dict[str, bool | None] = {}
    for role in ("random", "in_batch"):
        control = next((one for one in trials if one.role == role), None)
        enough[role] = None
        if control is not None and best_mined is not None:
            enough[role] = paired_interval(best_mined.gains - control.gains, seed)[0] <= 0
    return Selection(
        outcome=outcome,
        best=best.name,
        best_mined=None if best_mined is None else best_mined.name,
        chosen=chosen.name,
        within=[one.name for one in near],
        random_is_enough=enough["random"],
        in_batch_is_enough=enough["in_batch"],
        learned=learned,
    )


def front(gains: Sequence[float], risks: Sequence[float]) -> list[bool]:
    """Return which settings are on the front: no other has at least the gain and at most the risk, and one better."""
    points = list(zip(gains, risks, strict=True))
    return [not any(g >= gain and r <= risk and (g > gain or r < risk) for g, r in points) for gain, risk in points]
