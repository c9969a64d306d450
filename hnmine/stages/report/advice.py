"""Advice on a mined set: settings that were tried on its stored candidates and improve what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hnmine.config.retrieve import MAX_DEPTH
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.stages.report.changes import Change, as_text, candidates, changed
from hnmine.stages.report.expected import numbers_of
from hnmine.stages.report.false_negatives import Protocol
from hnmine.stages.report.headline import ALL_NUMBERS, RATE, Number
from hnmine.stages.report.trials import Numbers, Trials
from hnmine.stages.report.untried import list_end, untried
from hnmine.storage.store import recorded

SHOWN = 3
"""Suggestions for one number, at most."""
LEAST = 0.01
"""A smaller improvement is none."""
CAP = "emit.max_per_document"
"""A setting that can be tried on all queries only."""
_DEEPER = ("coverage", "fill", "sources.random.share")


@dataclass(frozen=True)
class Suggestion:
    """A change of settings that was tried, with the number that it improves.

    Attributes:
        change: the settings.
        before, after: the number on the queries tried, without and with the change.
        within: whether the number comes within its limit.
    """

    change: Change
    before: float
    after: float
    within: bool


def with_advice(protocol: Protocol, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report's conclusion, each reason with the changes of settings that improve its number.

    A reason gets `suggestions` (settings, before and after), `tried` (how many changes were tried, on how many queries)
    and `change`, the same as text. Changes that cannot be tried are named where their precondition holds.
    """
    context, conclusion, trials = protocol.context, dict(report["conclusion"]), None
    reasons = []
    for reason in conclusion["reasons"]:
        path = _path(reason["number"])
        if path is not None and _has_advice(path, context.config):
            trials = trials or Trials(protocol)
            reason = reason | _advice(path, trials, context)
        reasons.append(reason)
    return conclusion | {"reasons": reasons}


def _path(name: str) -> str | None:
    """Return the name in report.json of the number of a reason; None for a warning."""
    return next((path for path, number in ALL_NUMBERS.items() if number.name == name), None)


def _has_advice(path: str, config: Config) -> bool:
    return bool(candidates(path, config) or path in _DEEPER or list(untried(path, config)))


def _advice(path: str, trials: Trials, context: RunContext) -> dict[str, Any]:
    tried = [one for one in candidates(path, context.config) if trials.whole or CAP not in one]
    found = suggestions(path, trials, tried)
    shown = [
        {"settings": one.change, "number": path, "before": one.before, "after": one.after, "within": one.within}
        for one in found
    ]
    number = numbers_of(context.config)[path]
    name = number.label
    texts = [f"{as_text(one.change)}: {name} {one.before:.2f} -> {one.after:.2f}" for one in found]
    if tried and not found:
        texts.append(
            f"none of {len(tried)} settings that were tried improves it and keeps the others within their limits"
        )
    if path in _DEEPER and not any(one.within for one in found) and (deeper := deeper_search(trials, context)):
        texts.append(deeper)
    texts += [*untried(path, context.config), *filter(None, [number.change])]
    counts = {"settings": len(tried), "queries": trials.queries}
    return {"change": "; ".join(texts), "suggestions": shown, "tried": counts}


def suggestions(path: str, trials: Trials, tried: list[Change]) -> list[Suggestion]:
    """Return the best changes for a number: at most `SHOWN`, only those that bring it within its limit if some do.

    A change counts if it improves the number by `LEAST` and puts no other number beyond a limit. Of the changes of one
    setting the smallest that reaches the limit is taken, else the best.
    """
    number, value = numbers_of(trials.config)[path], trials.number({}, path)
    if value is None:
        return []
    sign = 1 if number.low_is_bad else -1
    best: dict[tuple[str, ...], Suggestion] = {}
    for change in tried:
        known = best.get(tuple(change))
        if known is not None and known.within:
            continue
        new = trials.number(change, path)
        if new is None or sign * (new - value) < LEAST or (known is not None and sign * (new - known.after) <= 0):
            continue
        if not _harms(trials.numbers({}), trials.numbers(change), _limits(trials.config, change), path):
            best[tuple(change)] = Suggestion(change, value, new, not number.beyond(new, number.flaw))
    found = [one for one in best.values() if one.within]
    return (found or sorted(best.values(), key=lambda one: -sign * one.after))[:SHOWN]


def _limits(config: Config, change: Change) -> dict[str, Number]:
    """Return the numbers by path with the limits that a change for another number must keep to.

    A rate that the config tolerates may raise the false-negative rate's limit, and does not lower it.
    """
    tolerated, rate = config.filter.max_false_negative_rate or 0.0, ALL_NUMBERS[RATE]
    return numbers_of(changed(config, change)) | {RATE: replace(rate, flaw=max(tolerated, rate.flaw or 0.0))}


def _harms(before: Numbers, after: Numbers, limits: Mapping[str, Number], path: str) -> bool:
    """Return whether a change puts a number other than `path` beyond its limit, or further beyond by `LEAST`."""
    for name, number in limits.items():
        old, new = before.get(name), after.get(name)
        if name == path or new is None or not number.beyond(new, number.flaw):
            continue
        worse = 1.0 if old is None else (old - new if number.low_is_bad else new - old)
        if old is None or not number.beyond(old, number.flaw) or worse >= LEAST:
            return True
    return False


def deeper_search(trials: Trials, context: RunContext) -> str:
    """Return the advice to retrieve more, where lists end at their limit and the corpus has more; else ""."""
    end = list_end(trials.config)
    if end is None:
        return ""
    short, cut = trials.short_lists(end)
    documents = (recorded(context.reading("ingest")) or {})["counts"]["documents"]
    deeper = min(2 * end.limit, end.most, MAX_DEPTH, documents)
    if not cut or deeper <= end.limit:
        return ""
    return (
        f"{end.setting} = {deeper} (not tried: {cut:,} of {short:,} rows with too few negatives have a list that "
        f"ends there, and {end.more})"
    )
