"""Results of another retriever: TREC run files, and tables of query_id, doc_id, score and optionally rank."""

import itertools
from collections.abc import Iterator

import pyarrow as pa

from hnmine.config.tables import InputConfig
from hnmine.errors import InputError, Problems
from hnmine.readers.columns import TableReader, as_number
from hnmine.readers.lines import read_lines
from hnmine.readers.tables import CHUNK_ROWS, RowLocation
from hnmine.storage.input_files import TABLE_ENDINGS, Source

RUN_ENDINGS = (*TABLE_ENDINGS, ".txt", ".run", ".trec", ".res")
LINES = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("score", pa.float64()), ("rank", pa.float64())])
Row = tuple[str, str, float, float]
_NO_RESULT = "the file holds no result"


def read_run(source: Source, config: InputConfig, problems: Problems) -> pa.Table:
    """Return the lines of a file as a table of `LINES`; those that cannot be read as such become problems.

    A TREC run has six fields: query, Q0, document, rank, score and name of the run. A table has the columns query_id
    and doc_id (or those of `input.columns`), score, and optionally rank; without one all ranks are 0. A .tsv file
    whose first line is one of a TREC run, which has no header, is read as such.
    """
    rows, parts = _rows(source, config, problems), [LINES.empty_table()]
    while chunk := list(itertools.islice(rows, CHUNK_ROWS)):
        columns = zip(*chunk, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, LINES, strict=True)]
        parts.append(pa.Table.from_arrays(arrays, schema=LINES))
    if len(parts) == 1 and not problems.messages:
        raise InputError(f"{source.name}: {_NO_RESULT}")
    return pa.concat_tables(parts)


def _starts_as_trec(source: Source) -> bool:
    """Return whether a file's first line with text has the six fields of a TREC run, with a number as rank."""
    fields = next((line.split() for _, line in read_lines(source) if line.strip()), [])
    return len(fields) == 6 and as_number(fields[3]) is not None


def check_run(source: Source, config: InputConfig, problems: Problems) -> None:
    """Note what `read_run` would say of the file's first rows."""
    try:
        first = list(itertools.islice(_rows(source, config, problems), CHUNK_ROWS))
        if not first and not problems.messages:
            problems.add(f"{source.name}: {_NO_RESULT}")
    except InputError as error:
        problems.add(str(error))


def _rows(source: Source, config: InputConfig, problems: Problems) -> Iterator[Row]:
    table = source.ending in TABLE_ENDINGS and not (source.ending == ".tsv" and _starts_as_trec(source))
    return _table_rows(source, config, problems) if table else _trec_rows(source, problems)


def _trec_rows(source: Source, problems: Problems) -> Iterator[Row]:
    for number, line in read_lines(source):
        fields = line.split()
        if not fields:
            continue
        score, rank = (as_number(value) for value in (fields[4:5] + fields[3:4] if len(fields) == 6 else ("", "")))
        if score is None or rank is None:
            location = RowLocation(source.name, "line", number)
            problems.add(f"{location}: a TREC run has query, Q0, document, rank, score and name; found {line[:60]!r}")
            continue
        yield fields[0], fields[2], score, rank


def _table_rows(source: Source, config: InputConfig, problems: Problems) -> Iterator[Row]:
    for chunk, columns in TableReader(source, LINES.names, config, problems, optional={"rank"}).chunks():
        columns.setdefault("rank", [0.0] * len(chunk.lines))
        rows = zip(*(columns[name] for name in LINES.names), strict=True)
        yield from (row for row in rows if None not in row)
