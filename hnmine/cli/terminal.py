"""The terminal: answers on stdout; progress, warnings, hints and a run's summary on stderr.

Text is never read as markup. Tables have the width of the terminal, and a fixed one in a pipe or file.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hnmine.cli.progress_lines import Lines
from hnmine.config.section import toml_value
from hnmine.display import shorten
from hnmine.runtime import engines

PIPE_WIDTH = 120
"""Characters of a line where there is no terminal."""
NAME_WIDTH = 30
"""Characters of the longest names, such as those of numbers, that a table's first column keeps on one line."""
VALUE_WIDTH = 60
"""Characters shown of a setting's value."""
_is_answer: ContextVar[bool] = ContextVar("_is_answer", default=False)


def print_result(result: Any) -> None:
    """Print a command's result on stdout: a text as it is, anything else as JSON."""
    letters = sys.stdout.encoding.lower().startswith("utf")  # JSON has escapes of its own for others
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=not letters)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show(data: dict[str, Any], as_json: bool, draw: Callable[[dict[str, Any]], None]) -> None:
    """Print a command's answer on stdout: as JSON, or by `draw`, whose tables and lines then go there."""
    if as_json:
        print_result(data)
        return
    before = _is_answer.set(True)
    try:
        draw(data)
    finally:
        _is_answer.reset(before)


def say(text: str, style: str = "", *, soft_wrap: bool = False) -> None:
    """Print a text: on stdout while an answer is shown, else on stderr.

    `soft_wrap` leaves long lines to the terminal, so that paths can be copied.
    """
    _console(_is_answer.get()).print(Text(text, style=style), soft_wrap=soft_wrap)


def say_item(text: str) -> None:
    """Print a text after a dash where `say` prints. Its other lines, and parts of a wrapped one, are indented."""
    item = Table.grid(padding=(0, 1))
    for line in text.split("\n"):
        own = line.lstrip()
        item.add_row("" if item.rows else "-", Padding(Text(own), (0, 0, 0, len(line) - len(own))))
    _console(_is_answer.get()).print(item)


def hint(text: str, style: str = "") -> None:
    """Print a text that is no part of an answer, on stderr."""
    _console(False).print(Text(text, style=style), soft_wrap=not sys.stderr.isatty())


def warn(warnings: Iterable[str], style: str = "bold yellow") -> None:
    """Print each warning on a line of its own on stderr."""
    for warning in warnings:
        hint(f"warning: {warning}", style)


def tell_differences(data: dict[str, Any]) -> None:
    """Warn of settings in which a run differs from the config, and of what could not be compared.

    `data` contains `FinishedRun.differences`.

    Called after the answer, so that a long one does not push the warning out of sight.
    """
    if data["other_settings"]:
        changes = (
            f"{one['name']} was {_value(one['was'])}, now {_value(one['now'])}" for one in data["other_settings"]
        )
        warn([f"this run was made with other settings: {'; '.join(changes)}"])
    if data["not_compared"]:
        reasons = "\n".join(f"  {line}" for line in data["not_compared"])
        warn([f"these could not be compared with the run:\n{reasons}"])


def _value(value: Any) -> str:
    return "not set" if value is None else shorten(value if isinstance(value, str) else toml_value(value), VALUE_WIDTH)


def draw_table(
    title: str,
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    styles: Iterable[str] = (),
    texts: Collection[str] = (),
) -> None:
    """Print a table where `say` prints; all columns but the first, the last and those in `texts` are aligned right.

    `styles` has a style for each row; rows beyond its end have none.
    """
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    names, given = list(columns), iter(styles)
    cells = [[str(cell) for cell in row] for row in rows]
    whole = all(len(row[0]) <= NAME_WIDTH and " " not in row[0] for row in cells)
    for number, name in enumerate(names):
        is_text, no_wrap = number in (0, len(names) - 1) or name in texts, whole and number == 0
        table.add_column(name, justify="left" if is_text else "right", overflow="fold", no_wrap=no_wrap)
    for row in cells:
        table.add_row(*map(Text, row), style=next(given, ""))
    _console(_is_answer.get()).print(table)


def _console(stdout: bool) -> Console:
    width = None if (sys.stdout if stdout else sys.stderr).isatty() else PIPE_WIDTH
    return Console(stderr=not stdout, width=width, highlight=False, markup=False)


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
        name = engines.step_label(stage, step)
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
    """Yield bars if stderr is a terminal, else a progress that prints lines."""
    if not sys.stderr.isatty():
        with Lines(_write_line) as lines:
            yield lines
        return
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Bars(bars)


@contextmanager
def working(command: str) -> Iterator[None]:
    """Show that a command without steps of its own is at work: a line now and then, or a moving sign on a terminal."""
    if sys.stderr.isatty():
        with _console(False).status(command):
            yield
        return
    with Lines(_write_line) as lines:
        lines.working(command)
        yield


def _write_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
