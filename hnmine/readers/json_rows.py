"""JSON objects of a file: one a line (.jsonl), or the items of one array (.json), read one at a time."""

import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from hnmine.errors import InputError, reason
from hnmine.readers.lines import DAMAGE, not_utf8, read_lines
from hnmine.storage.input_files import Source

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
LARGEST = 1 << 28
"""Characters that one item of an array may have; a longer one is taken for a text whose quote is not closed."""
_BLOCK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
# An error this near the end of what has been read may be due to the end alone: `tru`, `-`, `\u00`.
_NEAR_END = 16


def json_rows(source: Source) -> tuple[str, Iterator[tuple[int, dict[str, Any]]]]:
    """Return what the numbers of rows count ("line" or "item", from 1), and the (number, object) of each row.

    A .json file may hold one array of objects or one object a line.
    """
    if is_array(source):
        return "item", _items(source)
    return "line", json_objects(source, read_lines(source))


def json_objects(source: Source, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the (line number, object) of each of a file's (line number, line) that is not empty."""
    hint = "; a .json file has one array of objects, or one object a line" if source.ending == ".json" else ""
    for number, line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source.name} line {number:,}: not valid JSON: {error}{hint}") from None
        yield number, _object(record, f"{source.name} line {number:,}")


def _object(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise InputError(f"{where}: a JSON object was expected, not {type(record).__name__}")
    return record


def is_array(source: Source) -> bool:
    """Return whether a file is a .json file with one array."""
    if source.ending != ".json":
        return False
    try:
        with source.open() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as text:
            return _Window(text).peek() == "["
    except DAMAGE:
        return False  # reading its lines says what is wrong


def _items(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of an array, of which one and a block of the file are in memory at a time."""
    number = 0
    try:
        with source.open() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n") as text:
            window = _Window(text)
            window.peek()
            window.skip()
            while window.peek() != "]":
                if number:
                    window.expect(",")
                number += 1
                yield number, _object(window.value(), f"{source.name} item {number:,}")
            window.skip()
            if window.peek():
                raise window.fault("the file goes on after the end of its array")
    except UnicodeDecodeError as error:
        raise not_utf8(source, f"item {number:,}", error) from None
    except _Fault as error:
        raise InputError(f"{source.name} {error.args[0]}, item {max(1, number):,}: {error.args[1]}") from None
    except DAMAGE as error:
        raise InputError(f"{source.name}: damaged after item {number:,}: {reason(error)}") from None


class _Fault(Exception):
    """A place in the file, and what is wrong there."""


class _Window:
    """Reads JSON values from a text of which only a part is in memory.

    Args:
        text: opened for reading.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._held, self._at = "", 0
        self._lines = self._characters = 0  # before what is held
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """Return the next character that is no white space; "" at the end."""
        while True:
            space = _SPACE.match(self._held, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Go on by one character."""
        self._at += 1

    def expect(self, sign: str) -> None:
        """Go past a character, after which a value must follow."""
        if (found := self.peek()) != sign:
            raise self.fault(f"Expecting {sign!r} or ']'" if found else "the file ends inside its array; cut off?")
        self.skip()

    def value(self) -> Any:
        """Return the next value."""
        if not self.peek():
            raise self.fault("the file ends inside its array; cut off?")
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._held, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or len(self._held) - error.pos < _NEAR_END
                before = self._at
                if not cut or not self._more():
                    raise self.fault(f"not valid JSON: {error.msg}", error.pos - (before - self._at)) from None
                if len(self._held) > LARGEST:
                    raise self.fault(f"more than {LARGEST:,} characters; is a quote not closed?") from None
            except RecursionError as error:
                raise self.fault(f"not valid JSON: {error}") from None
            else:
                return value

    def fault(self, what: str, at: int | None = None) -> _Fault:
        """Return an error at a place of what is held, by default the next character."""
        at = self._at if at is None else at
        line = self._lines + self._held.count("\n", 0, at) + 1
        return _Fault(f"line {line:,}, character {self._characters + at + 1:,}", what)

    def _more(self) -> bool:
        """Read as much again as is left of what is held, a block at least; return False at the end of the text."""
        self._lines += self._held.count("\n", 0, self._at)
        self._characters += self._at
        block = self._text.read(max(_BLOCK, len(self._held) - self._at))
        self._held, self._at = self._held[self._at :] + block, 0
        return bool(block)
