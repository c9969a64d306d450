"""Progress of a run, as stages report it."""


class Progress:
    """Shows nothing; base of what shows how far a step is, such as the bars of `hnmine.cli.terminal`."""

    def start(self, stage: str, step: str, unit: str, total: int, done: int) -> None:
        """Begin a step of `total` rows, of which `done` were finished by an earlier run."""

    def advance(self, rows: int) -> None:
        """Count finished rows. Several threads may call it."""

    def note(self, message: str) -> None:
        """Show a message."""

    def end(self) -> None:
        """End the step."""
