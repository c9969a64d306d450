"""The page of `hnmine compare --html`."""

from collections.abc import Callable
from typing import Any

from hnmine import display
from hnmine.stages.report.html.page import render_template

LONGEST = 400
"""Characters shown of a text."""


def compare_page(data: dict[str, Any]) -> str:
    """Return the result of `compare` as one HTML file that loads nothing else; texts are escaped and cut."""
    filters: dict[str, Callable[..., Any]] = {
        "number": display.number, "signed": display.signed, "percent": display.percent, "cut": _cut,
        "interval": display.interval,
    }  # fmt: skip
    return render_template("compare.html.j2", filters, **data, labels=labels(len(data["sets"])))


def labels(count: int) -> list[str]:
    """Return a short name for each of `count` sets: A, B, ...; numbers where there are more than 26."""
    return [chr(ord("A") + i) if count <= 26 else str(i + 1) for i in range(count)]


def _cut(text: str) -> str:
    return display.shorten(display.one_line(text), LONGEST)
