"""The verdict of a comparison: which of two sets is better in false negatives, hardness and fill, and by how much."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hnmine.display import number, percent
from hnmine.science.statistics import newcombe_interval

NOTE = (
    "Harder negatives alone are no gain in training: more of them are false ones that nobody labelled. `hnmine probe` "
    "estimates the gain of each set."
)
"""What a verdict does not say."""


@dataclass(frozen=True)
class _Aspect:
    """A number in which sets are compared: its name, the sign of a good difference, and words for more and for less."""

    name: str
    sign: int
    more: str
    less: str
    share: bool


_RATE = _Aspect("false negatives", -1, "more measured false negatives", "fewer measured false negatives", True)
_HARDNESS = _Aspect("hardness", 1, "harder negatives", "easier negatives", False)
_FILL = _Aspect("fill", 1, "more of the wanted negatives", "fewer of the wanted negatives", True)


def measured(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what a report measured on hidden positives: rate, interval, hardness, fill and counts; None without."""
    found = (report or {}).get("hidden_positives", {}).get("this_filter", {})
    names = ("rate", "interval", "hardness", "fill", "chosen", "hidden")
    return {name: found[name] for name in names} if found.get("rate") is not None else None


def verdict(
    labels: tuple[str, str],
    pair: Mapping[str, Any],
    rates: tuple[dict[str, Any] | None, ...],
    unlike: tuple[bool, bool],
) -> dict[str, Any]:
    """Return the verdict on two sets.

    A set is called better only if it is in some of the three numbers, worse in none, and the false-negative rate is
    known of both. A difference counts if its 95% interval excludes 0.

    Args:
        labels: short names of the first set and of the other.
        pair: their comparison, one of `comparisons` in the result of `compare`.
        rates: result of `measured` of each.
        unlike: whether hardness, and false negatives, cannot be compared: other vectors or another share of
            random documents, other labels.

    Returns:
        better ("base", "other" or None) and line, a sentence.
    """
    here, there = labels
    count = pair["negatives"]
    if count["base"] == count["other"] == count["shared"]:
        return _found(None, f"{here} and {there} have the same negatives in the queries of both.")
    if pair["numbers"] is None:
        return _found(None, f"No verdict on {here} and {there}: {pair['numbers_reason']}.")
    values = {
        _RATE: None if unlike[1] or _other_queries(pair) else _rates(rates),
        _HARDNESS: None if unlike[0] else _numbers(pair["numbers"]["hardness"]),
        _FILL: _numbers(pair["numbers"]["fill"]),
    }
    known = {aspect: found for aspect, found in values.items() if found is not None}
    gains = {aspect: aspect.sign * _side(interval) for aspect, (_, _, interval) in known.items()}
    up, down = ([aspect for aspect in known if gains[aspect] == side] for side in (1, -1))
    alike = [aspect.name for aspect in known if not gains[aspect]]
    unclear = f"; no clear difference in {_joined(alike)}" if alike else ""
    if unknown := [aspect.name for aspect in values if aspect not in known]:
        unclear += f"; {_joined(unknown)} cannot be compared"
    if not up and not down:
        return _found(None, f"{here} and {there}{unclear.replace(';', ':', 1)}.")
    if up and down:
        better, worse = _words(up, known), _words(down, known)
        line = f"Neither of {here} and {there} is better in all: {there} has {better}, but {worse}{unclear}."
        return _found(None, line)
    name, worse, tail = (there, here, "other") if up else (here, there, "base")
    words = _words(up or down, known, swapped=bool(down))
    if _RATE not in known or _HARDNESS not in known:
        return _found(None, f"{name} has {words} than {worse}{unclear}. So neither is called better.")
    return _found(tail, f"By these numbers {name} is better than {worse}: {words}{unclear}.")


def _found(better: str | None, line: str) -> dict[str, Any]:
    return {"better": better, "line": line}


def _other_queries(pair: Mapping[str, Any]) -> bool:
    """Return whether one set has queries that the other lacks: its rate is then measured on other queries."""
    return bool(pair["queries"]["only_base"] or pair["queries"]["only_other"])


def _rates(rates: tuple[dict[str, Any] | None, ...]) -> tuple[float, float, tuple[float, float]] | None:
    base, other = rates
    if base is None or other is None:
        return None
    counts = base["hidden"], base["chosen"], other["hidden"], other["chosen"]
    return base["rate"], other["rate"], newcombe_interval(*counts)


def _numbers(row: Mapping[str, Any]) -> tuple[float, float, tuple[float, float]] | None:
    interval = row["interval"]
    return None if interval is None else (row["base"], row["other"], (interval[0], interval[1]))


def _side(interval: tuple[float, float]) -> int:
    """Return 1 for an interval above 0, -1 for one below, and 0 for one that holds it."""
    return int(interval[0] > 0) - int(interval[1] < 0)


def _words(
    aspects: list[_Aspect], known: Mapping[_Aspect, tuple[float, float, tuple[float, float]]], swapped: bool = False
) -> str:
    """Return how the other set differs from the first, or the first from the other if `swapped`."""
    parts = []
    for aspect in aspects:
        base, other, interval = known[aspect]
        own, against = (base, other) if swapped else (other, base)
        show = percent if aspect.share else number
        more = (_side(interval) > 0) is not swapped
        parts.append(f"{aspect.more if more else aspect.less} ({show(own)}, not {show(against)})")
    return _joined(parts)


def _joined(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
