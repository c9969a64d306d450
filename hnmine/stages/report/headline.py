"""The headline numbers of a report, their limits, and the conclusion drawn from them.

The terminal, report.html and docs/report.md take their texts from here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any, cast

from hnmine.config.models import COMPARED
from hnmine.display import number as shown
from hnmine.display import percent

AT_OR_ABOVE = "negatives_at_or_above_positive"
"""The share of the negatives that score at or above their positive, by its name in report and audit."""
RATE = "false_negative_rate"
"""The share of the retrieved negatives that are hidden positives, by its name in the report."""
MOST_AT_OR_ABOVE = 0.5
"""Its limit in report and audit. docs/report.md says what it was measured on."""


@dataclass(frozen=True)
class Number:
    """A number of report.json that can be a flaw of the mined set.

    Attributes:
        name: its name in report.json, or in words where it is not in the headline.
        meaning: its definition in a few words.
        good: the values that are good.
        change: what to change where the value is not good, if that is no setting; settings are tried, see
            `hnmine.stages.report.advice`.
        flaw: a value beyond this is a flaw; None for no limit.
        stop: with a value beyond this the set is not to be trained on; None for no limit.
        low_is_bad: whether a value below a limit is beyond it; else one above it is.
        signed: of a number that is bad at both ends, the texts for a value above `flaw` and below -`flaw`; an empty
            text where that end is no flaw.
    """

    name: str
    meaning: str
    good: str
    change: str = ""
    flaw: float | None = None
    stop: float | None = None
    low_is_bad: bool = True
    signed: tuple[str, str] | None = None

    @property
    def label(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ").replace("false negative rate", "false-negative rate")

    def beyond(self, value: float, limit: float | None) -> bool:
        """Return whether a value is beyond a limit; never beyond None."""
        return limit is not None and (value < limit if self.low_is_bad else value > limit)


NUMBERS = (
    Number("coverage", "queries with at least one negative", "1, or near it", flaw=0.95, stop=0.5),
    Number("fill", "wanted negatives that were found", "above 0.9", flaw=0.9, stop=0.25),
    Number("hardness",
           "how near the negatives are to the positive: 0 = a random document, 1 = as near as the positive",
           "0.4 to 0.96", flaw=0.4),
    Number("safety", "gap between the positive and the nearest negative; 1 = at least the wanted gap",
           "above 0.5: most rows have all their negatives below the positive", flaw=0.5, stop=0.3),
    Number(AT_OR_ABOVE, "negatives that score at or above their positive", "up to 0.5; a margin alone makes it 0",
           flaw=MOST_AT_OR_ABOVE, stop=0.6, low_is_bad=False),
    Number("capacity", "ln(1 + number of negatives), mean over queries", "near ln(1 + `num_negatives`)"),
    Number("eci", "capacity x harmonic mean of hardness and safety, mean over queries",
           "no fixed value: of two settings, the higher"),
    Number("eci_sem", "how much the negatives differ from the positive and from one another",
           "no fixed value: of two settings, the higher"),
    Number("false_negative_rate", "share of the retrieved negatives that are hidden positives: a lower bound",
           "what you can tolerate: up to `max_false_negative_rate`, else 0.1", flaw=0.1, stop=0.3, low_is_bad=False),
)  # fmt: skip
"""In the order in which they are shown."""

OTHER_NUMBERS = {
    "suspected_bad_positives.untreated_share": Number("suspected bad positives",
        "share of the positives that score no higher than random documents do, and are neither left out nor weighted "
        "down", "up to 0.07", "read them in report/bad_positives.parquet and correct the labels", flaw=0.07,
        low_is_bad=False),
    "hubs.top_percent_share": Number("negatives given by the busiest documents",
        "share of the negatives that 1% of the serving documents give",
        "up to 0.25, where at least 100 documents serve", flaw=0.25, low_is_bad=False),
    "sources.retrieved.hardness": Number("hardness of the retrieved negatives",
        "at 0.96 they are as near as the positive; sets above it gained less than others of their collection",
        "up to 0.96", flaw=0.96, low_is_bad=False),
    "near_copies.chosen_share": Number("negatives that nearly copy a positive",
        "share of the negatives with a cosine of at least 0.95 to a positive", "up to 0.05", flaw=0.05,
        low_is_bad=False),
    "sources.random.share": Number("random documents among the negatives",
        "share of the negatives that were not retrieved", "up to 0.5", flaw=0.5, low_is_bad=False),
    "biases.length.effect": Number("difference in length",
        "how far negatives differ from positives in log length, in standard deviations", "between -0.8 and 0.8",
        "cut long documents into passages, or mine from documents of the positives' kind", flaw=0.8, low_is_bad=False,
        signed=("negatives are longer than positives", "negatives are shorter than positives")),
    "biases.query_overlap.effect": Number("difference in shared words",
        "how far negatives differ from positives in words shared with the query, in standard deviations",
        "up to 0.8; below 0 is usual, -0.2 to -2.3 on five public collections",
        "another teacher: this one finds shared words, and training against them teaches to avoid them", flaw=0.8,
        low_is_bad=False, signed=("negatives share more words with the query than positives do", "")),
}  # fmt: skip
"""Numbers outside the headline that can be a flaw, by their dotted name in report.json."""
ALL_NUMBERS: dict[str, Number] = {number.name: number for number in NUMBERS} | OTHER_NUMBERS
"""Every number that can be a flaw, by its name in report.json."""

GOOD, USABLE, STOP = "good", "usable", "do_not_train"
LINES = {
    GOOD: "Good: every {measured}number is within its limit{unmeasured}.",
    USABLE: "Usable, with {flaws}{unmeasured}.",
    STOP: "Do not train on this set as it is.",
}
UNMEASURED = "; the false-negative rate could not be measured ({reason})"
ENOUGH_DOCUMENTS = 100
"""With fewer documents that serve as negatives, the share of the busiest hundredth has no limit."""


def conclude(report: dict[str, Any], numbers: Mapping[str, Number] = ALL_NUMBERS) -> dict[str, Any]:
    """Return the conclusion of a report: a level, a sentence, and the reasons, the worst first.

    A false-negative rate that could not be measured lowers no level; the sentence says it, and why.

    Args:
        report: with the warnings and the numbers of `ALL_NUMBERS`.
        numbers: these numbers with the limits of the run: see `hnmine.stages.report.expected.numbers_of`.
    """
    reasons = [_reason(STOP, "warning", warning, "") for warning in report["warnings"]]
    reasons = sorted([*reasons, *_flaws(report, numbers)], key=lambda reason: reason["level"] != STOP)
    level = GOOD if not reasons else STOP if reasons[0]["level"] == STOP else USABLE
    count = "one flaw" if len(reasons) == 1 else f"{len(reasons)} flaws"
    reason = report["false_negative_rate_reason"] if report["false_negative_rate"] is None else None
    unmeasured = UNMEASURED.format(reason=reason) if reason else ""
    line = LINES[level].format(flaws=count, measured="measured " if reason else "", unmeasured=unmeasured)
    return {"level": level, "line": line, "reasons": reasons}


def _flaws(report: dict[str, Any], numbers: Mapping[str, Number]) -> Iterator[dict[str, Any]]:
    for path, number in numbers.items():
        value = cast(float | None, reduce(getitem, path.split("."), report))
        if value is not None and not (path.startswith("hubs") and report["hubs"]["documents"] < ENOUGH_DOCUMENTS):
            yield from _beyond(number, value)


def _beyond(number: Number, value: float) -> Iterator[dict[str, Any]]:
    """Yield the reason that a value beyond a limit is, if it is."""
    flaw = number.flaw
    if number.signed is not None and flaw is not None:
        text = number.signed[value < 0]
        if text and abs(value) > flaw:
            text = f"{text}: {value:.2f} standard deviations, limit {flaw:g}"
            yield _reason(USABLE, number.name, text, number.change)
        return
    stop = number.beyond(value, number.stop)
    limit = number.stop if stop else flaw
    if number.beyond(value, limit):
        side = "below" if number.low_is_bad else "above"
        text = f"{number.label}: {value:.3g}, {side} {limit:g} ({number.meaning})"
        yield _reason(STOP if stop else USABLE, number.name, text, number.change)


def _reason(level: str, name: str, text: str, change: str) -> dict[str, Any]:
    return {"level": level, "number": name, "text": text, "change": change}


JUDGED = "hidden positives among the negatives that were judged"
JUDGED_NOTE = "documents are judged because they are doubtful, so this is not the set's rate"


def judged_line(report: Mapping[str, Any]) -> str:
    """Return how many of the judged negatives are hidden positives, and of what this is the share; "" without any."""
    judged = report.get("hidden_positives", {}).get("this_filter", {}).get("judged", {})
    if judged.get("rate") is None:
        return ""
    low, high = (percent(end) for end in judged["interval"])
    return f"{percent(judged['rate'])} of {judged['chosen']:,} ({low}-{high}); {JUDGED_NOTE}"


def relabelled_line(found: Mapping[str, Any]) -> str:
    """Return what is known of relabelled positives, given the report's section `relabelled`."""
    line = f"{percent(found['share'])} of the positives"
    if found["by_judgement"]:
        line += f", {found['by_judgement']:,} by judgements"
    if found.get("precision") is not None:
        low, high = (percent(end) for end in found["interval"])
        line += (
            f"; measured on hidden positives, at least {percent(found['precision'])} ({low}-{high}) of "
            f"{found['candidates']:,} such candidates are relevant"
        )
    return line


def sample_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and note of what a judged random sample of the negatives gives; nothing without one."""
    sample, estimated = report.get("judged_sample"), report.get("estimated_from_sample")
    if sample is None:
        return
    judged = f"of {sample['judged']:,} judged, drawn at random"
    if sample["rate"] is not None:
        yield "false-negative rate of the set, by a judged sample", _share_text(sample), judged
        retrieved = sample.get("retrieved")
        if retrieved is not None and retrieved["judged"] < sample["judged"]:
            note = f"of {retrieved['judged']:,} judged; the others are random documents"
            yield "false-negative rate of its retrieved negatives", _share_text(retrieved), note
    else:
        yield "false-negative rate of the set, by a judged sample", "-", sample["reason"]
        for name, of in (("drawn", "of the set that was sampled"), ("shared", "of the negatives that both sets have")):
            if sample.get(name, {}).get("rate") is not None:
                yield f"false-negative rate {of}", _share_text(sample[name]), judged
    if sample["kappa"] is not None:
        yield "agreement of two judges (kappa)", f"{sample['kappa']:.2f}", f"on {sample['judged_twice']:,} negatives"
    if estimated is not None:
        low, high = estimated["interval"]
        note = f"estimate ({percent(low)}-{percent(high)}), if labelled ones are like the others"
        yield "relevant documents that are labelled", percent(estimated["propensity"]), note
        note = "estimate, from its hidden positives and the sample"
        yield "false-negative rate of a 95% margin", percent(estimated["margin_95"]), note


def judging_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and note of what language models judged and what it cost; nothing where none did."""
    found = report.get("judging")
    if found is None:
        return
    said = ", ".join(f"{found[word]:,} {word}" for word in ("relevant", "irrelevant", "unsure"))
    if found["unanswered"]:
        said += f", {found['unanswered']:,} without a valid answer"
    yield "candidates judged by a language model", f"{found['pairs']:,}", said
    if found["judged_twice"]:
        note = f"the second judge decides, and calls {found['overturned']:,} of them something else"
        yield "judged by two models", f"{found['judged_twice']:,}", note
    relabelled = report["counts"]["emit"].get("positives_by_judgement")
    note = f"of {found['negatives']:,} that it was asked about; they are negatives no more"
    note += f", and {relabelled:,} judged documents are positives" if relabelled else ""
    yield "former negatives that it calls relevant", f"{found['negatives_relevant']:,}", note
    tokens = found["prompt_tokens"] + found["completion_tokens"]
    unknown = f"; {found['without_usage']:,} replies do not say" if found["without_usage"] else ""
    names = ", ".join(f"{one['judge']} ({one['template']})" for one in found["judges"])
    yield "requests to it", f"{found['requests']:,}", f"{tokens:,} tokens{unknown}; {names}"


def setting_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and note of the sections `checked`, `order` and `weights`, as far as the report has them."""
    if (checked := report.get("checked")) is not None:
        note = f"{shown(checked['pairs_per_query'], 1)} a query, labelled positives among them"
        yield "candidates that the model of [rescore] scored", shown(checked["pairs"]), note
        note = "it scores these candidates like positives; one counts once for each anchor score"
        yield "verdicts changed by the check", shown(checked["rejected"]), note
        yield "retrieved negatives that were checked", percent(checked["negatives_scored"]), "the others have no score"
    if (order := report.get("order")) is not None:
        ends = f"{shown(order['first_tenth_hardness'])} to {shown(order['last_tenth_hardness'])}"
        yield "order of the rows by hardness", ends, "mean hardness of the first and of the last tenth of the examples"
    weights = report.get("weights", {})
    for name, of in (("focal", "an example"), ("cluster", "a negative")):
        if (found := weights.get(name)) is not None:
            note = f"of {of}, on average; from {shown(found.get('min'))} to {shown(found.get('max'))}"
            if name == "cluster":
                note += f"; {percent(found['own_share'])} of the negatives are in the cluster of their positive"
            yield f"{name}_weight", shown(found.get("mean")), note


def _share_text(share: Mapping[str, Any]) -> str:
    low, high = (percent(end) for end in share["interval"])
    return f"{percent(share['rate'])} ({low}-{high})"


def agreement_lines(embed: Mapping[str, Any]) -> list[str]:
    """Return lines that say how close vectors in fewer bits are to float32 ones, from the counts of the stage embed."""
    return [
        f"{table} in {precision}: cosine to float32 {found['mean']:.5f} on average, {found['least']:.5f} at least, "
        f"of {found['documents']:,} documents"
        for precision in COMPARED
        for table, found in sorted(embed.get(f"{precision}_agreement", {}).items())
    ]
