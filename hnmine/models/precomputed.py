"""Vectors that the user supplies: Parquet with ids, or .npy in the order of the input."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.config.tables import Columns, Config, TeacherTable
from hnmine.errors import InputError, Problems, few, reason
from hnmine.models.encoders import vector_faults
from hnmine.readers.columns import COLUMNS
from hnmine.runtime.stage import RunContext
from hnmine.runtime.threads import prefetched
from hnmine.storage.input_files import VECTOR_ENDINGS, Source, find_sources
from hnmine.storage.schemas.ingest import QUERIES
from hnmine.storage.store import Shards, recorded
from hnmine.storage.vectors import SpilledVectors

# Vectors read at a time.
_ROWS = 16_384
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
                found |= {part.shape[1] for part in islice(_parts_of(source, config.input.columns, side, []), 1)}
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


def _parts_of(source: Source, columns: Columns, side: str, ids: list[pa.Array]) -> Iterator[np.ndarray]:
    """Yield the vectors of a file, `_ROWS` at a time, in their float type; ids that it has are added to `ids`."""
    if source.ending == ".npy":
        return _npy_parts(source)
    return _table_parts(source, columns, _ID_NAMES[side], ids)


class Precomputed:
    """The user's vectors of one side (corpus or queries), in the order of the ingested rows.

    Args:
        context: config and folders.
        side: corpus or queries.
        shards: the ingested table of that side.
        table: the teacher's table.

    Raises:
        InputError: a file is unreadable, a row has no vector, ids repeat, a vector cannot be compared, or dimensions
            differ between files or sides.
    """

    def __init__(self, context: RunContext, side: str, shards: Shards, table: TeacherTable = "embed") -> None:
        self.shards, self.side = shards, side
        sources = vector_sources(context.config, table)[side]
        self.name = _names(sources)
        _refuse_mixed(sources)
        ids: list[pa.Array] = []
        bad: dict[str, list[np.ndarray]] = {}
        columns = context.config.input.columns
        parts = chain.from_iterable(_parts_of(source, columns, side, ids) for source in sources)
        checked = self._checked(prefetched(parts), context.config.teachers[table].similarity, bad)
        self.vectors = SpilledVectors(context.folder("embed"), checked)
        in_order = all(source.ending == ".npy" for source in sources)
        self.rows = self._rows_by_order(context) if in_order else self._rows_by_id(pa.chunked_array(ids, pa.string()))
        self._refuse(bad)
        if side == "corpus":
            queries = Precomputed(context, "queries", Shards(context.reading("ingest") / "queries", QUERIES), table)
            dim, other = self.vectors.shape[1], queries.vectors.shape[1]
            if dim != other:
                raise InputError(_unlike(self.name, dim, queries.name, other))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of the given rows (int64), float32, shape (len(rows), dim)."""
        return self.vectors.take(self.rows[rows])

    def _checked(
        self, parts: Iterator[np.ndarray], similarity: str, bad: dict[str, list[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the parts as float32; the places of bad vectors are added to `bad`, by what is wrong with them."""
        first, dim = 0, None
        for part in parts:
            dim = part.shape[1] if dim is None else dim
            if part.shape[1] != dim:
                raise InputError(f"{self.name}: {_differ((dim, part.shape[1]))}")
            with np.errstate(over="ignore"):
                vectors = np.ascontiguousarray(part, dtype=np.float32)
            for rows, fault in vector_faults(vectors, similarity):
                bad.setdefault(fault, []).append(first + rows)
            yield vectors
            first += len(vectors)

    def _refuse(self, bad: dict[str, list[np.ndarray]]) -> None:
        """Raise an InputError on bad vectors of ingested rows; vectors of other ids are never read.

        `bad` are places in the files, by what is wrong with the vectors there.
        """
        name = _ID_NAMES[self.side]
        lines = []
        for fault, places in bad.items():
            ours = np.flatnonzero(np.isin(self.rows, np.concatenate(places)))
            if len(ours):
                ids = self.shards.take(ours, [name]).column(0).to_pylist()
                lines.append(f"{self.name}: {len(ids):,} vectors {fault} ({name} {few(ids)})")
        if lines:
            raise InputError("\n".join(lines))

    def _rows_by_order(self, context: RunContext) -> np.ndarray:
        """Return the place of each ingested row's vector where vectors are in the order of the input."""
        counts = (recorded(context.reading("ingest")) or {})["counts"]
        expected = counts["documents_read" if self.side == "corpus" else "queries_read"]
        if len(self.vectors) != expected:
            given = f"{len(self.vectors):,} vectors for {expected:,} {self.side} rows"
            raise InputError(f"{self.name}: {given} read from the input")
        return np.asarray(self.shards.column("source_row").to_numpy())

    def _rows_by_id(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Return the place of each ingested row's vector where vectors have these ids."""
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


def _npy_parts(source: Source) -> Iterator[np.ndarray]:
    """Yield the rows of a .npy file, `_ROWS` at a time, in its float type."""
    try:
        with source.open() as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_column, kind = read(file)
            if len(shape) != 2 or kind.kind != "f":
                raise InputError(f"{source.name}: a float array of two dimensions is needed, not {kind} {shape}")
            if by_column:
                raise InputError(f"{source.name}: its numbers are stored by column; save it as np.ascontiguousarray")
            for first in range(0, shape[0], _ROWS):
                rows = min(_ROWS, shape[0] - first)
                data = file.read(rows * shape[1] * kind.itemsize)
                if len(data) < rows * shape[1] * kind.itemsize:
                    raise EOFError(f"it ends before its row {first + rows:,} of {shape[0]:,}")
                yield np.frombuffer(data, dtype=kind).reshape(rows, shape[1])
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{source.name}: not a readable .npy file: {reason(error)}") from None


def _table_parts(source: Source, columns: Columns, id_column: str, ids: list[pa.Array]) -> Iterator[np.ndarray]:
    """Yield the vectors of a Parquet file, `_ROWS` at a time, in their float type; their ids are added to `ids`."""
    if source.ending not in (".parquet", ".pq"):
        raise InputError(f"{source.name}: vectors must be Parquet or .npy")
    try:
        with source.open() as file:
            parquet = pq.ParquetFile(file)
            names = parquet.schema_arrow.names
            id_name = next((n for n in (getattr(columns, id_column), *COLUMNS[id_column].names) if n in names), None)
            vector = next((n for n in _VECTOR_NAMES if n in names), None)
            if id_name is None or vector is None:
                missing = "an id column" if id_name is None else f"a vector column ({', '.join(_VECTOR_NAMES)})"
                raise InputError(f"{source.name}: {missing} is missing; it has: {', '.join(names)}")
            if not parquet.metadata.num_rows:
                raise InputError(f"{source.name} column {vector}: holds no vectors")
            for batch in parquet.iter_batches(_ROWS, columns=[id_name, vector]):
                try:
                    ids.append(batch.column(id_name).cast(pa.string()))
                except pa.ArrowException as error:
                    where = f"{source.name} column {id_name}"
                    raise InputError(f"{where}: cannot be read as ids: {reason(error)}") from None
                yield _matrix(batch.column(vector), f"{source.name} column {vector}")
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
