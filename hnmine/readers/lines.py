"""Lines of the user's text files, with their numbers for messages."""

import codecs
import io
import itertools
import lzma
import zlib
from collections.abc import Iterator

from hnmine.errors import InputError, reason
from hnmine.storage.input_files import Source

DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
"""Errors of reading a damaged file, compressed or not."""


_OTHER_FORMATS = {
    b"\x1f\x8b": "it is compressed by gzip: add .gz to its name",
    b"PK\x03\x04": "it is a zip archive: extract its files",
    b"\xff\xfe": "it is UTF-16: save it as UTF-8",
    b"\xfe\xff": "it is UTF-16: save it as UTF-8",
}
"""What a file is that is no UTF-8, by its first bytes."""


def not_utf8(source: Source, after: str, error: UnicodeDecodeError) -> InputError:
    """Return the error of a file that is no UTF-8 after a line or item, with what to do."""
    with source.open() as raw:
        first = raw.read(4)
    advice = next((text for start, text in _OTHER_FORMATS.items() if first.startswith(start)), "save it as UTF-8")
    return InputError(f"{source.name}: not UTF-8 after {after}: {error.reason}; {advice}")


def read_lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its line end) of a UTF-8 file."""
    number = 0
    try:
        with source.open() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n") as text:
            for line in text:
                number += 1
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise not_utf8(source, f"line {number:,}", error) from None
    except DAMAGE as error:
        raise InputError(f"{source.name}: damaged after line {number:,}: {reason(error)}") from None


_BLOCK = 1 << 20


def read_blocks(source: Source) -> Iterator[tuple[int, bytes | None]]:
    """Yield (number of its first line, whole lines) for each block of a UTF-8 file, about a megabyte each.

    Of a file that is damaged or no UTF-8, the last block is None: reading its lines one by one says what is wrong.
    """
    number, held = 1, b""
    try:
        with source.open() as raw:
            more = True
            while more:
                data = raw.read(_BLOCK)
                held, more = held + data, bool(data)
                end = held.rfind(b"\n") + 1 if more else len(held)
                block, held = held[:end], held[end:]
                block.decode()
                shown = block.removeprefix(codecs.BOM_UTF8) if number == 1 else block
                if shown:
                    yield number, shown
                number += block.count(b"\n")
    except DAMAGE:
        yield number, None


def block_lines(source: Source, first: int, block: bytes | None) -> Iterator[tuple[int, str]]:
    """Yield (line number, line without its line end) of a block of `read_blocks`, as `read_lines` does."""
    if block is None:
        return itertools.islice(read_lines(source), first - 1, None)
    lines = block.decode().removesuffix("\n").split("\n")
    return ((number, line.rstrip("\r\n")) for number, line in enumerate(lines, first))
