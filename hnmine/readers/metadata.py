"""Metadata for `[[retrieve.where]]`: for each document or query the values it has in the columns of conditions."""

import datetime
import decimal
import itertools
import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from hnmine.config.tables import Config
from hnmine.errors import InputError, Problems
from hnmine.readers.collection import PAIR, input_sources
from hnmine.readers.columns import TableReader, as_text
from hnmine.readers.tables import ABSENT, Layout
from hnmine.storage.input_files import Source

NESTED = "metadata"
"""The column of objects that is searched for fields that are no columns of their own."""

Held = tuple[str, str, list[str]]
"""The id of a document or query, a field, and the values it has there."""


def wanted_fields(config: Config) -> dict[str, dict[str, bool]]:
    """Return the fields to read of `corpus` and `queries`; True for those that must be numbers or dates."""
    found: dict[str, dict[str, bool]] = {"corpus": {}, "queries": {}}
    for one in config.retrieve.where:
        ordered = one.must in ("before", "after")
        for side, name in (("corpus", one.field), ("queries", one.query_column)):
            if name is not None:
                found[side][name] = found[side].get(name, False) or ordered
    return found


def check_fields(config: Config, problems: Problems) -> None:
    """Add a problem for every field that a file has no column for, and for values of a wrong kind in its first rows.

    Columns of a JSON file are judged by its first rows, if it has no more than these.
    """
    sources = input_sources(config)
    for side, fields in wanted_fields(config).items():
        for source in [*sources.get(side, ()), *sources.get("pairs", ())] if fields else ():
            try:
                deque(islice(_chunks_with_fields(source, (), fields, config, problems), 1), maxlen=0)
            except InputError:
                continue  # unreadable files are reported by their reader


def read_fields(config: Config, side: str, problems: Problems) -> Iterator[Held]:
    """Yield the values of each document (`side` is corpus) or query; one in several rows comes several times."""
    fields, sources = wanted_fields(config)[side], input_sources(config)
    id_name = "doc_id" if side == "corpus" else "query_id"
    for source in sources.get(side, ()):
        for columns, values in _chunks_with_fields(source, (id_name,), fields, config, problems):
            for name, own in values.items():
                pairs = zip(columns[id_name], own, strict=True)
                yield from ((entry, name, found) for entry, found in pairs if entry and found)
    kind = "positive" if side == "corpus" else "anchor"
    count, first = itertools.count(), dict[str, str]()
    for source in sources.get("pairs", ()):
        for columns, values in _chunks_with_fields(source, PAIR, fields, config, problems):
            for row, (anchor, texts) in enumerate(zip(columns["anchor"], columns["positive"], strict=True)):
                for text in texts or [""]:
                    key = text if side == "corpus" else anchor or ""
                    entry = first.setdefault(key, f"{kind}-{next(count)}")  # as `Collection` names it
                    yield from ((entry, name, own[row] or []) for name, own in values.items())


def _chunks_with_fields(
    source: Source, wanted: tuple[str, ...], fields: dict[str, bool], config: Config, problems: Problems
) -> Iterator[tuple[dict[str, list[Any]], dict[str, list[list[str] | None]]]]:
    """Yield the converted columns of each chunk of a file, and beside them the values of each field.

    A field that no row has, and a value of a wrong kind (None in its place), become problems. `fields` is True for
    those that must be numbers or dates.
    """
    reader = TableReader(source, wanted, config.input, problems)
    # further rows of a JSON file may have further columns
    is_open = reader.layout.open
    columns_of = (
        {field: field for field in fields} if is_open else _field_columns(fields, reader.layout, source, problems)
    )
    unseen = {field for field, column in columns_of.items() if is_open or column != field}
    for chunk, columns in reader.chunks([*columns_of.values(), *([NESTED] if is_open else [])]):
        values = {}
        for field, column in columns_of.items():
            given = chunk.columns[column]
            if column == NESTED != field:
                given = [_inside(value, field) for value in given]
            elif is_open:
                nested = zip(given, chunk.columns[NESTED], strict=True)
                given = [_inside(value, field) if own is ABSENT else own for own, value in nested]
            if any(value is not ABSENT for value in given):
                unseen.discard(field)
            kind, expected = _KINDS[fields[field]]
            expected = f"{field}: {expected}, or a list of them,"
            values[field] = chunk.convert(given, kind, expected, problems)
        yield columns, values
    for field in fields:
        if field in unseen:
            problems.add(
                f"{source.name}: no column {field!r} (retrieve.where), and no {field!r} in the objects of {NESTED!r}"
            )


def _inside(value: Any, field: str) -> Any:
    """Return a field of an object; `ABSENT` if it is none, or lacks it."""
    return value.get(field, ABSENT) if isinstance(value, dict) else ABSENT


def _field_columns(fields: dict[str, bool], layout: Layout, source: Source, problems: Problems) -> dict[str, str]:
    """Return the column that each field is read from: one of its own name, else the objects in `metadata`."""
    found = {}
    for field in fields:
        if field in layout.names or NESTED in layout.names:
            found[field] = field if field in layout.names else NESTED
        else:
            problems.add(f"{source.name}: no column {field!r} (retrieve.where); it has: {', '.join(layout.names)}")
    return found


def as_values(value: Any) -> list[str] | None:
    """Return the values of a cell as texts, sorted, each once; None if a value is of an unknown kind.

    Equal values have equal texts: 7, 7.0 and "7" are the same, as are True and "true"; "007" is another. null, "" and
    NaN are no value.
    """
    texts = [_as_value(part) for part in (value if isinstance(value, list | tuple) else [value])]
    return None if any(text is None for text in texts) else sorted({text for text in texts if text})


def as_ordered(value: Any) -> list[str] | None:
    """Return the same as `as_values`, but None also if a value is neither a number nor a date."""
    texts = as_values(value)
    return None if texts is None or any(order_of(text) is None for text in texts) else texts


_KINDS = {False: (as_values, "strings, numbers or dates"), True: (as_ordered, "numbers or ISO dates")}


def _as_value(value: Any) -> str | None:
    """Return a value as text, empty for null and NaN; None if it is of an unknown kind."""
    if value is None or value is ABSENT:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = as_text(value)
        return text.lower() if text and text.lower() in ("true", "false") else text
    if isinstance(value, int | float | decimal.Decimal):
        if not math.isfinite(value):
            return "" if math.isnan(value) else None
        return str(int(value)) if value == int(value) else str(float(value))
    if isinstance(value, datetime.datetime) and value.tzinfo is None and value.time() == datetime.time():
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, datetime.date) else None


def order_of(text: str) -> tuple[str, float] | None:
    """Return ("number", its value) or ("date", microseconds from 1970 to its start, UTC); None if it is neither."""
    with suppress(ValueError):
        number = float(text)
        return ("number", number) if math.isfinite(number) else None
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return "date", float((when - epoch) // datetime.timedelta(microseconds=1))
