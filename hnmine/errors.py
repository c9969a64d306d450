"""The errors raised on purpose, each with its exit code on the command line.

    HnmineError                 1
    ├── ConfigError             2   the config file or a flag is wrong
    ├── InputError              3   a file of the user's is missing, unreadable or contradicts another
    ├── TooFewQueries           3   a run has too few queries for the command
    ├── OutputError             4   the output folder cannot be used as it is
    │   ├── StaleOutput         4   it holds results of another config or other inputs
    │   ├── IncompleteStage     4   a stage that this one reads has not finished
    │   └── LockedOutput        4   another live run is writing to it
    ├── MissingExtra            5   an optional package is not installed
    ├── ModelError              6   a model cannot be loaded, or gives unusable vectors
    ├── GateFailed              7   the report crossed a --fail-under or --fail-over limit
    ├── WorkerDied              8   a worker process ended without a result
    ├── ClusterError            9   the Ray cluster cannot be used
    ├── EmptySet               10   no training row came out
    └── ServerError            11   the server of a model cannot be reached, or refuses

A message says what is wrong, where (file, line, column, key) and what to do. The command line catches
`HnmineError` in one place; anything else is a bug and keeps its traceback.
"""

from collections.abc import Sequence

SHOWN = 12


class HnmineError(Exception):
    """Base of every error that hnmine raises on purpose."""

    exit_code = 1


class ConfigError(HnmineError):
    """The config file or a flag is wrong."""

    exit_code = 2


class InputError(HnmineError):
    """A file of the user's is missing, unreadable, or contradicts another."""

    exit_code = 3


class TooFewQueries(HnmineError):
    """A run has too few queries to train on some and test on others."""

    exit_code = 3


class OutputError(HnmineError):
    """The output folder cannot be used as it is."""

    exit_code = 4


class StaleOutput(OutputError):
    """The output folder holds results of another config or of other inputs."""


class IncompleteStage(OutputError):
    """A stage that this one reads has not finished."""


class LockedOutput(OutputError):
    """Another live run is writing to the same output folder."""


class MissingExtra(HnmineError):
    """An optional package is not installed."""

    exit_code = 5


class ModelError(HnmineError):
    """A model cannot be loaded, or gives unusable vectors."""

    exit_code = 6


class GateFailed(HnmineError):
    """The report crossed a `--fail-under` or `--fail-over` limit."""

    exit_code = 7


class WorkerDied(HnmineError):
    """A worker process ended without giving a result."""

    exit_code = 8


class ClusterError(HnmineError):
    """The Ray cluster cannot be reached, or its nodes cannot do the work."""

    exit_code = 9


class EmptySet(HnmineError):
    """The run is complete, and its training files have no row."""

    exit_code = 10


class ServerError(HnmineError):
    """The server of a model cannot be reached, refuses a request, or answers with something else than it should."""

    exit_code = 11


class Problems:
    """Collects what is wrong with an input, so that all of it is reported at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._seen: set[int] = set()

    def add(self, message: str) -> None:
        """Note one problem; the run goes on until `raise_if_any`."""
        if hash(message) not in self._seen and len(self.messages) < SHOWN:
            self.messages.append(message)
        self._seen.add(hash(message))

    def raise_if_any(self, error: type[HnmineError] = InputError) -> None:
        """Raise `error` if there is a problem: a line for each, and the number of those beyond `SHOWN`."""
        if rest := len(self._seen) - len(self.messages):
            self.messages.append(f"... and {rest:,} more problems")
        if self.messages:
            raise error("\n".join(self.messages))


def few(names: Sequence[object], most: int = 3) -> str:
    """Return the first few of `names` for a message: `'a', 'b', 'c' and 4 more`."""
    text = ", ".join(repr(name) for name in names[:most])
    rest = len(names) - most
    return f"{text} and {rest:,} more" if rest > 0 else text


def reason(error: BaseException) -> str:
    """Return why an operation failed, for a message: the first line of the error's text, at most 300 characters.

    Of an operating system's error the text is without path and number; an error without a text gives its class' name.
    """
    text = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
    return text.splitlines()[0][:300].rstrip(".")
