"""Reading the columns that `[[retrieve.where]]` asks for: for each document or query the values it has there."""

import datetime
import decimal
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from hnmine.config import Config
from hnmine.errors import InputError, Problems
from hnmine.readers.collection import Collection, input_sources
from hnmine.readers.columns import Wanted, as_id, as_text, as_texts, convert, resolve
from hnmine.readers.tables import ABSENT, Chunk, Layout, chunks, look
from hnmine.storage.input_files import Source

NESTED = "metadata"
"""The column whose object is looked into where a field is no column of its own."""

Held = tuple[str, str, list[str]]
"""The id of a document or query, a field, and the values it has there."""


def wanted_fields(config: Config) -> dict[str, dict[str, bool]]:
    """Return the fields to read of the corpus and of the queries; True where they must be numbers or dates."""
    found: dict[str, dict[str, bool]] = {"corpus": {}, "queries": {}}
    for one in config.retrieve.where:
        ordered = one.must in ("before", "after")
        for side, name in (("corpus", one.field), ("queries", one.query_column)):
            if name is not None:
                found[side][name] = found[side].get(name, False) or ordered
    return found


def check_fields(config: Config, problems: Problems) -> None:
    """Note every column asked for that a file does not have, by the files' first lines."""
    sources = input_sources(config)
    for side, fields in wanted_fields(config).items():
        for source in [*sources.get(side, ()), *sources.get("pairs", ())] if fields else ():
            try:
                _places(fields, look(source, config.input.quoting), source, problems)
            except InputError:
                continue  # unreadable: said by who reads it


def read_fields(config: Config, side: str, problems: Problems) -> Iterator[Held]:
    """Yield what the files say of the documents (`side` is corpus) or queries; copies and repeats come several times.

    Raises:
        InputError: a file cannot be read.
    """
    collection, fields = Collection(config, problems), wanted_fields(config)[side]
    for source in collection.sources.get(side, ()):
        yield from _of_table(source, config, "doc_id" if side == "corpus" else "query_id", fields, problems)
    if "pairs" in collection.sources:
        yield from _of_pairs(collection.sources["pairs"], config, side, fields, problems)


def _of_table(
    source: Source, config: Config, id_name: str, fields: dict[str, bool], problems: Problems
) -> Iterator[Held]:
    layout = look(source, config.input.quoting)
    names = resolve([Wanted(id_name)], layout.names, config.input.columns, source.name, problems)
    places = _places(fields, layout, source, problems)
    seen: set[str] = set()
    for chunk in chunks(source, layout, _columns(names, places)) if names else ():
        ids = convert(chunk.columns[names[id_name]], as_id, f"a {id_name}", chunk.place, problems)
        for name, values in _values(chunk, fields, places, seen, problems):
            yield from ((entry, name, own) for entry, own in zip(ids, values, strict=True) if entry and own)
    _say_unseen(places, seen, source, problems)


def _of_pairs(
    sources: Sequence[Source], config: Config, side: str, fields: dict[str, bool], problems: Problems
) -> Iterator[Held]:
    """Yield the values of a row for its anchor, or for each of its positives; ids are those of `Collection`."""
    count = itertools.count()
    first: dict[str, str] = {}
    for source in sources:
        layout = look(source, config.input.quoting)
        names = resolve(
            [Wanted("anchor"), Wanted("positive")], layout.names, config.input.columns, source.name, problems
        )
        places, seen = _places(fields, layout, source, problems), set[str]()
        for chunk in chunks(source, layout, _columns(names, places)) if len(names) == 2 else ():
            anchors = [as_text(value) or "" for value in chunk.columns[names["anchor"]]]
            positives = [as_texts(value) or [""] for value in chunk.columns[names["positive"]]]
            values = dict(_values(chunk, fields, places, seen, problems))
            for row, (anchor, texts) in enumerate(zip(anchors, positives, strict=True)):
                for text in texts:
                    number = next(count)
                    key, kind = (text, "positive") if side == "corpus" else (anchor, "anchor")
                    entry = first.setdefault(key, f"{kind}-{number}")
                    yield from ((entry, name, own[row] or []) for name, own in values.items())
        _say_unseen(places, seen, source, problems)


def _columns(names: dict[str, str], places: dict[str, str]) -> list[str]:
    return list(dict.fromkeys([*names.values(), *places.values()]))


def _places(fields: dict[str, bool], layout: Layout, source: Source, problems: Problems) -> dict[str, str]:
    """Return for each field the column that it stands in: one of its own name, or the object `metadata`."""
    found = {}
    for field in fields:
        if field in layout.names or NESTED in layout.names:
            found[field] = field if field in layout.names else NESTED
        else:
            problems.add(f"{source.name}: no column {field!r} (retrieve.where); it has: {', '.join(layout.names)}")
    return found


def _values(
    chunk: Chunk, fields: dict[str, bool], places: dict[str, str], seen: set[str], problems: Problems
) -> Iterator[tuple[str, list[list[str] | None]]]:
    """Yield each field with its values row by row; `seen` collects the fields that occur at all."""
    for field, column in places.items():
        given = chunk.columns[column]
        if column != field:
            given = [value.get(field, ABSENT) if isinstance(value, dict) else ABSENT for value in given]
        if any(value is not ABSENT for value in given):
            seen.add(field)
        kind, what = (as_ordered, "numbers or ISO dates") if fields[field] else (as_values, "strings, numbers or dates")
        yield field, convert(given, kind, f"{field}: {what}, or a list of them,", chunk.place, problems)


def _say_unseen(places: dict[str, str], seen: set[str], source: Source, problems: Problems) -> None:
    for field, column in places.items():
        if column != field and field not in seen:
            problems.add(
                f"{source.name}: no column {field!r} (retrieve.where), and no {field!r} in the objects of {column!r}"
            )


def as_values(value: Any) -> list[str] | None:
    """Return the values of one cell as texts that are equal where the values are; None where they are of no kind known.

    7, 7.0 and "7" are the same, as are True and "true"; "007" is another. null, "" and NaN are no value.
    """
    texts = [_as_value(part) for part in (value if isinstance(value, list | tuple) else [value])]
    return None if any(text is None for text in texts) else sorted({text for text in texts if text})


def as_ordered(value: Any) -> list[str] | None:
    """Return the same, None also where a value is neither a number nor a date."""
    texts = as_values(value)
    return None if texts is None or any(order_of(text) is None for text in texts) else texts


def _as_value(value: Any) -> str | None:
    """Return one value as text, "" for none."""
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
    """Return ("number", it) or ("date", microseconds from 1970 to its first instant, UTC); None where it is neither."""
    try:
        number = float(text)
        return ("number", number) if math.isfinite(number) else None
    except ValueError:
        pass
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return "date", float((when - epoch) // datetime.timedelta(microseconds=1))
