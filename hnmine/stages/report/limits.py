"""Holding a report to limits, so that a CI job can fail on it."""

import difflib
from collections.abc import Mapping
from typing import Any

from hnmine.errors import ConfigError, GateFailed, Problems
from hnmine.stages.report.report import numbers


def check_limits(report: dict[str, Any], under: Mapping[str, float], over: Mapping[str, float]) -> None:
    """Check a report against limits: `under` are the lowest values allowed, `over` the highest.

    Raises:
        ConfigError: a name that is no number of the report.
        GateFailed: a number crosses its limit, or could not be measured; all of them are named in one line each.
    """
    known = numbers(report)
    unknown, failed = Problems(), Problems()
    for word, limits in (("under", under), ("over", over)):
        for name, limit in limits.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else "see report.json for the names"
                unknown.add(f"--fail-{word} {name}: no such number in the report; {hint}")
                continue
            value = known[name]
            if value is None:
                failed.add(f"{name} could not be measured ({_reason(report, name)}), limit {limit:g}")
            elif value < limit if word == "under" else value > limit:
                failed.add(f"{name} = {value:.4g} is {word} the limit {limit:g}")
    unknown.raise_if_any(ConfigError)
    failed.raise_if_any(GateFailed)


def _reason(report: dict[str, Any], name: str) -> str:
    """Return why a number, nested ones by dotted name, could not be measured."""
    *path, last = name.split(".")
    entry = report
    for part in path:
        entry = entry.get(part, {})
    return str(entry.get(f"{last}_reason") or entry.get("reason") or "the report does not say why")


def parse_limits(texts: list[str], flag: str) -> dict[str, float]:
    """Return limits written as NAME=NUMBER.

    Raises:
        ConfigError: a text that is not of that form; all of them are named.
    """
    problems, found = Problems(), {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            problems.add(f"{flag} {text}: write it as NAME=NUMBER, for example {flag} eci=0.5")
    problems.raise_if_any(ConfigError)
    return found
