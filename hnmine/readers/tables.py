"""Table formats (Parquet, JSONL, CSV, TSV), read as chunks of Python columns with row numbers for messages."""

import csv
import io
import itertools
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.errors import InputError, Problems, reason
from hnmine.storage.input_files import Source

CHUNK_ROWS = 8192
ABSENT = object()
_FIELD_LIMIT = 1 << 30


class RowLocation(NamedTuple):
    """The file and number of a row, from 1; as text `corpus.jsonl line 17`, or `row` for `line` in Parquet."""

    file: str
    word: str
    line: int

    def __str__(self) -> str:
        """Return the location for messages."""
        return f"{self.file} {self.word} {self.line:,}"


@dataclass(frozen=True)
class Chunk:
    """Some rows of one file.

    Attributes:
        source: the file.
        columns: values by column, all of equal length; a missing JSON field is `ABSENT`.
        lines: number of each row in the file.
        word: what the numbers count, see `RowLocation`.
    """

    source: Source
    columns: dict[str, list[Any]]
    lines: list[int]
    word: str

    def location(self, index: int) -> RowLocation:
        """Return the location of row `index` of the chunk."""
        return RowLocation(self.source.name, self.word, self.lines[index])

    def convert(self, values: list[Any], kind: Callable[[Any], Any], expected: str, problems: Problems) -> list[Any]:
        """Return converted values; one that cannot be converted becomes a problem, and None in its place.

        `kind` returns a converted value, or None; `expected` says what it accepts, for messages.
        """
        out = [kind(value) for value in values]
        for index, value in enumerate(out):
            if value is None:
                given = values[index]
                found = "nothing" if given is None or given is ABSENT else f"{str(given)[:40]!r}"
                found_kind = "missing" if given is ABSENT else type(given).__name__
                problems.add(f"{self.location(index)}: {expected} expected, found {found} ({found_kind})")
        return out


@dataclass(frozen=True)
class Layout:
    """How a file is read.

    Attributes:
        names: its columns.
        quoting: CSV and TSV: whether double quotes enclose fields.
        header: CSV and TSV: whether the first line has the names.
        separator: CSV and TSV: the character between fields.
    """

    names: list[str]
    quoting: bool = True
    header: bool = True
    separator: str = ","


def read_layout(source: Source, quoting: bool | None) -> Layout:
    """Return the layout of a file from its ending and its first lines; `quoting` None: true for CSV, false for TSV."""
    ending = source.ending
    if ending in (".parquet", ".pq"):
        return Layout(_parquet(source).schema_arrow.names)
    if ending in (".jsonl", ".ndjson"):
        # a line may lack fields that are empty, so the first line does not show all
        seen = {name: None for _, record in itertools.islice(_jsonl(source), CHUNK_ROWS) for name in record}
        if not seen:
            raise InputError(f"{source.name}: the file is empty")
        return Layout(list(seen))
    if ending in (".csv", ".tsv"):
        separator = "," if ending == ".csv" else "\t"
        quoted = quoting if quoting is not None else ending == ".csv"
        header = next(_csv(source, Layout([], quoted, False, separator)), None)
        if header is None:
            raise InputError(f"{source.name}: the file is empty")
        return Layout(header[1], quoted, True, separator)
    raise InputError(
        f"{source.name}: format not known from {repr(ending) if ending else 'a name without an ending'}; "
        "known: .parquet, .jsonl, .csv, .tsv (and .gz of the last three)"
    )


def read_chunks(source: Source, layout: Layout, columns: list[str]) -> Iterator[Chunk]:
    """Yield the rows of a file, at most `CHUNK_ROWS` at a time, with the given columns."""
    if source.ending in (".parquet", ".pq"):
        yield from _parquet_chunks(source, columns)
        return
    rows = _jsonl(source) if source.ending in (".jsonl", ".ndjson") else _records(source, layout)
    lines: list[int] = []
    values: dict[str, list[Any]] = {name: [] for name in columns}
    for line, record in rows:
        lines.append(line)
        for name in columns:
            values[name].append(record.get(name, ABSENT))
        if len(lines) == CHUNK_ROWS:
            yield Chunk(source, values, lines, "line")
            lines, values = [], {name: [] for name in columns}
    if lines:
        yield Chunk(source, values, lines, "line")


def _parquet(source: Source) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(source.system.open(source.path, "rb"))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source.name}: not a readable Parquet file (truncated?): {reason(error)}") from None


def _parquet_chunks(source: Source, columns: list[str]) -> Iterator[Chunk]:
    file, row = _parquet(source), 0
    try:
        for batch in file.iter_batches(CHUNK_ROWS, columns=columns):
            values = {name: batch.column(name).to_pylist() for name in columns}
            yield Chunk(source, values, list(range(row + 1, row + batch.num_rows + 1)), "row")
            row += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source.name}: damaged after row {row:,}: {reason(error)}") from None


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
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{source.name}: damaged after line {number:,}: {reason(error)}") from None


def _jsonl(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(source):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source.name} line {number:,}: not valid JSON: {error}") from None
        if not isinstance(record, dict):
            raise InputError(f"{source.name} line {number:,}: a JSON object was expected, not {type(record).__name__}")
        yield number, record


def _csv(source: Source, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    if not layout.quoting:  # a row is a line, whatever characters it holds
        yield from ((number, line.split(layout.separator)) for number, line in read_lines(source) if line)
        return
    csv.field_size_limit(_FIELD_LIMIT)
    last = 0

    def feed() -> Iterator[str]:
        nonlocal last
        for last, line in read_lines(source):  # noqa: B007 - read below, after the row that it ends
            yield line + "\n"

    rows = csv.reader(feed(), delimiter=layout.separator, strict=True)
    try:
        for row in rows:
            if row:
                yield last, row
    except csv.Error as error:
        raise InputError(f"{source.name} line {last:,}: {error}") from None


def _records(source: Source, layout: Layout) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = _csv(source, layout)
    if layout.header:
        next(rows, None)
    for line, row in rows:
        if len(row) != len(layout.names):
            raise InputError(
                f"{source.name} line {line:,}: {len(row)} fields where the header has {len(layout.names)}; "
                "if double quotes are (or are not) meant to enclose fields, set input.quoting"
            )
        yield line, dict(zip(layout.names, row, strict=True))
