"""Reading rows: every table format as a stream of chunks of Python columns, with places for messages."""

import csv
import io
import itertools
import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.errors import InputError, reason
from hnmine.storage.input_files import Source

CHUNK_ROWS = 8192
ABSENT = object()
_FIELD_LIMIT = 1 << 30


class Place(NamedTuple):
    """Where a row stands: `corpus.jsonl line 17`. Put into words only where a message asks for it."""

    file: str
    word: str
    line: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.file} {self.word} {self.line:,}"


@dataclass(frozen=True)
class Chunk:
    """Some rows of one file: columns of equal length; a missing JSON field is `ABSENT`."""

    source: Source
    columns: dict[str, list[Any]]
    lines: list[int]
    word: str

    def place(self, index: int) -> Place:
        """Return where row `index` of the chunk is."""
        return Place(self.source.name, self.word, self.lines[index])


@dataclass(frozen=True)
class Layout:
    """How one file is to be read: its columns, and for text whether quotes enclose and a header leads."""

    names: list[str]
    quoting: bool = True
    header: bool = True
    separator: str | None = ","


def look(source: Source, quoting: bool | None) -> Layout:
    """Return the layout of a file from its ending and its first lines.

    Raises:
        InputError: unreadable, empty, or of no known format.
    """
    ending = source.ending
    if ending in (".parquet", ".pq"):
        return Layout(_parquet(source).schema_arrow.names)
    if ending in (".jsonl", ".ndjson"):
        # fields may be left out where they are empty: more than the first line has to be seen
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


def chunks(source: Source, layout: Layout, columns: list[str]) -> Iterator[Chunk]:
    """Yield a file's rows, at most `CHUNK_ROWS` at a time, with the columns asked for.

    Raises:
        InputError: the file is damaged; the message says at which line or row.
    """
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


def text_lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 file.

    Raises:
        InputError: not UTF-8, or the compressed file is damaged.
    """
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
    for number, line in text_lines(source):
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
    separator = layout.separator or ","
    if not layout.quoting:  # then a row is a line, whatever signs it holds
        yield from ((number, line.split(separator)) for number, line in text_lines(source) if line)
        return
    csv.field_size_limit(_FIELD_LIMIT)
    place = [0]

    def feed() -> Iterator[str]:
        for number, line in text_lines(source):
            place[0] = number
            yield line + "\n"

    rows = csv.reader(feed(), delimiter=separator, strict=True)
    try:
        for row in rows:
            if row:
                yield place[0], row
    except csv.Error as error:
        raise InputError(f"{source.name} line {place[0]:,}: {error}") from None


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
