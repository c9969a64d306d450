"""Reading judgements: tables with a header, the TREC format, and BEIR's headerless cousin."""

from collections.abc import Iterator
from typing import NamedTuple

from hnmine.config import InputConfig
from hnmine.errors import InputError, Problems
from hnmine.readers.columns import Wanted, as_id, as_relevance, convert, resolve
from hnmine.readers.tables import Layout, Place, chunks, look, text_lines
from hnmine.storage.input_files import TABLE_ENDINGS, Source


class Judgement(NamedTuple):
    """One line of the qrels, and where it stands."""

    query_id: str
    doc_id: str
    relevance: int
    place: Place


def read_qrels(source: Source, config: InputConfig, problems: Problems) -> Iterator[Judgement]:
    """Yield a file's judgements; lines that make no sense become problems.

    TREC's four fields (query, iteration, document, relevance) and three fields (query, document, relevance) are
    known by their first line, where it ends in a number; otherwise the first line is a header.

    Raises:
        InputError: the file cannot be read.
    """
    width = _headerless_width(source)
    if width and config.split and not config.beir:
        raise InputError(
            f"{source.name}: has no header, so no column to look up input.split = {config.split!r} in; "
            "leave input.split out"
        )
    if width:
        yield from _plain(source, width, problems)
        return
    if source.ending not in TABLE_ENDINGS:
        raise InputError(f"{source.name}: neither TREC qrels (query 0 document relevance) nor a known table format")
    layout = look(source, config.quoting)
    yield from _table(source, layout, config, problems)


def _headerless_width(source: Source) -> int:
    if source.ending in (".parquet", ".pq", ".jsonl", ".ndjson", ".csv"):
        return 0
    line = next((line for _, line in text_lines(source) if line.strip()), None)
    if line is None:
        raise InputError(f"{source.name}: the file is empty")
    fields = line.split()
    return len(fields) if len(fields) in (3, 4) and as_relevance(fields[-1]) is not None else 0


def _plain(source: Source, width: int, problems: Problems) -> Iterator[Judgement]:
    for number, line in text_lines(source):
        fields = line.split()
        if not fields:
            continue
        place = Place(source.name, "line", number)
        relevance = as_relevance(fields[-1])
        if len(fields) != width or relevance is None:
            problems.add(f"{place}: {width} fields ending in a whole relevance expected, found {line[:60]!r}")
            continue
        yield Judgement(fields[0], fields[-2], relevance, place)


def _table(source: Source, layout: Layout, config: InputConfig, problems: Problems) -> Iterator[Judgement]:
    wanted = [Wanted("query_id"), Wanted("doc_id"), Wanted("relevance", optional=True)]
    if config.split:
        wanted.append(Wanted("split", optional=bool(config.beir)))
    names = resolve(wanted, layout.names, config.columns, source.name, problems)
    if not {"query_id", "doc_id"} <= set(names):
        return
    for chunk in chunks(source, layout, list(dict.fromkeys(names.values()))):
        queries = convert(chunk.columns[names["query_id"]], as_id, "a query id", chunk.place, problems)
        docs = convert(chunk.columns[names["doc_id"]], as_id, "a document id", chunk.place, problems)
        levels = [1] * len(docs)
        if "relevance" in names:
            levels = convert(
                chunk.columns[names["relevance"]], as_relevance, "a whole relevance", chunk.place, problems
            )
        splits = chunk.columns[names["split"]] if "split" in names else None
        for index, (query, doc, level) in enumerate(zip(queries, docs, levels, strict=True)):
            if splits is not None and splits[index] != config.split:
                continue
            if query is not None and doc is not None and level is not None:
                yield Judgement(query, doc, level, chunk.place(index))
