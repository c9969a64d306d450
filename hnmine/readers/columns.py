"""Which of a file's columns is meant, and whether its values are of the right kind."""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hnmine.config import Columns
from hnmine.errors import Problems
from hnmine.readers.tables import ABSENT, Place

# What tools of the field call these columns; the first that a file has is taken, `id` last: it may be the row's.
USUAL: dict[str, tuple[str, ...]] = {
    "doc_id": (
        "doc_id",
        "docid",
        "doc-id",
        "corpus-id",
        "corpus_id",
        "document_id",
        "pid",
        "passage_id",
        "_id",
        "id",
    ),
    "text": ("text", "contents", "content", "passage", "document", "body"),
    "title": ("title",),
    "query_id": ("query_id", "query-id", "qid", "queryid", "topic", "_id", "id"),
    "query": ("query", "text", "question"),
    "relevance": ("relevance", "score", "rel", "label", "grade"),
    "anchor": ("anchor", "query", "question"),
    "positive": ("positive", "pos", "answer", "document", "passage"),
    "split": ("split",),
}


@dataclass(frozen=True)
class Wanted:
    """A column to find: its name in the contract, and whether the file can do without it."""

    name: str
    optional: bool = False


def resolve(
    wanted: Sequence[Wanted], names: Sequence[str], mapping: Columns, source: str, problems: Problems
) -> dict[str, str]:
    """Return for each wanted column the name it has in this file; what is missing becomes a problem.

    A name the user maps is taken as it stands and nothing else; without one the usual names are tried.
    """
    found: dict[str, str] = {}
    for want in wanted:
        mapped = getattr(mapping, want.name)
        options = (mapped,) if mapped else USUAL[want.name]
        match = next((option for option in options if option in names), None)
        if match is None and mapped and want.name in ("doc_id", "query_id"):
            # ids are in two files, which may name them differently: the mapping need fit only one of them
            match = next((option for option in USUAL[want.name] if option in names), None)
        if match is not None and names.count(match) > 1:
            problems.add(f"{source}: column {match!r} is there {names.count(match)} times; rename all but one")
        elif match is not None:
            found[want.name] = match
        elif mapped or not want.optional:
            problems.add(_missing(want.name, mapped, options, names, source))
    return found


def _missing(name: str, mapped: str | None, options: Sequence[str], names: Sequence[str], source: str) -> str:
    near = [close for option in options for close in difflib.get_close_matches(option, names, n=1, cutoff=0.6)]
    hint = f"did you mean {near[0]!r}? " if near else ""
    which = f"column {mapped!r} (input.columns.{name})" if mapped else f"no column for {name}"
    verb = "is not there" if mapped else f"(looked for {', '.join(options)})"
    return f"{source}: {which} {verb}; {hint}it has: {', '.join(names)}; set input.columns.{name}"


def as_id(value: Any) -> str | None:
    """Return an id as a string: `7` and `"7"` are the same, `"007"` stays; None where it is no id."""
    if isinstance(value, str):
        return as_text(value) or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def as_text(value: Any) -> str | None:
    """Return a text; null and a missing field are empty; None where it is no text at all."""
    if value is None or value is ABSENT:
        return ""
    if not isinstance(value, str):
        return None
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return value.strip()


def as_relevance(value: Any) -> int | None:
    """Return a whole relevance: `1`, `"1"`, `1.0`; None where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if math.isfinite(number) and number == int(number) and abs(number) < 2**31 else None


def as_texts(value: Any) -> list[str] | None:
    """Return a list of texts out of one text or a list of them; None where it is neither."""
    texts = [as_text(part) for part in (value if isinstance(value, list) else [value])]
    return None if any(text is None for text in texts) else [text for text in texts if text is not None]


def convert(
    values: list[Any], kind: Callable[[Any], Any], what: str, place: Callable[[int], Place], problems: Problems
) -> list[Any]:
    """Return converted values; those that do not convert become problems, and stay None."""
    out = [kind(value) for value in values]
    for index, value in enumerate(out):
        if value is None:
            given = "nothing" if values[index] is None or values[index] is ABSENT else f"{str(values[index])[:40]!r}"
            problems.add(f"{place(index)}: {what} expected, found {given} ({_kind(values[index])})")
    return out


def _kind(value: Any) -> str:
    return "missing" if value is ABSENT else type(value).__name__
