"""The audit on the command line: run it, draw it, hold it to limits."""

from pathlib import Path
from typing import Any

from rich.text import Text

from hnmine.cli import show
from hnmine.cli.progress import progress_on
from hnmine.commands.audit.audit import Request, audit, write_audit
from hnmine.stages.report.headline import NUMBERS
from hnmine.stages.report.limits import check_limits, parse_limits

MEASURED = ("coverage", "hardness", "safety", "capacity", "eci")
SHOWN = 2
WIDTH = 100


def run_audit(request: Request, out: Path | None, as_json: bool, limits: tuple[list[str], list[str]]) -> None:
    """Audit files, show what came of it, and hold it to limits.

    Args:
        request: what to audit.
        out: folder for audit.json, or None.
        as_json: print the report as JSON on stdout instead of drawing it.
        limits: texts of --fail-under and of --fail-over.

    Raises:
        HnmineError: see `hnmine.errors`.
    """
    under, over = parse_limits(limits[0], "--fail-under"), parse_limits(limits[1], "--fail-over")
    with progress_on() as progress:
        report = audit(request, progress)
    path = write_audit(report, out) if out is not None else None
    show.result(report, as_json, draw)
    if path is not None and not as_json:
        show.emit(str(path))
    check_limits(report, under, over)


def draw(report: dict[str, Any]) -> None:
    """Draw an audit for people."""
    console = show.console()
    counts = report["counts"]
    console.print(Text(f"Recognised: {report['columns']}{', ids looked up' if report['ids'] else ''}", style="bold"))
    for entry in report["files"]:
        console.print(Text(f"{entry['file']}: {entry['rows']:,} rows"), soft_wrap=True)
    console.print(Text(", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in counts.items())))
    for warning in report["warnings"]:
        console.print(Text(f"warning: {warning}", style="bold yellow"))
    table = show.table("\nNumbers", "number", "value", "meaning")
    for name, meaning in ((one.name, one.meaning) for one in NUMBERS if one.name in MEASURED):
        reason = report.get(f"{name}_reason")
        show.row(table, (name, show.number(report[name]), f"{meaning} ({reason})" if reason else meaning))
    console.print(table)
    _findings(console, report["findings"])


def _findings(console: Any, findings: dict[str, Any]) -> None:
    measured = {name: entry for name, entry in findings.items() if entry["count"] is not None}
    table = show.table("\nFindings", "finding", "count", "share", "limit", "meaning")
    for name, entry in sorted(measured.items(), key=lambda pair: not pair[1]["fault"]):
        form = "+.2f" if "effect" in entry else ".1%"
        limit = "-" if entry["limit"] is None else f"{entry['limit']:{'g' if 'effect' in entry else '.0%'}}"
        cells = (
            name,
            show.number(entry["count"]),
            f"{entry.get('effect', entry['share']):{form}}",
            limit,
            f"{entry['of']}: {entry['meaning']}",
        )
        show.row(table, cells, "red" if entry["fault"] else "dim" if not entry["count"] else "")
    console.print(table)
    faults = {name: entry for name, entry in measured.items() if entry["fault"]}
    for name, entry in faults.items():
        console.print(Text(f"\n{name}: {entry['advice']}", style="bold red"))
        for example in entry["examples"][:SHOWN]:
            console.print(Text(f"  {_line(example)}"), soft_wrap=True)
    unmeasured = [f"{name} ({entry['reason']})" for name, entry in findings.items() if entry["count"] is None]
    if unmeasured:
        console.print(Text(f"\nnot measured: {', '.join(unmeasured)}", style="dim"))
    console.print(Text(f"\nfaults: {', '.join(faults)}" if faults else "\nno faults found", style="bold"))


def _line(example: dict[str, Any]) -> str:
    """Return an example in one line: where it stands, its texts, its numbers."""
    parts = [f"{example['file']} row {example['row']:,}"] if "file" in example else []
    for name, value in example.items():
        if name in ("query", "positive", "negative"):
            line = " ".join(value.split()) if value is not None else "-"
            parts.append(f"{name}: {line if len(line) <= WIDTH else line[: WIDTH - 3] + '...'}")
        elif name not in ("file", "row"):
            parts.append(f"{name} {value if isinstance(value, str) else show.number(value)}")
    return " | ".join(parts)
