"""Progress bars on stderr, only on a terminal: one for each step, with rate and time left."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from hnmine.runtime import progress


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")


class Bars(progress.Progress):
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
def progress_on() -> Iterator[progress.Progress]:
    """Yield bars if stderr is a terminal, else a progress that shows nothing."""
    if not sys.stderr.isatty():
        yield progress.Progress()
        return
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Bars(bars)
