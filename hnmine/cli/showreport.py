"""The report as people see it on the terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hnmine.cli.show import _console, _row, _table, interval, number
from hnmine.stages.emit.source_labels import shares_line
from hnmine.stages.report.headline import NUMBERS, agreement_lines


def report(data: dict[str, Any], path: Path) -> None:
    """Draw a report's headline numbers, distributions and verdicts."""
    console = _console()
    for warning in data["warnings"]:
        console.print(Text(f"warning: {warning}", style="bold yellow"))
    table = _table("\nReport", "number", "value", "95% interval", "meaning")
    rate = data.get("hidden_positives", {}).get("this_filter", {}).get("interval")
    for one in NUMBERS:
        value, reason = data[one.name], data.get(f"{one.name}_reason")
        between = interval((data["intervals"] | {"false_negative_rate": rate})[one.name])
        text = f"{one.meaning} ({reason})" if reason and value is None else one.meaning
        _row(table, (one.name, number(value), between, text))
    console.print(table)
    _conclusion(console, data["conclusion"])
    _distributions(console, data["distributions"])
    verdicts = _table("\nVerdicts", "verdict", "candidates", "share")
    total = sum(data["verdicts"].values()) or 1
    for name, count in data["verdicts"].items():
        if count:
            _row(verdicts, (name, number(count), f"{count / total:.1%}"))
    console.print(verdicts)
    _findings(console, data)
    _embedding(console, data.get("embedding"))
    for line in agreement_lines(data["counts"].get("embed", {})):
        console.print(Text(line))
    search = data["counts"].get("index", {})
    if search.get("kind", "flat") != "flat":
        console.print(Text(f"approximate search: {search['kind']} ({search['reason']})"))
    console.print(Text(shares_line(data["sources"])), end="")
    written = [file for file in (path, path.with_suffix(".html")) if file.exists()]
    console.print(Text("\n" + "\n".join(map(str, written)), style="dim"), soft_wrap=True)


def _conclusion(console: Console, found: dict[str, Any]) -> None:
    style = {"good": "bold green", "usable": "bold yellow"}.get(found["level"], "bold red")
    console.print(Text(f"\n{found['line']}", style=style))
    for reason in found["reasons"]:
        console.print(
            Text(f"- {reason['text']}" + (f"\n  to change it: {reason['change']}" if reason["change"] else ""))
        )


def _distributions(console: Console, distributions: dict[str, Any]) -> None:
    names = ("count", "mean", "std", "min", "p25", "p50", "p75", "max")
    table = _table("\nScores", "", *names, "")
    for name, values in distributions.items():
        _row(table, (name, *(number(values.get(part)) for part in names), ""))
    console.print(table)


_TREATED = {
    "left_out": "suspected positives left out",
    "queries_left_out": "queries left without a positive by that",
    "down_weighted": "suspected positives weighted down",
}


def _findings(console: Console, data: dict[str, Any]) -> None:
    table = _table("\nWorth a look", "finding", "count", "")
    shortage, hubs, bad = data["shortage"], data["hubs"], data["suspected_bad_positives"]
    _row(table, ("examples with fewer negatives than wanted", number(shortage["examples_short"]), ""))
    _row(table, ("examples without any negative", number(shortage["examples_without_negatives"]), ""))
    if shortage["negatives_random"]:
        note = "no part of the false-negative rate"
        _row(table, ("negatives that are random documents", number(shortage["negatives_random"]), note))
        note = f"in {number(shortage['examples_filled_up'])} examples where too few were kept"
        _row(table, ("of these, filled up", number(shortage["negatives_filled_up"]), note))
    elsewhere = data["negatives_positive_elsewhere"]
    share = f"{data['negatives_positive_elsewhere_share']:.1%} of the negatives"
    _row(table, ("negatives that are another query's positive", number(elsewhere), share))
    _batches(table, data.get("batches"))
    busiest = f"the busiest document: {hubs['top'][0]['doc_id']}" if hubs["top"] else ""
    _row(table, ("most often that one document serves", number(hubs["most_served"]), busiest))
    judged = data.get("hidden_positives", {}).get("this_filter", {}).get("judged", {})
    if judged.get("rate") is not None:
        low, high = judged["interval"]
        of = f"{judged['rate']:.1%} of {judged['chosen']:,} ({low:.1%}-{high:.1%}), by hidden positives"
        _row(table, ("false negatives among judged negatives", number(judged["hidden"]), of))
    worst = ", ".join(f"{w['query_id']} {w['doc_id']}" for w in bad["worst"][:3])
    _row(table, ("suspected bad positives", number(bad["count"]), worst and f"worst: {worst}"))
    for name, meaning in _TREATED.items():
        if bad[name]:
            _row(table, (meaning, number(bad[name]), ""))
    console.print(table)


def _embedding(console: Console, found: dict[str, Any] | None) -> None:
    if found is None:
        return
    line = f"embedded {found['embedded']:,} of {found['documents']:,} documents; "
    recall = found["recall"]
    if recall["value"] is None:
        line += f"recall of the dense top {recall['top_k']:,} unknown: {recall['reason']}"
    else:
        low, high = recall["interval"]
        line += f"recall of the dense top {recall['top_k']:,}: {recall['value']:.2f} ({low:.2f}-{high:.2f})"
        line += f", estimated from {found['by_chance']:,} random documents" if found["by_chance"] else ""
    console.print(Text(line))


def _batches(table: Table, found: dict[str, Any] | None) -> None:
    if found is None:
        return
    scores = f"mean score to the others' positives {number(found['score'])}, at random {number(found['random_score'])}"
    _row(table, ("batches", number(found["count"]), f"{found['full']:,} full; {scores}"))
    _row(table, ("pairs of examples kept apart", number(found["conflicts"]), "one's document false for the other"))
