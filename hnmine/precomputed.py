"""Vectors that the user brings: Parquet with ids, or .npy in the order of the input."""

from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.config import Config
from hnmine.errors import InputError, few
from hnmine.readers.columns import USUAL
from hnmine.readers.files import VECTOR_ENDINGS, Source, find_sources, reason
from hnmine.runner import RunContext
from hnmine.store import Shards

_VECTOR_NAMES = ("vector", "embedding", "embeddings", "vectors", "emb")


def vector_sources(config: Config) -> dict[str, list[Source]]:
    """Return the vector files of a config with `embed.model = "precomputed"`, by side.

    Raises:
        InputError: files that are not there.
    """
    given = {"corpus": config.embed.corpus_vectors, "queries": config.embed.query_vectors}
    return {
        side: find_sources(
            entry, config.base, f"embed.{'corpus' if side == 'corpus' else 'query'}_vectors", VECTOR_ENDINGS
        )
        for side, entry in given.items()
        if entry is not None
    }


class Precomputed:
    """The user's vectors of one side, in the order of our rows.

    Args:
        context: config and folders.
        side: corpus or queries.
        shards: the canonical table of that side.

    Raises:
        InputError: a vector is missing for some row, ids repeat, or files disagree on the dimension.
    """

    def __init__(self, context: RunContext, side: str, shards: Shards) -> None:
        self.shards, self.side = shards, side
        sources = vector_sources(context.config)[side]
        self.name = sources[0].name
        if {source.ending for source in sources} == {".npy"}:
            self.vectors = np.concatenate([_load_npy(source) for source in sources])
            self.rows = self._rows_by_order(context)
        else:
            ids, self.vectors = _load_tables(sources, side)
            self.rows = self._rows_by_id(ids)

    def read(self, number: int) -> np.ndarray:
        """Return shard `number`'s vectors, float32, shape (rows, dim)."""
        low, high = self.shards.offsets[number : number + 2]
        return np.asarray(self.vectors[self.rows[low:high]], dtype=np.float32)

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
            raise InputError(f"{self.name}: {len(twice):,} ids stand more than once ({few(twice[:3].to_pylist())})")
        found = pc.index_in(wanted, value_set=ids)
        if found.null_count:
            lost = wanted.filter(pc.is_null(found))
            raise InputError(
                f"{self.name}: no vector for {len(lost):,} of {len(wanted):,} {name}s ({few(lost[:4].to_pylist())})"
            )
        return np.asarray(found.to_numpy().astype(np.int64))


def _ingest_counts(context: RunContext) -> dict[str, Any]:
    from hnmine.keys import recorded

    counts: dict[str, Any] = (recorded(context.reading("ingest")) or {})["counts"]
    return counts


def _load_npy(source: Source) -> np.ndarray:
    try:
        with source.open() as file:
            loaded: np.ndarray = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{source.name}: not a readable .npy file: {reason(error)}") from None
    if loaded.ndim != 2 or loaded.dtype.kind != "f":
        raise InputError(f"{source.name}: a float array of two dimensions is needed, not {loaded.dtype} {loaded.shape}")
    return loaded


def _load_tables(sources: list[Source], side: str) -> tuple[pa.ChunkedArray, np.ndarray]:
    ids, parts = [], []
    for source in sources:
        table = _load_table(source)
        id_name = next(
            (n for n in USUAL["doc_id" if side == "corpus" else "query_id"] if n in table.column_names), None
        )
        vector = next((n for n in _VECTOR_NAMES if n in table.column_names), None)
        if id_name is None or vector is None:
            missing = "an id column" if id_name is None else f"a vector column ({', '.join(_VECTOR_NAMES)})"
            raise InputError(f"{source.name}: {missing} is missing; it has: {', '.join(table.column_names)}")
        ids.extend(table.column(id_name).cast(pa.string()).chunks)
        parts.append(_matrix(table.column(vector), f"{source.name} column {vector}"))
    dims = {part.shape[1] for part in parts}
    if len(dims) > 1:
        raise InputError(
            f"{PurePosixPath(sources[0].path).parent.name}: vector files differ in dimension: {sorted(dims)}"
        )
    return pa.chunked_array(ids, pa.string()), np.concatenate(parts) if len(parts) > 1 else parts[0]


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
    lengths = pc.unique(pc.list_value_length(array)).to_pylist()
    if len(lengths) != 1 or not lengths[0]:
        raise InputError(f"{where}: vectors differ in length: {sorted(str(n) for n in lengths)[:4]}")
    values = array.flatten()
    if values.null_count or not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise InputError(f"{where}: holds nulls or {values.type} where numbers are needed")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(-1, lengths[0])
