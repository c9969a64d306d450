"""An imported run: ids become rows, what the input does not know is refused or skipped, and lists get their order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.config import Config
from hnmine.config.tables import SourceConfig
from hnmine.errors import InputError, Problems, few
from hnmine.readers.runs import LINES, RUN_ENDINGS, read_run
from hnmine.search.candidate_pool import Hits
from hnmine.storage.input_files import Source, find_sources
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.index import IMPORTED
from hnmine.storage.schemas.ingest import ALIASES, CORPUS, LEFT_OUT, QUERIES
from hnmine.storage.store import Shards, read_table

_LEFT_OUT = -1
_UNKNOWN = -2

Allows = Callable[[np.ndarray, np.ndarray], np.ndarray]


def run_files(source: SourceConfig, base: Path) -> list[Source]:
    """Return the files of a source of kind run.

    Raises:
        InputError: one is not there.
    """
    assert source.path is not None
    return find_sources(source.path, base, f"retrieve.source {source.label!r}", RUN_ENDINGS)


def import_run(source: SourceConfig, config: Config, ingest: Path) -> pa.Table:
    """Return the results of a run's files in rows of the ingested input, as a table of `schemas.IMPORTED`.

    Within a query the higher score is better; the file's rank decides among equal scores, then the document's row. Of
    a document that is there twice, under its own id or a copy's, the better result stays. Queries and documents that
    ingest left out are left out here.

    Raises:
        InputError: a file is unreadable, a line makes no sense, or, unless `input.unknown_ids` is "skip", an id is
            not in the input; all problems are named.
    """
    problems, parts = Problems(), [LINES.empty_table()]
    for file in run_files(source, config.base):
        try:
            parts.append(read_run(file, config.input, problems))
        except InputError as error:
            problems.add(str(error))
    lines = pa.concat_tables(parts)
    rows = {
        "query": _rows(lines.column("query_id"), *rows_by_id(ingest, "query")),
        "document": _rows(lines.column("doc_id"), *rows_by_id(ingest, "document")),
    }
    if config.input.unknown_ids == "error":
        for kind, column in (("query", "query_id"), ("document", "doc_id")):
            unknown = pc.unique(lines.column(column).filter(pa.array(rows[kind] == _UNKNOWN))).to_pylist()
            if unknown:
                problems.add(
                    f"{source.path}: retrieve.source {source.label!r} names {len(unknown):,} {kind} ids that are not "
                    f'in the input ({few(unknown)}); set input.unknown_ids = "skip" to leave these lines out'
                )
    problems.raise_if_any()
    return _ordered(rows["query"], rows["document"], lines)


def rows_by_id(ingest: Path, kind: str) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Return the ids of all queries or documents of the input, and their rows; those left out have `_LEFT_OUT`."""
    table = read_table(ingest / "left_out.parquet").cast(LEFT_OUT)
    left_out = table.filter(pc.equal(table.column("kind"), kind)).column("id")
    shards = Shards(ingest / ("queries" if kind == "query" else "corpus"), QUERIES if kind == "query" else CORPUS)
    ids = [shards.column("query_id" if kind == "query" else "doc_id")]
    rows = [np.arange(shards.rows)]
    if kind == "document":
        aliases = Shards(ingest / "aliases", ALIASES)
        ids.append(aliases.column("doc_id"))
        rows.append(aliases.column("doc_row").to_numpy())
    ids.append(left_out)
    rows.append(np.full(len(left_out), _LEFT_OUT))
    return pa.chunked_array([c for part in ids for c in part.chunks], pa.string()), np.concatenate(rows)


def _rows(ids: pa.ChunkedArray, known: pa.ChunkedArray, rows: np.ndarray) -> np.ndarray:
    """Return the row of each id, int64; `_UNKNOWN` where it is not known."""
    place = pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy().astype(np.int64)
    return np.where(place < 0, _UNKNOWN, np.append(rows, _UNKNOWN)[place])


def _ordered(queries: np.ndarray, documents: np.ndarray, lines: pa.Table) -> pa.Table:
    """Return the lines whose ids are rows, best first within each query, each document once."""
    scores, ranks = (lines.column(name).to_numpy() for name in ("score", "rank"))
    order = np.lexsort((documents, ranks, -scores, queries))
    order = order[(queries[order] >= 0) & (documents[order] >= 0)]
    span = int(documents.max(initial=0)) + 1
    _, first = np.unique(queries[order] * span + documents[order], return_index=True)
    order = order[np.sort(first)]
    columns = (queries[order], documents[order], scores[order].astype(np.float32))
    return pa.Table.from_arrays([pa.array(c) for c in columns], schema=IMPORTED)


class ImportedRun:
    """A run as import left it.

    Args:
        path: its table.
    """

    def __init__(self, path: Path) -> None:
        table = conform(read_table(path), IMPORTED, f"index/runs/{path.name}")
        self.queries, self.documents, self.scores = (table.column(name).to_numpy() for name in IMPORTED.names)

    def search(self, first: int, wanted: np.ndarray, allows: Allows | None = None) -> Hits:
        """Return the best documents of the queries from row `first` on, at most as many as wanted (int64) of each.

        `allows` tells for (query counted from `first`, document) which may be found; None: all.
        """
        borders = np.searchsorted(self.queries, first + np.arange(len(wanted) + 1))
        places = Ragged.from_lengths(np.arange(borders[0], borders[-1]), np.diff(borders))
        if allows is not None:
            stay = allows(places.owners, self.documents[places.values])
            places = Ragged.from_lengths(places.values[stay], np.bincount(places.owners[stay], minlength=len(wanted)))
        kept = places.positions < wanted[places.owners]
        at = places.values[kept]
        return Hits(Ragged.from_lengths(self.documents[at], np.minimum(places.lengths, wanted)), self.scores[at])
