"""Lines of the user's text files, with their numbers for messages."""

import io
import lzma
import zlib
from collections.abc import Iterator

from hnmine.errors import InputError, reason
from hnmine.storage.input_files import Source

DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
"""Errors of reading a damaged file, compressed or not."""


def read_lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its line end) of a UTF-8 file."""
    number = 0
    try:
        with source.open() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n") as text:
            for line in text:
                number += 1
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{source.name}: not UTF-8 after line {number:,}: {error.reason}") from None
    except DAMAGE as error:
        raise InputError(f"{source.name}: damaged after line {number:,}: {reason(error)}") from None
