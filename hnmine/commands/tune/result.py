"""The answer of `hnmine tune`: a row for each setting, the choice, and what it means in words."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hnmine.commands.tune.grid import Setting
from hnmine.commands.tune.halving import Halving, query_means
from hnmine.commands.tune.selection import Selection, Trial, front, paired_interval, select, told_apart
from hnmine.display import signed

AFTER_RANDOM = (
    "What this student gains comes from more negatives, not from harder ones. Mine softer (a lower percent, a lower "
    "limit of two_sided, a later rank window), use larger batches or a stronger student, or do not mine"
)
AFTER_IN_BATCH = "Hard negatives do not pay here: train on the pairs alone, with larger batches, or try another student"
UNDECIDED = "More labelled queries would decide it; more --seeds help a little"


@dataclass(frozen=True)
class Numbers:
    """Numbers of a setting's sets, means over its seeds.

    Attributes:
        rate: false-negative rate, measured or expected; None without retrieved negatives.
        hardness: of the negatives; None without any.
        fill: negatives over those wanted; None where none are wanted.
        same_as: the name of another setting that has the same sets, or None.
    """

    rate: float | None
    hardness: float | None
    fill: float | None
    same_as: str | None


def build_result(
    settings: Sequence[Setting], found: Halving, numbers: Mapping[str, Numbers], seed: int
) -> dict[str, Any]:
    """Return the settings with their numbers, the choice and the verdict.

    Args:
        settings: all that were to be tried.
        found: their trainings.
        numbers: those of each setting that was trained.
        seed: of the intervals.

    Returns:
        settings: best first, each with name, role, filter and emit (keys of these tables), seeds, gain (mean over test
        queries, in nDCG@10) and interval, over_random, over_in_batch and over_own (paired differences over the same
        queries and seeds, each with difference and interval, or None), false_negative_rate, hardness, fill, same_as,
        finalist, within_one_error, front (see `front`, of those with negatives) and chosen.
        untried: names of settings for which there was no time.
        test_queries.
        verdict: the attributes of `Selection` but within, and lines, in words.
    """
    named = {one.name: one for one in settings if one.name in found.gains}
    controls: dict[str, str] = {one.role: one.name for one in named.values() if one.role != "tried"}
    selection, means = _selection(named, found, numbers, seed)
    rows: list[dict[str, Any]] = []
    for name, one in named.items():
        own = found.gains[name]
        of_queries = query_means(own)
        of_queries = of_queries[~np.isnan(of_queries)]
        rows.append(
            {
                "name": name, "role": one.role, **one.tables(), "seeds": len(own),
                "gain": float(of_queries.mean()), "interval": paired_interval(of_queries, seed),
                **{
                    f"over_{role}": _over(own, found.gains.get(controls.get(role, "")), seed)
                    for role in ("random", "in_batch", "own")
                },
                "false_negative_rate": numbers[name].rate, "hardness": numbers[name].hardness,
                "fill": numbers[name].fill, "same_as": numbers[name].same_as,
                "finalist": name in found.finalists, "within_one_error": name in selection.within,
                "chosen": name == selection.chosen,
            }
        )  # fmt: skip
    rows.sort(key=lambda row: (not row["finalist"], -row["gain"], row["name"]))
    drawn = [row for row in rows if row["role"] != "in_batch"]
    marks = front([_height(row) for row in drawn], [row["false_negative_rate"] or 0.0 for row in drawn])
    best = {row["name"] for row, mark in zip(drawn, marks, strict=True) if mark}
    rows = [row | {"front": row["name"] in best} for row in rows]
    by_name = {row["name"]: row for row in rows}
    return {
        "settings": rows,
        "untried": [one.name for one in settings if one.name not in named],
        "test_queries": len(means),
        "verdict": {
            "outcome": selection.outcome, "chosen": selection.chosen, "best": selection.best,
            "best_mined": selection.best_mined, "random_is_enough": selection.random_is_enough,
            "in_batch_is_enough": selection.in_batch_is_enough, "learned": selection.learned,
            "lines": _lines(selection, by_name, controls, len(means)),
        },
    }  # fmt: skip


def _height(row: Mapping[str, Any]) -> float:
    """Return what a setting is drawn at: its gain over no mined negatives, on the queries and seeds that both have."""
    over = row["over_in_batch"]
    return float(row["gain"] if over is None else over["difference"])


def _selection(
    named: Mapping[str, Setting], found: Halving, numbers: Mapping[str, Numbers], seed: int
) -> tuple[Selection, np.ndarray]:
    """Return the choice, and the best setting's gains of its test queries."""
    trials = []
    for name in found.finalists:
        gains = query_means(found.gains[name][: found.seeds])
        one, own = named[name], numbers[name]
        negatives = 0 if one.role == "in_batch" else one.config.emit.num_negatives
        empty = negatives > 0 and not own.fill
        trials.append(Trial(name, one.role, gains[~np.isnan(gains)], own.rate, own.hardness, negatives, empty))
    best = max(trials, key=lambda one: float(one.gains.mean()))
    learned = paired_interval(best.gains, seed)[0] > 0
    others = [_paired(gains, found.gains[best.name]) for name, gains in found.gains.items() if name != best.name]
    controls = [one.gains for one in trials if one.role != "tried"]
    apart = told_apart(others, list(itertools.combinations(controls, 2)))
    return select(trials, learned=learned, apart=apart, seed=seed), best.gains


def _paired(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the gains of two settings on the queries and seeds that both have."""
    common = min(len(one), len(other))
    a, b = query_means(one[:common]), query_means(other[:common])
    return a[~np.isnan(a)], b[~np.isnan(a)]


def _over(own: Sequence[np.ndarray], control: Sequence[np.ndarray] | None, seed: int) -> dict[str, Any] | None:
    if control is None:
        return None
    a, b = _paired(own, control)
    return {"difference": float((a - b).mean()), "interval": paired_interval(a - b, seed)}


def _lines(
    selection: Selection, rows: Mapping[str, dict[str, Any]], controls: Mapping[str, str], tested: int
) -> list[str]:
    """Return the verdict in sentences, the choice first."""
    own, best = controls["own"], rows[selection.best]
    lines = []
    if selection.outcome == "undecided":
        low, high = best["interval"]
        why = f"{tested:,} test queries cannot tell any setting from the best ({selection.best})"
        if not selection.learned:
            why = (
                f"this student learns nothing measurable from these queries (at best {signed(best['gain'])} nDCG@10, "
                f"95% interval {signed(low)} to {signed(high)}), so its ranking means nothing for one that learns"
            )
        return [f"Undecided: {why}. Keep the config's setting ({own}). {UNDECIDED}."]
    if selection.outcome == "in_batch":
        lines.append(
            "Do not mine: training without mined negatives is the safest within one standard error of the best "
            f"({selection.best})."
        )
    else:
        kept = "Keep the config's setting" if selection.chosen == own else f"Choose {selection.chosen}"
        reason = "it gains most" if selection.chosen == selection.best else (
            f"the safest within one standard error of the best ({selection.best}, gain {signed(best['gain'])})"
        )  # fmt: skip
        lines.append(f"{kept}: {reason}.")
    if selection.chosen != own:
        lines.append(f"Over the config's setting ({own}): {_difference(rows[selection.chosen]['over_own'])}.")
    mined = rows.get(selection.best_mined or "")
    if mined is not None and selection.random_is_enough:
        lines.append(
            f"Random documents in equal number do as well as the best mined set ({mined['name']}: "
            f"{_difference(mined['over_random'])} over them). {AFTER_RANDOM}."
        )
    if mined is not None and selection.in_batch_is_enough:
        lines.append(
            f"No mined set gains more than training without mined negatives ({mined['name']}: "
            f"{_difference(mined['over_in_batch'])} over it). {AFTER_IN_BATCH}."
        )
    return lines


def _difference(over: Mapping[str, Any]) -> str:
    low, high = over["interval"]
    return f"{signed(over['difference'])} nDCG@10 (95% interval {signed(low)} to {signed(high)})"
