"""stdout and stderr of the command line: a reader that closes its pipe, as `head` and `less` do, is no error."""

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def accept_closed_pipes() -> None:
    """Replace `sys.stdout` and `sys.stderr` by streams that drop what is written after their reader is gone.

    The command then ends as it would have ended, with the exit code that its work gives.
    """
    sys.stdout = _opened(sys.stdout)
    sys.stderr = _opened(sys.stderr)


def _opened(stream: TextIO | None) -> TextIO:
    """Return a stream on the same file; one that drops everything if there is none (`hnmine ... >&-`)."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    stream.flush()
    buffer = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
    # a terminal that cannot show a letter shows its number: that is no reason to stop
    return io.TextIOWrapper(
        buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=stream is sys.stderr
    )


class _Pipe(io.FileIO):
    """A file descriptor that is turned to the null device when the reader of its pipe is gone."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write bytes and return their number."""
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return memoryview(data).nbytes
