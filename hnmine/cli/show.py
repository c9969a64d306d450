"""What people see: tables on stderr, results on stdout. Text from data is never taken as markup."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hnmine.config.section import toml_value
from hnmine.pipeline.run import StageResult
from hnmine.stages.report.headline import agreement_lines


def _console() -> Console:
    wide = None if sys.stderr.isatty() else 120
    return Console(stderr=True, width=wide, highlight=False, markup=False)


def emit(result: Any) -> None:
    """Print a command's result on stdout: a text as it is, anything else as JSON."""
    sys.stdout.write((result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def result(data: dict[str, Any], as_json: bool, draw: Callable[[dict[str, Any]], None]) -> None:
    """Print a result as JSON on stdout, or draw it for people on stderr."""
    if as_json:
        emit(data)
    else:
        draw(data)


def note(text: str) -> None:
    """Say something on stderr."""
    _console().print(Text(text), soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number in (0, len(columns) - 1) else "right", overflow="fold")
    return table


def _row(table: Table, cells: Sequence[object], style: str = "") -> None:
    table.add_row(*(Text(str(cell)) for cell in cells), style=style)


console, table, row = _console, _table, _row  # for the modules that draw one command's result


def number(value: Any) -> str:
    """Return a number for people; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def interval(ends: Sequence[float] | None) -> str:
    """Return an interval for people; nothing where there is none."""
    return "" if ends is None else " to ".join(number(end) for end in ends)


def stages(results: Sequence[StageResult]) -> None:
    """Draw one line a stage: time, and what came of it."""
    table = _table("Stages", "stage", "seconds", "result")
    for r in results:
        seconds = f"{r.seconds:.1f}" if r.ran else "kept"
        _row(table, (r.stage, seconds, _brief(r)))
    console = _console()
    console.print(table)
    if "report" in [r.stage for r in results]:
        return  # which says it again
    for r in results:
        if "warning" in r.counts and r.stage in ("retrieve", "filter"):
            console.print(Text(f"warning: {r.counts['warning']}", style="bold yellow"))


_BRIEF = {
    "ingest": "{documents:,} documents, {queries:,} queries, {positives:,} positives",
    "embed": "{documents:,} + {queries:,} vectors of {dim} numbers",
    "index": "{kind} ({reason})",
    "retrieve": "{candidates:,} candidates",
    "rescore": "{scored:,} candidates and {positives:,} positives rescored",
    "emit": "{rows:,} rows, {examples_full:,} of {examples:,} examples full",
}


_ODDITIES = {
    "ingest": (
        "collapsed_copies", "empty_documents", "empty_queries", "queries_without_positive", "judgements_skipped",
    ),
    "emit": ("positives_left_out", "queries_left_out", "positives_down_weighted"),
}  # fmt: skip
"""Counts that are shown where they are not 0."""


def _brief(r: StageResult) -> str:
    if r.stage == "filter":
        verdicts = r.counts["verdicts"]
        rejected = sum(verdicts.values()) - verdicts["keep"]
        return f"{verdicts['keep']:,} kept, {rejected:,} marked otherwise"
    text = _BRIEF.get(r.stage, "").format(**r.counts)
    if "documents_in_all" in r.counts:
        text += f", of {r.counts['documents_in_all']:,} documents"
    if r.stage == "embed" and "guide_dim" in r.counts:
        text += f", and of {r.counts['guide_dim']:,} by the guide"
    for name, dim in sorted(r.counts.get("source_dims", {}).items()):
        text += f", and of {dim:,} by {name}"
    text += "".join(f", {line}" for line in agreement_lines(r.counts))
    if r.stage == "emit" and r.counts.get("negatives_previous"):
        text += f", {r.counts['negatives_previous']:,} negatives of the earlier run stay"
    if r.stage == "emit" and r.counts["negatives_random"]:
        text += f", {r.counts['negatives_random']:,} random negatives ({r.counts['negatives_filled_up']:,} to fill up)"
    for name in _ODDITIES.get(r.stage, ()):
        if r.counts[name]:
            text += f", {r.counts[name]:,} {name.replace('_', ' ')}"
    return text


def explanation(data: dict[str, Any]) -> None:
    """Draw every candidate of a query."""
    console = _console()
    console.print(Text(f"{data['query_id']}: {data['query']}", style="bold"))
    guided = any(p["guide_score"] is not None for p in data["positives"])
    guide = ("guide",) if guided else ()
    positives = _table("\nPositives", "doc_id", "score", *guide, "standing", "text")
    for p in data["positives"]:
        numbers = (number(p["score"]), *_guide(p, guided), number(p["standing"]))
        _row(positives, (p["doc_id"], *numbers, _short(p["text"])))
    console.print(positives)
    for anchor in data["anchors"]:
        sources = list(anchor["candidates"][0]["source_ranks"]) if anchor["candidates"] else []
        table = _table(
            f"\nCandidates for anchor score {anchor['anchor_score']:.3f}",
            "rank",
            "score",
            *sources,
            *guide,
            "sim",
            "verdict",
            "doc_id",
            "text",
        )
        for c in anchor["candidates"]:
            style = "green" if c["chosen"] else "" if c["verdict"] == "keep" else "dim"
            verdict = f"{c['verdict']} *" if c["chosen"] else c["verdict"]
            found = tuple("-" if c["source_ranks"][name] is None else c["source_ranks"][name] for name in sources)
            numbers = (c["rank"], number(c["score"]), *found, *_guide(c, guided), number(c["similarity"]))
            _row(table, (*numbers, verdict, c["doc_id"], _short(c["text"])), style)
        for name in ("previous", "random"):
            for c in anchor.get(name, ()):
                blank = ("",) * (len(sources) + guided)
                _row(table, ("-", number(c["score"]), *blank, "", f"{name} *", c["doc_id"], _short(c["text"])), "green")
        console.print(table)
    console.print("* chosen as a negative; sim: cosine to the most similar positive")
    console.print("standing: share of the candidates, positives apart, that the positive outscores")


def _guide(row: dict[str, Any], guided: bool) -> tuple[str, ...]:
    return (number(row["guide_score"]),) if guided else ()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:157] + "..."


def swept(data: dict[str, Any]) -> None:
    """Draw one line a setting; * marks those that no other beats in rate and hardness at once."""
    console = _console()
    measured = data["measured_on_hidden_positives"]
    title = "Settings, the config's own first (hidden positives)" if measured else "Settings, the config's own first"
    table = _table(title, "", "false negatives", "95% interval", "hardness", "fill", "eci", "setting")
    for one in data["settings"]:
        rate, interval = "-", ""
        if measured:
            rate, interval = f"{one['rate']:.1%}", "-".join(f"{end:.1%}" for end in one["interval"])
        cells = (
            "*" if one["front"] else "",
            rate,
            interval,
            number(one["hardness"]),
            f"{one['fill']:.2f}",
            number(one["eci"]),
        )
        _row(table, (*cells, ", ".join(f"{k} = {toml_value(v)}" for k, v in one["settings"].items())))
    console.print(table)
    if not measured:
        console.print(Text(f"false negatives could not be measured: {data['reason']}"))
    if data["target"] is not None and data["recommended"] is None:
        console.print(Text(f"no setting is known to meet a rate of {data['target']:g}"))


def toml_table(name: str, settings: dict[str, Any]) -> str:
    """Return settings as a table of a config file."""
    return f"[{name}]\n" + "\n".join(f"{key} = {toml_value(value)}" for key, value in settings.items())
