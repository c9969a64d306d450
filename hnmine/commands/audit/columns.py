"""Reading Parquet files of plain columns batch by batch, without a look at each row."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.commands.audit.shapes import Shape
from hnmine.errors import InputError, reason
from hnmine.readers.tables import CHUNK_ROWS
from hnmine.storage.input_files import Source

Numbers = dict[str, int]


@dataclass(frozen=True)
class Block:
    """Rows of a batch as numbers of texts; -1 where there is none, and scores beside them.

    Attributes:
        anchors: int64, shape (rows,).
        positives, negatives: int64, shape (rows, 1) and (rows, n).
        scores: float64, shape (rows, 1 + n), the positive's first; `given` says where there is one.
    """

    anchors: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    scores: np.ndarray
    given: np.ndarray


def is_plain(source: Source, shape: Shape) -> bool:
    """Tell whether a file can be read so: Parquet, one text a cell, scores one a cell or in one list."""
    if source.ending not in (".parquet", ".pq") or shape.labeled or shape.ids:
        return False
    schema = pq.ParquetFile(source.system.open(source.path, "rb")).schema_arrow
    texts = [schema.field(name).type for name in (shape.anchor, shape.positive, *shape.negatives)]
    if not all(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in texts):
        return False
    for role, name in shape.scores:
        kind = schema.field(name).type
        listed = pa.types.is_list(kind) and pa.types.is_floating(kind.value_type)
        if not (listed if role == "all" else pa.types.is_floating(kind) and len(shape.negatives) == 1):
            return False
    return True


def blocks(source: Source, shape: Shape, queries: Numbers, documents: Numbers) -> Iterator[Block]:
    """Yield a file's rows, at most `CHUNK_ROWS` at a time; texts not seen before get the next numbers.

    Args:
        source: a file of plain columns.
        shape: that it has.
        queries: numbers of the anchors' texts seen so far.
        documents: likewise of positives and negatives.

    Raises:
        InputError: the file is damaged, or a list of scores has another length than its row has documents.
    """
    done = 0
    try:
        for batch in pq.ParquetFile(source.system.open(source.path, "rb")).iter_batches(
            CHUNK_ROWS, columns=shape.columns
        ):
            columns = [_numbered(batch.column(name), documents) for name in (shape.positive, *shape.negatives)]
            anchors = _numbered(pc.fill_null(batch.column(shape.anchor), ""), queries)
            texts = np.stack(columns, axis=1)
            scores, given = _scores(batch, shape, texts, f"{source.name} row", done)
            yield Block(anchors, texts[:, :1], texts[:, 1:], scores, given)
            done += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source.name}: damaged after row {done:,}: {reason(error)}") from None


def _numbered(column: pa.Array, numbers: Numbers) -> np.ndarray:
    """Return the number of each text, -1 for null; only distinct texts are looked at one by one."""
    coded = column.dictionary_encode()
    own = [numbers.setdefault(text.strip(), len(numbers)) for text in coded.dictionary.to_pylist()]
    at = pc.fill_null(coded.indices, len(own)).to_numpy(zero_copy_only=False)
    return np.asarray(np.array([*own, -1], dtype=np.int64)[at])


def _scores(
    batch: pa.RecordBatch, shape: Shape, texts: np.ndarray, place: str, done: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and where there are some; those of missing texts in a list of scores have a place all the same."""
    scores = np.full(texts.shape, np.nan)
    given = np.zeros(texts.shape, dtype=bool)
    for role, name in shape.scores:
        column = batch.column(name)
        if role == "all":
            there = column.is_valid().to_numpy(zero_copy_only=False)
            lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
            wrong = np.flatnonzero(there & (lengths != texts.shape[1]))
            if len(wrong):
                raise InputError(
                    f"{place} {done + int(wrong[0]) + 1:,}: {name}: {lengths[wrong[0]]} scores for "
                    f"{texts.shape[1]} documents"
                )
            flat = column.flatten()
            scores[there] = flat.to_numpy(zero_copy_only=False).reshape(-1, texts.shape[1])
            given[there] = flat.is_valid().to_numpy(zero_copy_only=False).reshape(-1, texts.shape[1])
        else:
            scores[:, int(role == "negative")] = column.to_numpy(zero_copy_only=False)
            given[:, int(role == "negative")] = column.is_valid().to_numpy(zero_copy_only=False)
    return scores, given
