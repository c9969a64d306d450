"""Imported runs: the results of another retriever, their ids mapped to rows of the ingested input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import first_n, repeated
from hnmine.arrays.ragged import Ragged
from hnmine.config.retrieve import SourceConfig
from hnmine.config.tables import Config
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


def run_files(source: SourceConfig, base: Path) -> list[Source]:
    """Return the files of a source of kind run.

    Raises:
        InputError: a file does not exist.
    """
    assert source.path is not None
    return find_sources(source.path, base, f"retrieve.source {source.label!r}", RUN_ENDINGS)


def import_run(source: SourceConfig, config: Config, ingest: Path) -> pa.Table:
    """Return the results of a run's files in rows of the ingested input, as a table of `schemas.IMPORTED`.

    Results are ordered within a query by descending score, then by the file's rank, then by document row. Of a document
    that occurs twice, under its own id or a copy's, the better result stays. Queries and documents that ingest left out
    are left out.

    Raises:
        InputError: a file is unreadable, a line is malformed, or, unless `input.unknown_ids` is "skip", an id is not in
            the input; all problems are named.
    """
    problems, parts = Problems(), [LINES.empty_table()]
    for file in run_files(source, config.base):
        try:
            parts.append(read_run(file, config.input, problems))
        except InputError as error:
            problems.add(str(error))
    lines = pa.concat_tables(parts)
    found = {}
    for kind, column in (("query", "query_id"), ("document", "doc_id")):
        ids, rows = rows_by_id(ingest, kind)
        place = pc.fill_null(pc.index_in(lines.column(column), value_set=ids), -1).to_numpy().astype(np.int64)
        found[kind] = np.append(rows, _UNKNOWN)[place]
        unknown = pc.unique(lines.column(column).filter(pa.array(found[kind] == _UNKNOWN))).to_pylist()
        if unknown and config.input.unknown_ids == "error":
            problems.add(
                f"{source.path}: retrieve.source {source.label!r} names {len(unknown):,} {kind} ids that are not "
                f'in the input ({few(unknown)}); set input.unknown_ids = "skip" to leave these lines out'
            )
    problems.raise_if_any()
    queries, documents = found["query"], found["document"]
    scores, ranks = (lines.column(name).to_numpy() for name in ("score", "rank"))
    order = np.lexsort((documents, ranks, -scores, queries))
    order = order[(queries[order] >= 0) & (documents[order] >= 0)]
    order = order[~repeated(queries[order], documents[order])]
    columns = (queries[order], documents[order], scores[order].astype(np.float32))
    return pa.Table.from_arrays([pa.array(c) for c in columns], schema=IMPORTED)


def rows_by_id(ingest: Path, kind: str) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Return the ids of all queries or documents of the input and their rows, `_LEFT_OUT` for those left out."""
    table = read_table(ingest / "left_out.parquet").cast(LEFT_OUT)
    left_out = table.filter(pc.equal(table.column("kind"), kind)).column("id")
    shards = Shards(ingest / "queries", QUERIES) if kind == "query" else Shards(ingest / "corpus", CORPUS)
    ids, rows = [shards.column("query_id" if kind == "query" else "doc_id")], [np.arange(shards.rows)]
    if kind == "document":
        aliases = Shards(ingest / "aliases", ALIASES)
        ids.append(aliases.column("doc_id"))
        rows.append(aliases.column("doc_row").to_numpy())
    ids.append(left_out)
    rows.append(np.full(len(left_out), _LEFT_OUT))
    return pa.chunked_array([c for part in ids for c in part.chunks], pa.string()), np.concatenate(rows)


class ImportedRun:
    """An imported run, from the file of the table that `import_run` returned."""

    def __init__(self, path: Path) -> None:
        table = conform(read_table(path), IMPORTED, f"index/runs/{path.name}")
        self.queries, self.documents, self.scores = (table.column(name).to_numpy() for name in IMPORTED.names)

    def search(
        self, first: int, wanted: np.ndarray, allows: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    ) -> Hits:
        """Return the best documents of the queries from row `first` on, at most `wanted` (int64, one a query) of each.

        `allows` returns for each (query, counted from `first`; row of a document) whether it may be found, bool.
        """
        borders = np.searchsorted(self.queries, first + np.arange(len(wanted) + 1))
        at = np.arange(borders[0], borders[-1])
        owners = self.queries[at] - first
        if allows is not None:
            allowed = allows(owners, self.documents[at])
            at, owners = at[allowed], owners[allowed]
        kept = first_n(owners, wanted[owners])
        lengths = np.bincount(owners[kept], minlength=len(wanted))
        return Hits(Ragged.from_lengths(self.documents[at[kept]], lengths), self.scores[at[kept]])
