"""The terminal: tables and lines on stderr, results on stdout. Text from data is never read as markup."""

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_result(result: Any) -> None:
    """Print a command's result on stdout: a text as it is, anything else as JSON."""
    sys.stdout.write((result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def show(data: dict[str, Any], as_json: bool, draw: Callable[[dict[str, Any]], None]) -> None:
    """Print a result as JSON on stdout, or draw it as tables on stderr."""
    if as_json:
        print_result(data)
    else:
        draw(data)


def say(text: str, style: str = "", *, soft_wrap: bool = False) -> None:
    """Print a text on stderr; `soft_wrap` leaves long lines to the terminal, so that paths can be copied."""
    _console().print(Text(text, style=style), soft_wrap=soft_wrap)


def warn(warnings: Iterable[str], style: str = "bold yellow") -> None:
    """Print each warning on a line of its own on stderr."""
    for warning in warnings:
        say(f"warning: {warning}", style)


def draw_table(
    title: str, columns: Iterable[str], rows: Iterable[Iterable[object]], styles: Iterable[str] = ()
) -> None:
    """Print a table on stderr; all columns but the first and the last are aligned to the right.

    Args:
        title: printed above it.
        columns: names of the columns.
        rows: cells of each row, as many as columns.
        styles: a style for each row; none for rows beyond.
    """
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    names, given = list(columns), iter(styles)
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number in (0, len(names) - 1) else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row), style=next(given, ""))
    _console().print(table)


def _console() -> Console:
    return Console(stderr=True, width=None if sys.stderr.isatty() else 120, highlight=False, markup=False)
