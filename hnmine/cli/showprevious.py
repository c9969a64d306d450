"""What a run made of an earlier one's negatives, on stderr."""

from typing import Any

from rich.text import Text

from hnmine.cli import show


def section(data: dict[str, Any]) -> None:
    """Draw the report's section `previous`."""
    console, table = show.console(), show.table("\nAgainst the earlier run", "negatives", "score", "hardness", "")
    meanings = {
        "then": "its negatives, by its model",
        "now": "its negatives, by the model of now",
        "new": "the negatives of now",
    }
    for name, meaning in meanings.items():
        one = data[name]
        show.row(table, (name, show.number(one["score"]), show.number(one["hardness"]), meaning))
    console.print(table)
    counts = ", ".join(f"{count:,} {name}" for name, count in data["fates"].items())
    shares = (("churn", "churn"), ("rows changed", "rows_changed"), ("overlap", "overlap"))
    said = ", ".join(f"{label} {show.number(data[key])}" for label, key in shares)
    console.print(Text(f"{data['queries']:,} queries in {data['rows']:,} rows compared: {said}"))
    console.print(Text(f"of its negatives: {counts}"))
    if data["replace"] == "easy":
        console.print(Text(f"{data['stayed']:,} stayed; {data['no_room']:,} hard ones found no room"))
