"""Progress of a run: the protocol that stages report to, and an implementation that shows nothing."""

from typing import Protocol


class Progress(Protocol):
    """Shows how far a step is. `hnmine.cli.progress` draws bars."""

    def start(self, stage: str, step: str, unit: str, total: int, done: int) -> None:
        """Begin a step of `total` rows, of which `done` were finished by an earlier run."""
        ...

    def advance(self, rows: int) -> None:
        """Count finished rows. Several threads may call it."""
        ...

    def note(self, message: str) -> None:
        """Show a message."""
        ...

    def end(self) -> None:
        """End the step."""
        ...


class SilentProgress:
    """Shows nothing."""

    def start(self, stage: str, step: str, unit: str, total: int, done: int) -> None:
        """Do nothing."""

    def advance(self, rows: int) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""
