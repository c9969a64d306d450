"""The report's headline numbers: what each means, what is good, what to change; and what they say of the set together.

The terminal, report.html and docs/report.md take their texts from here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Number:
    """A headline number.

    Attributes:
        name: its name in report.json.
        meaning: in a few words.
        good: which values are.
        change: what to change when it is not.
        flaw: a value beyond this is a flaw; None: there is no limit.
        stop: beyond this the set is not to be trained on.
        low: whether values below the limits are the bad ones, else those above.
        ends: of a signed number, what a value beyond the limit means above and below; empty where that is no flaw.
    """

    name: str
    meaning: str
    good: str
    change: str
    flaw: float | None = None
    stop: float | None = None
    low: bool = True
    ends: tuple[str, str] | None = None

    def beyond(self, value: float, limit: float | None) -> bool:
        """Tell whether a value is beyond a limit."""
        return limit is not None and (value < limit if self.low else value > limit)


NUMBERS = (
    Number(
        "coverage",
        "queries with at least one negative",
        "1, or near it",
        "the rules are too strict, or positives score low: a looser setting, `anchor` other than `min`, see the "
        "suspected bad positives",
        0.95,
        0.5,
    ),
    Number(
        "fill",
        "wanted negatives that were found",
        "above 0.9",
        "as for coverage; a larger `retrieve.top_k`; a smaller `num_negatives`; a higher `max_per_document`",
        0.9,
        0.25,
    ),
    Number(
        "hardness",
        "0 a random document, 1 as near as the positive",
        "as high as the false negatives allow",
        '`choose = "top"`, a looser margin, no rank window',
        0.4,
        0.15,
    ),
    Number(
        "safety",
        "distance kept from the positive; 0 none, 1 enough",
        "above 0.6: most rows have their negatives below the positive",
        "add `percent` or `margin` to the rules, or lower `easiest`",
        0.6,
        0.3,
    ),
    Number(
        "capacity",
        "ln(1 + negatives), mean over queries",
        "near ln(1 + `num_negatives`)",
        "as for fill",
    ),
    Number(
        "eci",
        "capacity x harmonic mean of hardness and safety",
        "the higher of two settings",
        "see which of capacity, hardness and safety is low",
    ),
    Number(
        "eci_sem",
        "how much the negatives differ from the positive and from one another",
        "the higher of two settings",
        "copies and near-copies among the negatives, or negatives that are hard by shared words alone: "
        '`choose = "diverse"`, `retrieve.top_k`',
    ),
    Number(
        "false_negative_rate",
        "negatives that are hidden positives: a lower bound",
        "what you can tolerate: up to `max_false_negative_rate`, else 0.1",
        "`two_sided` or `calibrated`, a lower `max_false_negative_rate`; `hnmine sweep`",
        0.1,
        0.3,
        low=False,
    ),
)
"""In the order in which they are shown."""

SIDE = {
    "suspected_bad_positives.share": Number(
        "suspected bad positives",
        "share of the positives that most of their query's candidates outscore",
        "up to 0.1",
        "read them below; correct the labels, take a better teacher, or set `emit.bad_positives`",
        0.1,
        low=False,
    ),
    "hubs.top_percent_share": Number(
        "negatives given by the busiest documents",
        "share of the negatives that 1% of the serving documents give",
        "up to 0.25, where at least 100 documents serve",
        "`emit.max_per_document`",
        0.25,
        low=False,
    ),
    "near_copies.chosen_share": Number(
        "negatives that nearly copy a positive",
        "share of the negatives with a cosine of at least 0.95 to a positive",
        "up to 0.05",
        "a lower `filter.max_positive_similarity`",
        0.05,
        low=False,
    ),
    "sources.random.share": Number(
        "random documents among the negatives",
        "share of the negatives that were not retrieved",
        "up to 0.5",
        "a larger `retrieve.top_k`, a looser setting, a lower `emit.random_share`",
        0.5,
        low=False,
    ),
    "biases.length.effect": Number(
        "difference in length",
        "how far negatives differ from positives in log length, in standard deviations",
        "between -0.8 and 0.8",
        "cut long documents into passages, or mine from documents of the positives' kind",
        0.8,
        low=False,
        ends=("negatives are longer than positives", "negatives are shorter than positives"),
    ),
    "biases.query_overlap.effect": Number(
        "difference in shared words",
        "how far negatives differ from positives in words shared with the query, in standard deviations",
        "up to 0.8; below 0 is usual, -0.2 to -2.3 on five public collections",
        "another teacher: this one finds shared words, and training against them teaches to avoid them",
        0.8,
        low=False,
        ends=("negatives share more words with the query than positives do", ""),
    ),
}
"""Numbers beside the headline that can be a flaw, by their dotted name in report.json."""

GOOD, USABLE, STOP = "good", "usable", "do_not_train"
LINES = {
    GOOD: "Good: every number is within its limit.",
    USABLE: "Usable, with {flaws}.",
    STOP: "Do not train on this set as it is.",
}
MEASURED_ON = 100
"""Fewer serving documents than this, and the busiest hundredth of them says nothing."""


def conclude(report: dict[str, Any], tolerated: float | None = None) -> dict[str, Any]:
    """Return what the numbers say together: a level, a line in words, and the reasons, the worst first.

    Args:
        report: with the headline numbers, warnings and what `SIDE` names.
        tolerated: `filter.max_false_negative_rate`; it takes the place of the false-negative rate's limit.
    """
    reasons = sorted([*_stops(report), *_flaws(report, tolerated)], key=lambda reason: reason["level"] != STOP)
    stop = any(reason["level"] == STOP for reason in reasons)
    level = STOP if stop else USABLE if reasons else GOOD
    count = "one flaw" if len(reasons) == 1 else f"{len(reasons)} flaws"
    return {"level": level, "line": LINES[level].format(flaws=count), "reasons": reasons}


def _stops(report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for warning in report["warnings"]:
        yield _reason(STOP, "warning", warning, "")


def _flaws(report: dict[str, Any], tolerated: float | None) -> Iterator[dict[str, Any]]:
    for number in NUMBERS:
        value = report[number.name]
        if value is None and number.name == "false_negative_rate":
            text = f"the false-negative rate could not be measured: {report['false_negative_rate_reason']}"
            yield _reason(USABLE, number.name, text, "label several positives for some queries, or read the examples")
        elif value is not None:
            flaw = tolerated if number.name == "false_negative_rate" and tolerated is not None else number.flaw
            yield from _beyond(number, value, flaw)
    for path, number in SIDE.items():
        value = _at(report, path)
        if value is not None and not (path.startswith("hubs") and report["hubs"]["documents"] < MEASURED_ON):
            yield from _beyond(number, value, number.flaw)


def _beyond(number: Number, value: float, flaw: float | None) -> Iterator[dict[str, Any]]:
    if number.ends is not None and flaw is not None:
        meaning = number.ends[value < 0]
        if meaning and abs(value) > flaw:
            text = f"{meaning}: {value:.2f} standard deviations, limit {flaw:g}"
            yield _reason(USABLE, number.name, text, number.change)
        return
    stop = number.beyond(value, number.stop)
    limit = number.stop if stop else flaw
    if limit is None or not number.beyond(value, limit):
        return
    name = number.name.replace("_", " ").replace("false negative rate", "false-negative rate")
    text = f"{name}: {value:.3g}, {'below' if number.low else 'above'} {limit:g} ({number.meaning})"
    yield _reason(STOP if stop else USABLE, number.name, text, number.change)


def _reason(level: str, name: str, text: str, change: str) -> dict[str, Any]:
    return {"level": level, "number": name, "text": text, "change": change}


def _at(report: dict[str, Any], path: str) -> float | None:
    found: Any = report
    for key in path.split("."):
        found = found[key]
    return None if found is None else float(found)


def agreement_lines(embed: Mapping[str, Any]) -> list[str]:
    """Return in words, out of embed's counts, how near vectors made in 8-bit numbers are to those in float32."""
    return [
        f"{table} in int8: cosine to float32 {found['mean']:.4f} on average, {found['least']:.4f} at least, "
        f"of {found['documents']:,} documents"
        for table, found in sorted(embed.get("int8_agreement", {}).items())
    ]
