"""Why a run has no training row, and which changes of its settings were found to give some."""

from collections.abc import Mapping
from typing import Any

from hnmine.arrays.ragged import Ragged
from hnmine.display import percent
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.formats import FULL_ONLY
from hnmine.stages.report.advice import CAP, deeper_search
from hnmine.stages.report.changes import RATES, Change, as_text, candidates
from hnmine.stages.report.false_negatives import Protocol
from hnmine.stages.report.trials import Trials
from hnmine.stages.report.untried import list_end
from hnmine.storage.schemas.filter import BY_LABEL_OR_COPY, KEEP
from hnmine.storage.store import recorded

SHOWN = 4
"""Changes named, at most."""
LEAST = 0.01
"""Verdicts with a smaller share of the rejected candidates are not named, apart from the first."""


def why_empty(context: RunContext) -> str | None:
    """Return why a run's training files have no row and what would give some; None where they have rows.

    The changes named were tried on the stored candidates, or hold by their precondition.
    """
    counts = {name: (recorded(context.reading(name)) or {})["counts"] for name in ("ingest", "filter", "emit")}
    if counts["emit"]["rows"]:
        return None
    if counts["emit"].get("examples_unbatched"):  # the warning of batches has the reason and what would help
        return f"no training row came out: {counts['emit']['warning']}"
    trials = Trials(Protocol.of(context))
    helps = [f"{as_text(change)}: {_rows(count, trials)}" for change, count in _with_rows(trials, context)]
    if not helps:
        helps.append(deeper_search(trials, context) or _more_documents(trials, counts))
    lines = [f"no training row came out: {_reason(context, counts)}", *(f"  {text}" for text in helps if text)]
    return "\n".join(lines)


def _rows(count: int, trials: Trials) -> str:
    of = "" if trials.whole else f" for the {trials.queries:,} queries it was tried on"
    return f"{count:,} examples get rows{of}"


def _reason(context: RunContext, counts: Mapping[str, Any]) -> str:
    emitted, verdicts = counts["emit"], counts["filter"]["verdicts"]
    if not emitted["examples"]:
        left = emitted["positives_left_out"]
        return f'all {left:,} positives are suspected to be wrong, and emit.bad_positives = "leave_out" leaves them out'
    if emitted["negatives"]:
        most = int(Ragged.from_arrow(read_chosen(context.reading("emit")).column("positions")).lengths.max())
        names, n = " and ".join(context.config.emit.formats), context.config.emit.num_negatives
        return f"{names} needs {n} negatives an example, and the fullest example has {most}"
    rejected = {name: count for name, count in verdicts.items() if name not in BY_LABEL_OR_COPY and count}
    if not rejected:
        found = [name for name in BY_LABEL_OR_COPY if name != KEEP and verdicts.get(name)]
        return f"no candidate can be a negative (verdicts: {', '.join(found) or 'none, as nothing was retrieved'})"
    total = sum(rejected.values())
    ordered = sorted(rejected.items(), key=lambda one: -one[1])
    rate = context.config.filter.max_false_negative_rate
    at = {} if rate is None else {"calibrated": f" at filter.max_false_negative_rate = {rate:g}"}
    shown = [one for one in ordered if one[1] >= LEAST * total] or ordered[:1]
    named = ", ".join(f"{percent(count / total)} by {name}{at.get(name, '')}" for name, count in shown)
    return f"the filter rejects every candidate that is no positive and no copy ({named})"


def _with_rows(trials: Trials, context: RunContext) -> list[tuple[Change, int]]:
    """Return the changes that give rows with how many examples get some: of each setting the smallest that does."""
    best: dict[tuple[str, ...], tuple[Change, int]] = {}
    for change in _to_try(context):
        if tuple(change) in best or (CAP in change and not trials.whole):
            continue
        count = int(trials.number(change, "examples_with_rows") or 0)
        if count:
            best[tuple(change)] = (change, count)
    return sorted(best.values(), key=lambda one: -one[1])[:SHOWN]


def _to_try(context: RunContext) -> list[Change]:
    config = context.config
    emit, rate = config.emit, config.filter.max_false_negative_rate
    found: list[Change] = []
    if emit.bad_positives == "leave_out":
        found.append({"emit.bad_positives": "keep"})
    if set(emit.formats) <= set(FULL_ONLY):
        found += [{"emit.num_negatives": n} for n in range(emit.num_negatives - 1, 0, -1)]
        found += [{"emit.format": name} for name in ("triplet", "labeled-list")]
    if rate is not None:
        found += [{"filter.max_false_negative_rate": value} for value in RATES if value > rate]
    return [*found, *(change for change in candidates("fill", config) if "emit.num_negatives" not in change)]


def _more_documents(trials: Trials, counts: Mapping[str, Any]) -> str:
    """Return the advice to add documents, where every query's list holds all that the corpus has for it."""
    end = list_end(trials.config)
    short, cut = trials.short_lists(end) if end is not None else (0, 0)
    if cut or not short:
        return ""
    documents = counts["ingest"]["documents"]
    return f"add documents to the corpus (input.corpus): all of its {documents:,} documents were retrieved already"
