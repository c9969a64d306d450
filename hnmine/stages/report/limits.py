"""Limits on the numbers of a report, on which a CI job can fail: `--fail-under` and `--fail-over`."""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hnmine.errors import ConfigError, GateFailed, Problems


def report_numbers(report: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a report that can have a limit, by name; nested ones by dotted name."""
    found: dict[str, float | None] = {}
    stack: list[tuple[str, Any]] = list(report.items())
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{name}.{key}", below) for key, below in value.items())
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            found[name] = value
    return dict(sorted(found.items()))


def check_names(limits: Mapping[str, Iterable[str]], known: Collection[str]) -> None:
    """Check the names of limits before the numbers exist.

    Args:
        limits: names by the flag or setting that gives them, for messages.
        known: the names that numbers can have.

    Raises:
        ConfigError: names that no number has, all of them.
    """
    unknown = Problems()
    for flag, names in limits.items():
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=1)
                hint = f"did you mean {near[0]}?" if near else "the numbers of a finished run's report.json have names"
                unknown.add(f"{flag} {name}: no such number in the report; {hint}")
    unknown.raise_if_any(ConfigError)


def check_limits(
    report: dict[str, Any], under: Mapping[str, float], over: Mapping[str, float], possible: Collection[str] = ()
) -> None:
    """Check that a report's numbers are within limits: the lowest and the highest values allowed, by name.

    `possible` has names of numbers that the report lacks because they could not be measured.

    Raises:
        ConfigError: a name that is no number of the report.
        GateFailed: a number is beyond its limit, or was not measured; one line for each.
    """
    found = report_numbers(report)
    check_names({"--fail-under": under, "--fail-over": over}, found.keys() | {*possible})
    failed = Problems()
    for word, limits in (("under", under), ("over", over)):
        for name, limit in limits.items():
            value = found.get(name)
            if value is None:
                failed.add(f"{name} could not be measured ({_reason(report, name)}), limit {limit:g}")
            elif value < limit if word == "under" else value > limit:
                failed.add(f"{name} = {value:.4g} is {word} the limit {limit:g}")
    failed.raise_if_any(GateFailed)


def _reason(report: dict[str, Any], name: str) -> str:
    """Return why a number, given by its dotted name, was not measured."""
    *path, last = name.split(".")
    entry = report
    for part in path:
        below = entry.get(part)
        if not isinstance(below, dict):
            break
        entry = below
    return str(entry.get(f"{last}_reason") or entry.get("reason") or "the report does not say why")


def parse_limits(texts: list[str], flag: str) -> dict[str, float]:
    """Return limits written as NAME=NUMBER.

    Raises:
        ConfigError: texts of another form; all of them are named.
    """
    problems, found = Problems(), {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and name.strip():
            found[name.strip()] = value
        else:
            problems.add(f"{flag} {text}: write it as NAME=NUMBER, for example {flag} eci=0.5")
    problems.raise_if_any(ConfigError)
    return found
