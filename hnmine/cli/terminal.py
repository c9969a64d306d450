"""The terminal: tables, lines and progress bars on stderr, results on stdout. Text is never read as markup."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hnmine.runtime import engines


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

    `styles` has a style for each row; rows beyond its end have none.
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


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")


class Bars(engines.Progress):
    """Draws a bar for each step."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.task = bars.add_task("", total=None, visible=False)

    def start(self, stage: str, step: str, unit: str, total: int, done: int) -> None:
        """Begin a step of `total` rows, `done` of which exist already."""
        name = stage if step in stage else f"{stage} {step}"
        self.task = self.bars.add_task(f"{name} ({unit})", total=total or None, completed=done)

    def advance(self, rows: int) -> None:
        """Count rows done."""
        self.bars.advance(self.task, rows)

    def note(self, message: str) -> None:
        """Print a message above the bars."""
        self.bars.console.print(Text(message))

    def end(self) -> None:
        """Remove the bar; the summary shows the result of the step."""
        self.bars.remove_task(self.task)


@contextmanager
def progress_on() -> Iterator[engines.Progress]:
    """Yield bars if stderr is a terminal, else a progress that shows nothing."""
    if not sys.stderr.isatty():
        yield engines.Progress()
        return
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Bars(bars)
