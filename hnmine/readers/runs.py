"""Reading results of another retriever: TREC run files, and tables of query_id, doc_id, score and maybe rank."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.config import InputConfig
from hnmine.errors import InputError, Problems
from hnmine.readers.columns import Wanted, as_id, convert, resolve
from hnmine.readers.tables import CHUNK_ROWS, chunks, look, text_lines
from hnmine.storage.input_files import TABLE_ENDINGS, Source

RUN_ENDINGS = (*TABLE_ENDINGS, ".txt", ".run", ".trec", ".res")
LINES = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("score", pa.float64()), ("rank", pa.float64())])
Row = tuple[str, str, float, float]


def read_run(source: Source, config: InputConfig, problems: Problems) -> pa.Table:
    """Return a file's lines as a table of `LINES`; those that make no sense become problems.

    A TREC run has six fields: query, Q0, document, rank, score, name of the run. A table has columns query_id and
    doc_id (or what `input.columns` calls them), score, and maybe rank; without one the rank is 0 everywhere.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    rows = _table(source, config, problems) if source.ending in TABLE_ENDINGS else _trec(source, problems)
    parts, seen = [LINES.empty_table()], False
    for part in rows:
        seen = True
        columns = list(zip(*part, strict=True)) or [()] * len(LINES)
        arrays = [pa.array(list(values), field.type) for values, field in zip(columns, LINES, strict=True)]
        parts.append(pa.Table.from_arrays(arrays, schema=LINES))
    if not seen and not problems.messages:
        raise InputError(f"{source.name}: the file holds no result")
    return pa.concat_tables(parts)


def _trec(source: Source, problems: Problems) -> Iterator[list[Row]]:
    rows: list[Row] = []
    for number, line in text_lines(source):
        fields = line.split()
        if not fields:
            continue
        score, rank = (as_number(value) for value in (fields[4:5] + fields[3:4] if len(fields) == 6 else ("", "")))
        if score is None or rank is None:
            place = f"{source.name} line {number:,}"
            problems.add(f"{place}: a TREC run has query, Q0, document, rank, score and name; found {line[:60]!r}")
            continue
        rows.append((fields[0], fields[2], score, rank))
        if len(rows) == CHUNK_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _table(source: Source, config: InputConfig, problems: Problems) -> Iterator[list[Row]]:
    layout = look(source, config.quoting)
    names = resolve([Wanted("query_id"), Wanted("doc_id")], layout.names, config.columns, source.name, problems)
    if "score" not in layout.names:
        problems.add(f"{source.name}: no column score; it has: {', '.join(layout.names)}")
    if len(names) < 2 or "score" not in layout.names:
        return
    ranked = "rank" in layout.names
    wanted = [*names.values(), "score", *(["rank"] if ranked else [])]
    for chunk in chunks(source, layout, list(dict.fromkeys(wanted))):
        columns: list[list[Any]] = [
            convert(chunk.columns[names["query_id"]], as_id, "a query id", chunk.place, problems),
            convert(chunk.columns[names["doc_id"]], as_id, "a document id", chunk.place, problems),
            convert(chunk.columns["score"], as_number, "a finite score", chunk.place, problems),
        ]
        ranks = convert(chunk.columns["rank"], as_number, "a rank", chunk.place, problems) if ranked else None
        columns.append(ranks or [0.0] * len(columns[0]))
        yield [row for row in zip(*columns, strict=True) if None not in row]


def as_number(value: Any) -> float | None:
    """Return a finite number: `1`, `"1.5"`, `-2e3`; None where it is none, or too large for a float32."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= float(np.finfo(np.float32).max) else None
