"""Table formats (Parquet, Arrow, JSON, CSV, TSV), read as chunks of Python columns with row numbers for messages."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.errors import InputError, Problems, reason
from hnmine.readers.json_rows import JSON_ENDINGS, json_rows
from hnmine.readers.lines import read_lines
from hnmine.storage.input_files import Source

CHUNK_ROWS = 8192
ABSENT = object()
_FIELD_LIMIT = 1 << 30
_ARROW_MAGIC = b"ARROW1"
"""The first bytes of an Arrow file with a footer; a stream has none."""


class RowLocation(NamedTuple):
    """The file and number of a row, from 1; as text `corpus.jsonl line 17`.

    In Parquet and Arrow files the word is `row`, in an array of JSON objects `item`.
    """

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
        given: values by column, all of equal length: a list, in which a missing JSON field is `ABSENT`, or an Arrow
            array of strings or whole numbers.
        lines: number of each row in the file.
        word: what the numbers count, see `RowLocation`.
    """

    source: Source
    given: dict[str, list[Any] | pa.Array]
    lines: Sequence[int]
    word: str

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """The values by column as Python objects."""
        return {name: own if isinstance(own, list) else own.to_pylist() for name, own in self.given.items()}

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
                self.refuse(index, values[index], expected, problems)
        return out

    def refuse(self, index: int, given: Any, expected: str, problems: Problems) -> None:
        """Add a problem: the value of row `index` is not what is expected."""
        found = "nothing" if given is None or given is ABSENT else f"{str(given)[:40]!r}"
        kind = "missing" if given is ABSENT else type(given).__name__
        problems.add(f"{self.location(index)}: {expected} expected, found {found} ({kind})")


@dataclass(frozen=True)
class Layout:
    """How a file is read.

    Attributes:
        names: its columns.
        quoting: CSV and TSV: whether double quotes enclose fields.
        header: CSV and TSV: whether the first line has the names.
        separator: CSV and TSV: the character between fields.
        open: JSON: whether rows beyond those that were looked at may have more columns.
    """

    names: list[str]
    quoting: bool = True
    header: bool = True
    separator: str = ","
    open: bool = False


def read_layout(source: Source, quoting: bool | None, *, whole: bool = False) -> Layout:
    """Return the layout of a file from its ending and its first rows.

    Args:
        source: the file.
        quoting: whether double quotes enclose fields; None: true for CSV, false for TSV.
        whole: of a JSON file look at all rows; otherwise at the first `CHUNK_ROWS`.
    """
    ending = source.ending
    if ending in (".parquet", ".pq"):
        return Layout(_parquet(source).schema_arrow.names)
    if ending == ".arrow":
        return Layout(_arrow(source)[0].names)
    if ending in JSON_ENDINGS:
        # a row may lack fields that are empty, so the first row does not show all
        seen, more = dict[str, None](), False
        for count, (_, record) in enumerate(json_rows(source)[1]):
            if more := count >= CHUNK_ROWS and not whole:
                break
            seen.update(dict.fromkeys(record))
        if not seen:
            raise InputError(f"{source.name}: the file is empty")
        return Layout(list(seen), open=more)
    if ending in (".csv", ".tsv"):
        separator = "," if ending == ".csv" else "\t"
        quoted = quoting if quoting is not None else ending == ".csv"
        header = next(_csv(source, Layout([], quoted, False, separator)), None)
        if header is None:
            raise InputError(f"{source.name}: the file is empty")
        return Layout(header[1], quoted, True, separator)
    raise InputError(
        f"{source.name}: format not known from {repr(ending) if ending else 'a name without an ending'}; "
        "known: .parquet, .arrow, .jsonl, .json, .csv, .tsv (and .gz of the last four)"
    )


def read_chunks(source: Source, layout: Layout, columns: list[str], rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Yield the rows of a file, at most `CHUNK_ROWS` at a time, with the given columns.

    `rows` says how many at most of a Parquet or Arrow file, whose values may be large.
    Of a JSON file `columns` may name fields that only some rows have, or none.
    """
    if source.ending in (".parquet", ".pq"):
        yield from _batch_chunks(source, columns, _parquet(source).iter_batches(rows, columns=columns), rows)
        return
    if source.ending == ".arrow":
        yield from _batch_chunks(source, columns, _arrow(source)[1], rows)
        return
    known = set(layout.names)
    if source.ending in JSON_ENDINGS:
        yield from row_chunks(source, *json_rows(source), columns, known)
    else:
        yield from row_chunks(source, "line", _records(source, layout), columns, known)


def count_arrow_rows(source: Source) -> int:
    """Return the number of rows of an Arrow file.

    Raises:
        InputError: it cannot be read to its end.
    """
    return sum(len(chunk.lines) for chunk in _batch_chunks(source, [], _arrow(source)[1], CHUNK_ROWS))


def row_chunks(
    source: Source, word: str, rows: Iterable[tuple[int, dict[str, Any]]], columns: list[str], known: set[str]
) -> Iterator[Chunk]:
    """Yield rows, given as (number, values by column), at most `CHUNK_ROWS` at a time, with the given columns.

    `word` is what the numbers count. Columns that rows have beyond those that are `known` are added to these.
    """
    lines: list[int] = []
    values: dict[str, list[Any]] = {name: [] for name in columns if name in known}
    for line, record in rows:
        if not record.keys() <= known:
            known |= record.keys()
            values |= {name: [ABSENT] * len(lines) for name in columns if name in known and name not in values}
        lines.append(line)
        for name, column in values.items():
            column.append(record.get(name, ABSENT))
        if len(lines) == CHUNK_ROWS:
            yield Chunk(source, _with_absent(columns, values, len(lines)), lines, word)
            lines, values = [], {name: [] for name in values}
    if lines:
        yield Chunk(source, _with_absent(columns, values, len(lines)), lines, word)


def _with_absent(columns: list[str], values: dict[str, list[Any]], rows: int) -> dict[str, list[Any] | pa.Array]:
    return {name: values[name] if name in values else [ABSENT] * rows for name in columns}


def _parquet(source: Source) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(source.system.open(source.path, "rb"))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source.name}: not a readable Parquet file (truncated?): {reason(error)}") from None


def _arrow(source: Source) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the schema and the batches of an Arrow file: a stream, as of `datasets`, or a file with a footer."""
    try:
        file = source.open_for_arrow()
        starts_as_file = file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
        file.seek(0)
        if not starts_as_file:
            stream = pa.ipc.open_stream(file)
            return stream.schema, iter(stream)
        reader = pa.ipc.open_file(file)
        return reader.schema, map(reader.get_batch, range(reader.num_record_batches))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source.name}: not a readable Arrow file (truncated?): {reason(error)}") from None


def _batch_chunks(source: Source, columns: list[str], batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[Chunk]:
    row = 0
    try:
        for whole in batches:
            for first in range(0, whole.num_rows, rows):
                batch = whole.slice(first, rows)
                values = {name: _arrow_column(batch.column(name)) for name in columns}
                yield Chunk(source, values, range(row + 1, row + batch.num_rows + 1), "row")
                row += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source.name}: damaged after row {row:,}: {reason(error)}") from None


def _arrow_column(values: pa.Array) -> list[Any] | pa.Array:
    """Return a column as it is in a `Chunk`.

    Raises:
        UnicodeDecodeError: a text is no UTF-8.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_integer(values.type):
        return values
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        with suppress(pa.ArrowInvalid):  # of what is no UTF-8 the list below says where
            values.validate(full=True)
            return values.cast(pa.string())
    return list(values.to_pylist())


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
