"""Vectors that the user brings: Parquet with ids, or .npy in the order of the input."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.config import Columns, Config, TeacherTable
from hnmine.encoders import faults
from hnmine.errors import InputError, few
from hnmine.readers.columns import USUAL
from hnmine.readers.files import VECTOR_ENDINGS, Source, find_sources, reason
from hnmine.schemas import QUERIES
from hnmine.stage import RunContext
from hnmine.store import Shards

_VECTOR_NAMES = ("vector", "embedding", "embeddings", "vectors", "emb")


def vector_sources(config: Config, table: TeacherTable = "embed") -> dict[str, list[Source]]:
    """Return the vector files of a teacher with `model = "precomputed"`, by side; all but [embed]'s go by name and key.

    Raises:
        InputError: files that are not there.
    """
    teacher, found = config.teachers[table], {}
    for side, name in (("corpus", "corpus_vectors"), ("queries", "query_vectors")):
        entry, key = getattr(teacher, name), f"{table}.{name}"
        if entry is None:
            continue
        sources = find_sources(entry, config.base, key, VECTOR_ENDINGS)
        found[side] = [replace(s, name=f"{s.name} ({key})") for s in sources] if table != "embed" else sources
    return found


class Precomputed:
    """The user's vectors of one side, in the order of our rows.

    Args:
        context: config and folders.
        side: corpus or queries.
        shards: the canonical table of that side.
        table: whose vectors they are: that of [embed], the guide's or a source's.

    Raises:
        InputError: a vector is missing for some row, ids repeat, or files disagree on the dimension.
    """

    def __init__(self, context: RunContext, side: str, shards: Shards, table: TeacherTable = "embed") -> None:
        self.shards, self.side, self.table = shards, side, table
        sources = vector_sources(context.config, table)[side]
        self.name = ", ".join(source.name for source in sources[:3]) + (", ..." if len(sources) > 3 else "")
        endings = {source.ending for source in sources}
        if endings == {".npy"}:
            self.vectors = _join([_load_npy(source) for source in sources], self.name)
            self.rows = self._rows_by_order(context)
        elif ".npy" in endings:
            raise InputError(f"{self.name}: give either Parquet with ids or .npy in input order, not both")
        else:
            ids, parts = _load_tables(sources, context.config.input.columns, side)
            self.vectors = _join(parts, self.name)
            self.rows = self._rows_by_id(ids)
        self._check(context.config.teachers[table].similarity)
        if side == "corpus":
            self._check_other_side(context)

    def read(self, number: int) -> np.ndarray:
        """Return shard `number`'s vectors, float32, shape (rows, dim)."""
        low, high = self.shards.offsets[number : number + 2]
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as that
            return np.asarray(self.vectors[self.rows[low:high]], dtype=np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of the given rows (int64), float32, shape (len(rows), dim)."""
        with np.errstate(over="ignore"):
            return np.asarray(self.vectors[self.rows[rows]], dtype=np.float32)

    def _check(self, similarity: str) -> None:
        """Look at every vector before the first is written, so that a bad one leaves nothing behind."""
        name = "doc_id" if self.side == "corpus" else "query_id"
        problems: dict[str, list[str]] = {}
        for number in range(len(self.shards)):
            for bad, fault in faults(self.read(number), similarity):
                ids = self.shards.read(number, [name]).column(0).take(pa.array(bad))
                problems.setdefault(fault, []).extend(ids.to_pylist())
        if problems:
            lines = (
                f"{self.name}: {len(ids):,} vectors {fault} ({name} {few(ids)})" for fault, ids in problems.items()
            )
            raise InputError("\n".join(lines))

    def _check_other_side(self, context: RunContext) -> None:
        queries = Precomputed(context, "queries", Shards(context.reading("ingest") / "queries", QUERIES), self.table)
        dims = self.vectors.shape[1], queries.vectors.shape[1]
        if dims[0] != dims[1]:
            raise InputError(f"{self.name}: vectors of {dims[0]} numbers, but {queries.name} has vectors of {dims[1]}")

    def _rows_by_order(self, context: RunContext) -> np.ndarray:
        rows = self.shards.column("source_row").to_numpy()
        counts = _ingest_counts(context)
        expected = counts["documents_read" if self.side == "corpus" else "queries_read"]
        if len(self.vectors) != expected:
            raise InputError(
                f"{self.name}: {len(self.vectors):,} vectors for {expected:,} {self.side} rows read from the input"
            )
        return np.asarray(rows)

    def _rows_by_id(self, ids: pa.ChunkedArray) -> np.ndarray:
        name = "doc_id" if self.side == "corpus" else "query_id"
        wanted = self.shards.column(name)
        if len(pc.unique(ids)) != len(ids):
            counted = pc.value_counts(ids).flatten()
            twice = counted[0].filter(pc.greater(counted[1], 1))
            raise InputError(f"{self.name}: {len(twice):,} ids stand more than once ({few(twice.to_pylist())})")
        found = pc.index_in(wanted, value_set=ids)
        if found.null_count:
            lost = wanted.filter(pc.is_null(found))
            raise InputError(
                f"{self.name}: no vector for {len(lost):,} of {len(wanted):,} {name}s ({few(lost.to_pylist())})"
            )
        return np.asarray(found.to_numpy().astype(np.int64))


def _ingest_counts(context: RunContext) -> dict[str, Any]:
    from hnmine.keys import recorded

    counts: dict[str, Any] = (recorded(context.reading("ingest")) or {})["counts"]
    return counts


def _load_npy(source: Source) -> np.ndarray:
    try:
        with source.open() as file:
            loaded: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{source.name}: not a readable .npy file: {reason(error)}") from None
    if loaded.ndim != 2 or loaded.dtype.kind != "f":
        raise InputError(f"{source.name}: a float array of two dimensions is needed, not {loaded.dtype} {loaded.shape}")
    return loaded


def _join(parts: list[np.ndarray], name: str) -> np.ndarray:
    dims = {part.shape[1] for part in parts}
    if len(dims) > 1:
        raise InputError(f"{name}: vector files differ in dimension: {', '.join(map(str, sorted(dims)))}")
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _load_tables(sources: list[Source], columns: Columns, side: str) -> tuple[pa.ChunkedArray, list[np.ndarray]]:
    ids, parts = [], []
    kind = "doc_id" if side == "corpus" else "query_id"
    for source in sources:
        table = _load_table(source)
        id_name = next((n for n in (getattr(columns, kind), *USUAL[kind]) if n in table.column_names), None)
        vector = next((n for n in _VECTOR_NAMES if n in table.column_names), None)
        if id_name is None or vector is None:
            missing = "an id column" if id_name is None else f"a vector column ({', '.join(_VECTOR_NAMES)})"
            raise InputError(f"{source.name}: {missing} is missing; it has: {', '.join(table.column_names)}")
        try:
            ids.extend(table.column(id_name).cast(pa.string()).chunks)
        except pa.ArrowException as error:
            raise InputError(f"{source.name} column {id_name}: cannot be read as ids: {reason(error)}") from None
        parts.append(_matrix(table.column(vector), f"{source.name} column {vector}"))
    return pa.chunked_array(ids, pa.string()), parts


def _load_table(source: Source) -> pa.Table:
    if source.ending not in (".parquet", ".pq"):
        raise InputError(f"{source.name}: vectors must be Parquet or .npy")
    try:
        with source.open() as file:
            return pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source.name}: not a readable Parquet file (truncated?): {reason(error)}") from None


def _matrix(column: pa.ChunkedArray, where: str) -> np.ndarray:
    """Return a list column as a matrix, its float type kept; a ragged or empty one is an error."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    kind = array.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise InputError(f"{where}: holds {kind}, not lists of numbers")
    if not len(array):
        raise InputError(f"{where}: holds no vectors")
    lengths = pc.unique(pc.list_value_length(array)).to_pylist()
    if lengths == [0]:
        raise InputError(f"{where}: its vectors are empty")
    if len(lengths) > 1 or lengths[0] is None:
        shown = ", ".join("null" if n is None else str(n) for n in lengths[:4])
        raise InputError(f"{where}: vectors differ in length: {shown}")
    values = array.flatten()
    if values.null_count or not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise InputError(f"{where}: holds nulls or {values.type} where numbers are needed")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(-1, lengths[0])
