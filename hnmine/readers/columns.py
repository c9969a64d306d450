"""Columns of the user's tables: their usual names, how they are found in a file, and how their values are converted."""

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.config.tables import Columns, InputConfig
from hnmine.errors import Problems
from hnmine.readers.json_columns import block_columns, first_object
from hnmine.readers.json_rows import JSON_ENDINGS, is_array, json_objects
from hnmine.readers.lines import block_lines, read_blocks
from hnmine.readers.tables import ABSENT, CHUNK_ROWS, Chunk, read_chunks, read_layout, row_chunks
from hnmine.storage.input_files import Source


def as_id(value: Any) -> str | None:
    """Return an id as a string: `7` and `"7"` are the same, `"007"` is another; None if it is no id."""
    if isinstance(value, str):
        return as_text(value) or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def as_text(value: Any) -> str | None:
    """Return a text without outer white space, empty for null and missing fields; None if it is no UTF-8 text."""
    if value is None or value is ABSENT:
        return ""
    if not isinstance(value, str):
        return None
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return value.strip()


def as_texts(value: Any) -> list[str] | None:
    """Return a list of texts from one text or a list of them; None if it is neither."""
    texts = [as_text(part) for part in (value if isinstance(value, list) else [value])]
    return None if any(text is None for text in texts) else [text for text in texts if text is not None]


def as_relevance(value: Any) -> int | None:
    """Return a whole relevance from `1`, `"1"` or `1.0`; None if it is not a whole number below 2^31."""
    number = as_float(value)
    return int(number) if number is not None and number == int(number) and abs(number) < 2**31 else None


def as_number(value: Any) -> float | None:
    """Return a finite number from `1`, `"1.5"` or `-2e3`; None if it is none, or too large for a float32."""
    number = as_float(value)
    return number if number is not None and abs(number) <= float(np.finfo(np.float32).max) else None


def as_float(value: Any) -> float | None:
    """Return a finite number, also from a text; None if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def whole_texts(values: pa.Array) -> pa.Array | None:
    """Return `as_text` of each value of a column of strings; None for a column of another type."""
    return pc.utf8_trim_whitespace(values.fill_null("")) if pa.types.is_string(values.type) else None


def whole_ids(values: pa.Array) -> pa.Array | None:
    """Return `as_id` of each value of a column of strings or whole numbers; None for a column of another type."""
    if pa.types.is_integer(values.type):
        return values.cast(pa.string())
    if not pa.types.is_string(values.type):
        return None
    ids = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.equal(ids, ""), pa.scalar(None, pa.string()), ids)


def whole_relevances(values: pa.Array) -> pa.Array | None:
    """Return `as_relevance` of each value of a column of whole numbers; None for any other, and for large numbers."""
    if not pa.types.is_integer(values.type):
        return None
    least, most = pc.min_max(values).as_py().values()
    return values if least is None or (least > -(2**31) and most < 2**31) else None


class Column(NamedTuple):
    """A column that a table may have.

    Attributes:
        names: its usual names, of which the first that a file has is taken.
        convert: returns a value in the canonical form, None if that is not possible.
        expected: what `convert` accepts, for messages.
        whole: returns a whole column in the canonical form, null where that is not possible; None if the column is of
            a type whose values are converted one by one.
    """

    names: tuple[str, ...]
    convert: Callable[[Any], Any]
    expected: str
    whole: Callable[[pa.Array], pa.Array | None] = lambda values: None


# `id` is last among the names of ids: it may be the id of the row
COLUMNS = {
    "doc_id": Column(
        ("doc_id", "docid", "doc-id", "corpus-id", "corpus_id", "document_id", "pid", "passage_id", "_id", "id"),
        as_id, "a document id", whole_ids,
    ),
    "text": Column(("text", "contents", "content", "passage", "document", "body"), as_text, "text", whole_texts),
    "title": Column(("title",), as_text, "a title", whole_texts),
    "query_id": Column(
        ("query_id", "query-id", "qid", "queryid", "topic", "_id", "id"), as_id, "a query id", whole_ids,
    ),
    "query": Column(("query", "text", "question"), as_text, "text", whole_texts),
    "relevance": Column(
        ("relevance", "score", "rel", "label", "grade"), as_relevance, "a whole relevance", whole_relevances,
    ),
    "anchor": Column(("anchor", "query", "question"), as_text, "text", whole_texts),
    "positive": Column(("positive", "pos", "answer", "document", "passage"), as_texts, "a text or a list of texts"),
    "split": Column(("split",), lambda value: ABSENT if value is None else value, "a split"),
    "score": Column(("score",), as_number, "a finite score"),
    "rank": Column(("rank",), as_number, "a rank"),
}  # fmt: skip

_NONE: Set[str] = frozenset()


class TableReader:
    """The wanted columns of a file, by their canonical names; a column that is missing is a problem.

    Args:
        source: the file.
        wanted: names of columns in `COLUMNS`.
        config: the table [input], whose `columns` are taken as they are and whose `quoting` applies.
        problems: collects missing columns and values that cannot be converted.
        optional: those of `wanted` that the file may lack.
    """

    def __init__(
        self, source: Source, wanted: Sequence[str], config: InputConfig, problems: Problems, optional: Set[str] = _NONE
    ) -> None:
        self.source, self.problems, self.optional = source, problems, optional
        self.options = {name: _options(name, config.columns) for name in wanted}
        self.layout = read_layout(source, config.quoting)
        needed = [name for name in wanted if name not in optional or getattr(config.columns, name, None)]
        lacking = [name for name in needed if not self._present(name)]
        if lacking and self.layout.open:
            self.layout = read_layout(source, config.quoting, whole=True)
        self.columns: dict[str, str] = {}
        """The name in the file of each column that was found."""
        for name in wanted:
            found = self._find(name, config.columns, name in optional)
            if found is not None:
                self.columns[name] = found
        self.complete = set(wanted) - optional <= self.columns.keys()

    def _present(self, name: str) -> list[str]:
        """Return the names in the file that a column may have, the one that is taken first."""
        return [option for option in self.options[name] if option in self.layout.names]

    def _find(self, name: str, mapping: Columns, optional: bool) -> str | None:
        """Return the name of a column in the file, None if it lacks it; repeated columns are a problem."""
        names, usual = self.layout.names, COLUMNS[name].names
        mapped: str | None = getattr(mapping, name, None)
        found = next(iter(self._present(name)), None)
        if found is not None and (count := names.count(found)) > 1:
            self.problems.add(f"{self.source.name}: column {found!r} is there {count} times; rename all but one")
            return None
        if found is None and (mapped or not optional):
            options = (mapped,) if mapped else usual
            near = [close for option in options for close in difflib.get_close_matches(option, names, n=1, cutoff=0.6)]
            hint = f"did you mean {near[0]!r}? " if near else ""
            missing = (
                f"column {mapped!r} (input.columns.{name}) is not there"
                if mapped
                else f"no column for {name} (looked for {', '.join(options)})"
            )
            remedy = f"; set input.columns.{name}" if name in Columns.model_fields else ""
            self.problems.add(f"{self.source.name}: {missing}; {hint}it has: {', '.join(names)}{remedy}")
        return found

    def chunks(self, raw: Iterable[str] = (), rows: int = CHUNK_ROWS) -> Iterator[tuple[Chunk, dict[str, list[Any]]]]:
        """Yield chunks of rows with the converted values of each column found; nothing if a column is missing.

        A value that cannot be converted becomes a problem, and None in its place.

        Args:
            raw: more columns to read, by their names in the file; they are in the chunk alone, not converted.
            rows: of a chunk of a Parquet or Arrow file, at most.
        """
        for chunk in self._rows(raw, rows):
            found = {name: self._convert(chunk, name) for name in self.columns}
            yield chunk, {n: own if isinstance(own, list) else own.to_pylist() for n, own in found.items()}

    def text_chunks(self) -> Iterator[tuple[Chunk, dict[str, pa.Array]]]:
        """Yield the same for columns that are all ids and texts, as string arrays."""
        lines = self.source.ending in JSON_ENDINGS and not is_array(self.source)
        for chunk in self._blocks() if lines else self._rows(()):
            yield chunk, {name: pa.array(self._convert(chunk, name), pa.string()) for name in self.columns}

    def _rows(self, raw: Iterable[str], rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        if not self.complete:
            return
        is_json = self.source.ending in JSON_ENDINGS
        # a JSON row may have any field; of another file the columns are known
        names = self._all_options() if is_json else self.columns.values()
        for chunk in read_chunks(self.source, self.layout, list(dict.fromkeys([*names, *raw])), rows):
            if is_json:
                self._watch(chunk)
            yield chunk

    def _all_options(self) -> list[str]:
        return list(dict.fromkeys(option for options in self.options.values() for option in options))

    def _blocks(self) -> Iterator[Chunk]:
        """Yield the rows of a file of JSON lines; those that Arrow does not read as they are meant are read in turn."""
        known = set(self.layout.names)
        for first, block in read_blocks(self.source) if self.complete else ():
            columns = self._columns_of(block)
            if columns is not None:
                rows = len(next(iter(columns.values())))
                yield Chunk(self.source, columns, range(first, first + rows), "line")
                continue
            rest = json_objects(self.source, block_lines(self.source, first, block))
            for chunk in row_chunks(self.source, "line", rest, self._all_options(), known):
                self._watch(chunk)
                yield chunk

    def _columns_of(self, block: bytes | None) -> dict[str, list[Any] | pa.Array] | None:
        """Return the columns of a block of JSON lines, read by Arrow; None if its lines must be looked at one by one.

        That is so if a line lacks a value that it needs or may have under another name, if a column appears that the
        lines before it lack, and if Arrow refuses a line.
        """
        row = first_object(block) if block else None
        if block is None or row is None:
            return None
        types = {
            option: pa.int64() if column.whole is whole_ids and type(row.get(option)) is int else pa.string()
            for name, column in ((name, COLUMNS[name]) for name in self.options)
            for option in ([self.columns[name]] if name in self.columns else self.options[name])
        }
        found = block_columns(block, types)
        if found is None:
            return None
        for name, options in self.options.items():
            own = self.columns.get(name)
            if own is None and any(found[option].null_count < len(found[option]) for option in options):
                return None
            needed = COLUMNS[name].convert(ABSENT) is None or len(options) > 1
            if own is not None and needed and found[own].null_count:
                return None
        return {own: found[own] for own in self.columns.values()}

    def _convert(self, chunk: Chunk, name: str) -> list[Any] | pa.Array:
        """Return the converted values of a column; one that cannot be converted becomes a problem, and None or null."""
        column, values = COLUMNS[name], chunk.given[self.columns[name]]
        found = None if isinstance(values, list) else column.whole(values)
        if found is None:
            return chunk.convert(chunk.columns[self.columns[name]], column.convert, column.expected, self.problems)
        for index in (
            np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False)).tolist() if found.null_count else ()
        ):
            chunk.refuse(index, values[index].as_py(), column.expected, self.problems)
        return found

    def _watch(self, chunk: Chunk) -> None:
        """Find columns that first appear in a chunk; rows with the text under another name than the rest are problems.

        A column that rows may lack is taken from the row on that first has it. One that every row needs once any has it
        becomes a problem.
        """
        for name, options in self.options.items():
            own = self.columns.get(name)
            others = [option for option in options if option != own and _first(chunk.columns[option]) is not None]
            if own is None and others:
                own = self.columns[name] = others[0]
                place = _first(chunk.columns[own])
                if chunk.lines[0] > 1 and (name == "split" or COLUMNS[name].convert(ABSENT) is None):
                    self.problems.add(
                        f"{chunk.location(place or 0)}: the first with {own!r}, which the rows before it lack; give it "
                        "to all rows of the file, or to none"
                    )
            elif own is not None and COLUMNS[name].convert(ABSENT) is not None:
                self._refuse_other_names(chunk, name, others)

    def _refuse_other_names(self, chunk: Chunk, name: str, others: list[str]) -> None:
        """Add a problem for each row that lacks a column and has one of its other usual names."""
        own = self.columns[name]
        for other in others:
            for index, value in enumerate(chunk.columns[own]):
                if value is ABSENT and chunk.columns[other][index] is not ABSENT:
                    self.problems.add(
                        f"{chunk.location(index)}: has {other!r} and no {own!r}, which the file has elsewhere; name "
                        f"one of them in input.columns.{name}, or rename it"
                    )


def _options(name: str, mapping: Columns) -> tuple[str, ...]:
    """Return the names that a column may have in a file, the one that is taken first."""
    mapped: str | None = getattr(mapping, name, None)
    if not mapped:
        return COLUMNS[name].names
    # ids are in two files, which may name them differently: the mapping need fit only one of them
    return (mapped, *COLUMNS[name].names) if name in ("doc_id", "query_id") else (mapped,)


def _first(values: list[Any]) -> int | None:
    """Return the place of the first value that is there."""
    return next((index for index, value in enumerate(values) if value is not ABSENT), None)
