"""Progress where there is no terminal: a plain line at each stage's start and end, and one now and then between."""

import threading
import time
from collections.abc import Callable

from hnmine.runtime import engines

EVERY = 30.0
"""Seconds between two lines of a stage that is still running."""
_LOOK_EVERY = 1.0


class Lines(engines.Progress):
    """Prints lines without colour: `embed: 12,288 of 57,638 texts, 410/s, about 2 min left`.

    Used as a context manager, it looks at the clock in a thread of its own, so that a line comes too while nothing is
    counted.

    Args:
        write: prints a line.
        clock: returns seconds; only differences count.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._stage, self._step, self._unit = "", "", ""
        self._began = self._printed = self._step_began = 0.0
        self._total = self._first = self._done = 0

    def __enter__(self) -> "Lines":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def stage_start(self, stage: str) -> None:
        """Print that a stage starts."""
        self._write(f"{stage}: started")
        self.working(stage)

    def stage_end(self, stage: str, seconds: float | None) -> None:
        """Print that a stage is done, or was kept."""
        with self._lock:
            self._stage = ""
        self._write(f"{stage}: kept" if seconds is None else f"{stage}: done in {seconds:.1f} s")

    def working(self, name: str) -> None:
        """Print a line every `EVERY` seconds from now on, until a stage ends."""
        with self._lock:
            self._stage, self._step = name, ""
            self._began = self._printed = self._clock()

    def start(self, stage: str, step: str, unit: str, total: int, done: int) -> None:
        """Begin a step of `total` rows, `done` of which exist already."""
        with self._lock:
            if not self._stage:  # a step of a command that is no stage
                self._began = self._printed = self._clock()
            self._stage, self._step, self._unit = stage, engines.step_label(stage, step), unit
            self._step_began, self._total, self._first, self._done = self._clock(), total, done, done

    def advance(self, rows: int) -> None:
        """Count rows done."""
        with self._lock:
            self._done += rows

    def note(self, message: str) -> None:
        """Print a message."""
        self._write(message)

    def end(self) -> None:
        """End the step."""
        with self._lock:
            self._step = ""

    def look(self) -> None:
        """Print a line if a stage is running and the last line is `EVERY` seconds old."""
        with self._lock:
            now = self._clock()
            if not self._stage or now - self._printed < EVERY:
                return
            self._printed = now
            line = self._line(now)
        self._write(line)

    def _line(self, now: float) -> str:
        if not self._step or not self._total:
            return f"{self._step or self._stage}: {duration(now - self._began)} so far"
        line = f"{self._step}: {min(self._done, self._total):,} of {self._total:,} {self._unit}"
        seconds, made = now - self._step_began, self._done - self._first
        if made < 2 or seconds <= 0:  # the first one often includes loading a model: no rate to go by
            return f"{line}, {duration(seconds)} so far"
        rate = made / seconds
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        left = max(0, self._total - self._done) / rate
        return f"{line}, {shown}/s, about {duration(left)} left"

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK_EVERY):
            self.look()


def duration(seconds: float) -> str:
    """Return a length of time: `40 s`, `2 min` from 90 seconds on, `1.5 h` from 90 minutes on."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
