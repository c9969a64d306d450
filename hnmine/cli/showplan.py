"""Drawing a plan: what a run would do, and what it takes of given machines."""

from typing import Any

from rich.text import Text

from hnmine.cli import show
from hnmine.config.sizes import format_size

LIMITS = 8
"""How many of the limits are drawn; --json has them all."""


def plan(data: dict[str, Any]) -> None:
    """Draw a plan."""
    console = show.console()
    table = show.table("Stages", "stage", "state", "would do")
    for stage in data["stages"]:
        show.row(table, (stage["stage"], stage["state"], stage["work"]))
    console.print(table)
    sizes = show.table("\nEstimates", "what", "size", "")
    show.row(sizes, ("documents", show.number(data["documents"]), ""))
    show.row(sizes, ("queries", show.number(data["queries"]), ""))
    show.row(sizes, ("disk", format_size(data["disk_bytes"]), _free(data["disk_free_bytes"])))
    show.row(sizes, ("memory, each worker", format_size(data["memory_bytes"]), f"workers: {data['workers']}"))
    console.print(sizes)
    for warning in data["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))
    if "scale" in data:
        _scale(data["scale"])


def _free(disk: int | None) -> str:
    return "in an object store" if disk is None else f"free: {format_size(disk)}"


def _scale(data: dict[str, Any]) -> None:
    """Draw the steps on given machines, and what breaks first."""
    console = show.console()
    steps = show.table(
        "\nOn these machines",
        "stage",
        "tasks",
        "at once",
        "hours",
        "memory each",
        "read",
        "written",
        "step, and its bound",
    )
    for one in data["steps"]:
        sizes = (format_size(one[name]) for name in ("memory_bytes", "read_bytes", "written_bytes"))
        counts = (one["stage"], f"{one['tasks']:,}", f"{one['at_once']:,}", f"{one['hours']:.2f}")
        show.row(steps, (*counts, *sizes, f"{one['step']} ({one['bound']})"))
    console.print(steps)
    console.print(Text(f"in all {data['hours']:.1f} hours, {format_size(data['moved_bytes'])} moved"))
    console.print(Text(f"index: {data['index']}"))
    first = show.table("\nWhat breaks first (above 1 it does)", "limit", "use", "needs", "has", "then")
    for limit in data["limits"][:LIMITS]:
        cells = (limit["name"], f"{limit['use']:.2f}", limit["value"], limit["bound"], limit["then"])
        show.row(first, cells, "bold yellow" if limit["use"] > 1 else "")
    console.print(first)
    for warning in data["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))
