"""Vectors that the user supplies: Parquet with ids, or .npy in the order of the input."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.config.models import TeacherTable
from hnmine.config.tables import Columns, Config
from hnmine.errors import InputError, Problems, few, reason
from hnmine.models.encoders import vector_faults
from hnmine.readers.columns import COLUMNS
from hnmine.runtime.stage import RunContext
from hnmine.runtime.threads import prefetched
from hnmine.storage.input_files import VECTOR_ENDINGS, Source, find_sources
from hnmine.storage.store import Shards, recorded
from hnmine.storage.vectors import ForwardVectors, SpilledVectors

# Vectors read at a time, and bytes of a Parquet file: its row groups may be larger than the memory.
_ROWS, _BUFFER = 4096, 1 << 20
_VECTOR_NAMES = ("vector", "embedding", "embeddings", "vectors", "emb")
_ID_NAMES = {"corpus": "doc_id", "queries": "query_id"}


def vector_sources(config: Config, table: TeacherTable = "embed") -> dict[str, list[Source]]:
    """Return the vector files of a teacher with `model = "precomputed"`, by side (corpus, queries).

    Files of teachers other than [embed] have the config key in their names, for messages.

    Raises:
        InputError: a file does not exist.
    """
    teacher, found = config.teachers[table], {}
    for side, name in (("corpus", "corpus_vectors"), ("queries", "query_vectors")):
        entry, key = getattr(teacher, name), f"{table}.{name}"
        if entry is None:
            continue
        sources = find_sources(entry, config.base, key, VECTOR_ENDINGS)
        found[side] = [replace(s, name=f"{s.name} ({key})") for s in sources] if table != "embed" else sources
    return found


def check_vector_files(config: Config, table: TeacherTable, problems: Problems) -> None:
    """Note what the first vectors of a teacher's files say is wrong with them, and dimensions that differ.

    Which vectors belong to the input, and whether any is missing, is seen by `Precomputed` alone.
    """
    try:
        sources = vector_sources(config, table)
        for own in sources.values():
            _refuse_mixed(own)
    except InputError as error:
        problems.add(str(error))
        return
    dims: dict[str, list[int]] = {}
    for side, own in sources.items():
        found = set()
        for source in own:
            try:
                if source.ending != ".npy":
                    next(_id_parts(source, config.input.columns, side), None)
                first = next(_parts_of(source, config.input.columns, side), None)
                found |= {first.shape[1]} if first is not None else set()
            except InputError as error:
                problems.add(str(error))
        dims[side] = sorted(found)
        if len(found) > 1:
            problems.add(f"{_names(own)}: {_differ(found)}")
    corpus, queries = (dims.get(side, []) for side in ("corpus", "queries"))
    if len(corpus) == len(queries) == 1 and corpus != queries:
        problems.add(_unlike(_names(sources["corpus"]), corpus[0], _names(sources["queries"]), queries[0]))


def _differ(dims: Iterable[int]) -> str:
    return f"vector files differ in dimension: {', '.join(map(str, sorted(dims)))}"


def _unlike(name: str, dim: int, other: str, other_dim: int) -> str:
    return f"{name}: vectors of {dim} numbers, but {other} has vectors of {other_dim}"


def _refuse_mixed(sources: list[Source]) -> None:
    endings = {source.ending for source in sources}
    if ".npy" in endings and len(endings) > 1:
        raise InputError(f"{_names(sources)}: give either Parquet with ids or .npy in input order, not both")


def _names(sources: list[Source]) -> str:
    return ", ".join(source.name for source in sources[:3]) + (", ..." if len(sources) > 3 else "")


def _parts_of(source: Source, columns: Columns, side: str) -> Iterator[np.ndarray]:
    """Yield the vectors of a file, `_ROWS` at a time, in their number type."""
    return _npy_parts(source) if source.ending == ".npy" else _table_parts(source, columns, side)


class Precomputed:
    """The user's vectors of one side (corpus or queries), in the order of the ingested rows.

    Files in that order are read once, while vectors are taken from first to last. Others are copied to a temporary file
    first.

    Args:
        context: config and folders.
        side: corpus or queries.
        shards: the ingested table of that side.
        table: the teacher's table.

    Raises:
        InputError: a file is unreadable, a row has no vector, ids repeat, or dimensions differ between files.
    """

    def __init__(self, context: RunContext, side: str, shards: Shards, table: TeacherTable = "embed") -> None:
        self.shards, self.side = shards, side
        self.sources = vector_sources(context.config, table)[side]
        self.name = _names(self.sources)
        _refuse_mixed(self.sources)
        self.columns = context.config.input.columns
        self.similarity = context.config.teachers[table].similarity
        in_order = all(source.ending == ".npy" for source in self.sources)
        self.rows = self._rows_by_order(context) if in_order else self._rows_by_id()
        self.vectors: ForwardVectors | SpilledVectors
        if (np.diff(self.rows) > 0).all():
            self.vectors = ForwardVectors(lambda: prefetched(self._parts()))
        else:
            self.vectors = SpilledVectors(context.folder("embed"), prefetched(self._parts()))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of the given rows (int64, ascending), float32, shape (len(rows), dim).

        Raises:
            InputError: a file cannot be read, or dimensions differ.
        """
        found = self.vectors.take(self.rows[rows])
        if len(rows) and rows[-1] == len(self.rows) - 1 and isinstance(self.vectors, ForwardVectors):
            self.vectors.finish()
        return found

    def check(self) -> None:
        """Read all files and raise an InputError on vectors of ingested rows that cannot be compared.

        It names all of them; vectors of other ids are never compared.
        """
        bad: dict[str, list[np.ndarray]] = {}
        first = 0
        for part in prefetched(self._parts()):
            for places, fault in vector_faults(part, self.similarity):
                bad.setdefault(fault, []).append(first + places)
            first += len(part)
        name = _ID_NAMES[self.side]
        lines = []
        for fault, found in bad.items():
            ours = np.flatnonzero(np.isin(self.rows, np.concatenate(found)))
            if len(ours):
                ids = self.shards.take(ours, [name]).column(0).to_pylist()
                lines.append(f"{self.name}: {len(ids):,} vectors {fault} ({name} {few(ids)})")
        if lines:
            raise InputError("\n".join(lines))

    def _parts(self) -> Iterator[np.ndarray]:
        """Yield the vectors of all files as float32."""
        dim = None
        for part in chain.from_iterable(_parts_of(source, self.columns, self.side) for source in self.sources):
            dim = part.shape[1] if dim is None else dim
            if part.shape[1] != dim:
                raise InputError(f"{self.name}: {_differ((dim, part.shape[1]))}")
            with np.errstate(over="ignore"):
                vectors = np.ascontiguousarray(part, dtype=np.float32)
            yield vectors

    def _rows_by_order(self, context: RunContext) -> np.ndarray:
        """Return the place of each ingested row's vector where vectors are in the order of the input."""
        counts = (recorded(context.reading("ingest")) or {})["counts"]
        expected = counts["documents_read" if self.side == "corpus" else "queries_read"]
        given = sum(map(_npy_rows, self.sources))
        if given != expected:
            raise InputError(f"{self.name}: {given:,} vectors for {expected:,} {self.side} rows read from the input")
        return np.asarray(self.shards.column("source_row").to_numpy())

    def _rows_by_id(self) -> np.ndarray:
        """Return the place of each ingested row's vector where vectors have ids."""
        parts = chain.from_iterable(_id_parts(source, self.columns, self.side) for source in self.sources)
        ids = pa.chunked_array(parts, pa.string())
        name = _ID_NAMES[self.side]
        wanted = self.shards.column(name)
        values, counts = pc.value_counts(ids).flatten()
        repeated = values.filter(pc.greater(counts, 1))
        if len(repeated):
            raise InputError(f"{self.name}: {len(repeated):,} ids occur more than once ({few(repeated.to_pylist())})")
        found = pc.index_in(wanted, value_set=ids)
        if found.null_count:
            lost = wanted.filter(pc.is_null(found))
            missing = f"no vector for {len(lost):,} of {len(wanted):,} {name}s"
            raise InputError(f"{self.name}: {missing} ({few(lost.to_pylist())})")
        return np.asarray(found.to_numpy().astype(np.int64))


def _npy_header(source: Source, file: Any) -> tuple[tuple[int, int], np.dtype]:
    """Read the header of a .npy file; return the shape and the float type of its array."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, kind = read(file)
    if len(shape) != 2 or kind.kind != "f":
        raise InputError(f"{source.name}: a float array of two dimensions is needed, not {kind} {shape}")
    if by_column:
        raise InputError(f"{source.name}: its numbers are stored by column; save it as np.ascontiguousarray")
    return shape, kind


def _npy_rows(source: Source) -> int:
    """Return the number of rows that the header of a .npy file states."""
    try:
        with source.open() as file:
            return _npy_header(source, file)[0][0]
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable_npy(source, error) from None


def _unreadable_npy(source: Source, error: Exception) -> InputError:
    return InputError(f"{source.name}: not a readable .npy file: {reason(error)}")


def _npy_parts(source: Source) -> Iterator[np.ndarray]:
    """Yield the rows of a .npy file, `_ROWS` at a time, in its float type."""
    try:
        with source.open() as file:
            shape, kind = _npy_header(source, file)
            for first in range(0, shape[0], _ROWS):
                rows = min(_ROWS, shape[0] - first)
                data = file.read(rows * shape[1] * kind.itemsize)
                if len(data) < rows * shape[1] * kind.itemsize:
                    raise EOFError(f"it ends before its row {first + rows:,} of {shape[0]:,}")
                yield np.frombuffer(data, dtype=kind).reshape(rows, shape[1])
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable_npy(source, error) from None


def _id_parts(source: Source, columns: Columns, side: str) -> Iterator[pa.Array]:
    """Yield the ids of a Parquet file, some at a time, as strings."""
    with _parquet(source, columns, side) as (parquet, name, _):
        for batch in parquet.iter_batches(columns=[name]):
            try:
                yield batch.column(0).cast(pa.string())
            except pa.ArrowException as error:
                raise InputError(f"{source.name} column {name}: cannot be read as ids: {reason(error)}") from None


def _table_parts(source: Source, columns: Columns, side: str) -> Iterator[np.ndarray]:
    """Yield the vectors of a Parquet file, `_ROWS` at a time, in their number type."""
    with _parquet(source, columns, side) as (parquet, _, name):
        for batch in parquet.iter_batches(_ROWS, columns=[name]):
            yield _matrix(batch.column(0), f"{source.name} column {name}")


@contextmanager
def _parquet(source: Source, columns: Columns, side: str) -> Iterator[tuple[pq.ParquetFile, str, str]]:
    """Open a Parquet file of vectors; yield it with the names of its id column and its vector column."""
    if source.ending not in (".parquet", ".pq"):
        raise InputError(f"{source.name}: vectors must be Parquet or .npy")
    id_column = _ID_NAMES[side]
    try:
        with source.open_for_arrow() as file:
            parquet = pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
            names = parquet.schema_arrow.names
            id_name = next((n for n in (getattr(columns, id_column), *COLUMNS[id_column].names) if n in names), None)
            vector = next((n for n in _VECTOR_NAMES if n in names), None)
            if id_name is None or vector is None:
                missing = "an id column" if id_name is None else f"a vector column ({', '.join(_VECTOR_NAMES)})"
                raise InputError(f"{source.name}: {missing} is missing; it has: {', '.join(names)}")
            if not parquet.metadata.num_rows:
                raise InputError(f"{source.name} column {vector}: holds no vectors")
            yield parquet, id_name, vector
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source.name}: not a readable Parquet file (truncated?): {reason(error)}") from None


def _matrix(array: pa.Array, where: str) -> np.ndarray:
    """Return a list column as a matrix, its number type kept; a ragged or empty one is an error."""
    kind = array.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise InputError(f"{where}: holds {kind}, not lists of numbers")
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
