"""Relevance judgements: qrels, and completed files of `hnmine export-judgements`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from hnmine.config.tables import InputConfig
from hnmine.errors import InputError, Problems
from hnmine.readers.columns import COLUMNS, TableReader, as_float, as_relevance
from hnmine.readers.lines import read_lines
from hnmine.readers.tables import ABSENT, RowLocation, read_chunks, read_layout
from hnmine.storage.input_files import TABLE_ENDINGS, Source

RELEVANT, IRRELEVANT, UNSURE, EMPTY = "relevant", "irrelevant", "unsure", ""
"""What a judgement in a file says; `EMPTY` is not filled in."""
_WORDS = {RELEVANT: RELEVANT, IRRELEVANT: IRRELEVANT, UNSURE: UNSURE, "": EMPTY, "true": RELEVANT, "false": IRRELEVANT}
_FIELDS = ("query_id", "doc_id", "judgement")


class Qrel(NamedTuple):
    """A line of the qrels."""

    query_id: str
    doc_id: str
    relevance: int
    location: RowLocation


class FileJudgement(NamedTuple):
    """A line of a completed file: `judgement` is `RELEVANT`, `IRRELEVANT`, `UNSURE` or `EMPTY`."""

    query_id: str
    doc_id: str
    judgement: str
    location: RowLocation


def read_qrels(source: Source, config: InputConfig, problems: Problems, setting: str = "input.split") -> Iterator[Qrel]:
    """Yield the qrels of a file; lines that cannot be read as such become problems.

    A file without a header has the four fields of TREC (query, iteration, document, relevance), or three (query,
    document, relevance); it is recognised by a first line that ends in a whole number. `setting` is where
    `config.split` is from, for messages.
    """
    width = _headerless_width(source)
    if width and config.split and not config.beir:
        raise InputError(
            f"{source.name}: has no header, so no column to compare with {setting} = {config.split!r}; "
            f"leave {setting} out"
        )
    if width:
        yield from _headerless(source, width, problems)
        return
    if source.ending not in TABLE_ENDINGS:
        raise InputError(f"{source.name}: neither TREC qrels (query 0 document relevance) nor a known table format")
    wanted = ["query_id", "doc_id", "relevance", *(["split"] if config.split else [])]
    optional = {"relevance", *(["split"] if config.beir else [])}
    for chunk, columns in TableReader(source, wanted, config, problems, optional).chunks():
        levels = columns.get("relevance") or [1] * len(chunk.lines)
        splits = columns.get("split") or [config.split] * len(chunk.lines)
        rows = zip(columns["query_id"], columns["doc_id"], levels, splits, strict=True)
        for index, (query, doc, level, split) in enumerate(rows):
            if split == config.split and query is not None and doc is not None and level is not None:
                yield Qrel(query, doc, level, chunk.location(index))


def _headerless_width(source: Source) -> int:
    """Return the number of fields of a file without a header; 0 for any other."""
    if source.ending in TABLE_ENDINGS and source.ending != ".tsv":
        return 0
    line = next((line for _, line in read_lines(source) if line.strip()), None)
    if line is None:
        raise InputError(f"{source.name}: the file is empty")
    fields = line.split()
    return len(fields) if len(fields) in (3, 4) and as_relevance(fields[-1]) is not None else 0


def _headerless(source: Source, width: int, problems: Problems) -> Iterator[Qrel]:
    for number, line in read_lines(source):
        fields = line.split()
        if not fields:
            continue
        location = RowLocation(source.name, "line", number)
        relevance = as_relevance(fields[-1])
        if len(fields) != width or relevance is None:
            problems.add(f"{location}: {width} fields ending in a whole relevance expected, found {line[:60]!r}")
            continue
        yield Qrel(fields[0], fields[-2], relevance, location)


def read_file_judgements(source: Source, config: InputConfig, problems: Problems) -> Iterator[FileJudgement]:
    """Yield the judgements of a completed file; lines that cannot be read as such become problems."""
    layout = read_layout(source, config.quoting)
    missing = [name for name in _FIELDS if name not in layout.names]
    if missing and not layout.open:
        problems.add(
            f"{source.name}: no field {', '.join(missing)}; it has: {', '.join(layout.names)}; "
            "`hnmine export-judgements` writes a file with all that is needed"
        )
        return
    for chunk in read_chunks(source, layout, list(_FIELDS)):
        queries, docs = (chunk.convert(chunk.columns[n], *COLUMNS[n][1:3], problems) for n in _FIELDS[:2])
        for index, given in enumerate(chunk.columns["judgement"]):
            judgement = as_judgement(given, config.relevant_from)
            if judgement is None and given is ABSENT:
                fault = 'the field judgement is missing; leave it "" if the pair was not judged'
                problems.add(f"{chunk.location(index)}: {fault}")
            elif judgement is None:
                fault = "judgement: relevant, irrelevant, unsure, true, false or a number expected"
                problems.add(f"{chunk.location(index)}: {fault}, found {str(given)[:40]!r}")
            elif queries[index] is not None and docs[index] is not None:
                yield FileJudgement(queries[index], docs[index], judgement, chunk.location(index))


def as_judgement(value: Any, relevant_from: int) -> str | None:
    """Return what a judgement says; None if it is no judgement.

    Words count in any case. true and false are relevant and irrelevant; a number, also as a text, is relevant from
    `relevant_from` on; null is not filled in.
    """
    if value is None:
        return EMPTY
    if isinstance(value, bool):
        return RELEVANT if value else IRRELEVANT
    if isinstance(value, str) and value.strip().casefold() in _WORDS:
        return _WORDS[value.strip().casefold()]
    number = as_float(value) if isinstance(value, str | int | float) else None
    if number is None:
        return None
    return RELEVANT if number >= relevant_from else IRRELEVANT
