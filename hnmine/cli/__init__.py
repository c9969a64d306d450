"""The command line: commands, their options and their tables; the only package with typer and rich.

stdout carries a command's answer: a table, a path, or JSON under `--json`. stderr carries progress, warnings and hints,
and the summary of a run.
"""

import os
import signal
import sys
from types import FrameType


class Stopped(SystemExit):
    """Raised on Ctrl-C or SIGTERM: unfinished work is given up, what is finished is kept."""


def main() -> None:
    """Run the command line and exit with the code of `hnmine.errors`; 130 for Ctrl-C, 143 for SIGTERM."""
    from hnmine.cli.streams import accept_closed_pipes

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    accept_closed_pipes()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.exit(_run())


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(128 + number)


def _run() -> int:
    if os.environ.get("_HNMINE_COMPLETE"):
        from hnmine.cli.completion import answer_bash, asks_bash

        if asks_bash():
            return answer_bash(_run_app)
    return _run_app()


def _run_app() -> int:
    from hnmine.cli.app import app
    from hnmine.errors import HnmineError

    try:
        app(prog_name="hnmine")
    except HnmineError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except Stopped as stop:
        sys.stderr.write("stopped; what is finished is kept: run the same command again to continue\n")
        return int(str(stop.code))
    return 0
