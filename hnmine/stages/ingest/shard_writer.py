"""Filling the shards of a table row by row."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnmine.runtime.threads import BackgroundWriter
from hnmine.storage.schemas.base import conform
from hnmine.storage.store import part_name, write_table

Columns = dict[str, Sequence[Any]]


class ShardWriter:
    """Fills shards of one table and writes each when it is full.

    Args:
        folder: where the shards go; each is keyed by `key_of(folder name, first row, rows)`.
        schema: of the table.
        shard_rows: rows a shard.
        key_of: makes a shard's key.
        writer: writes the shards in the background.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        shard_rows: int,
        key_of: Callable[[str, int, int], str],
        writer: BackgroundWriter,
    ) -> None:
        self.folder, self.schema, self.shard_rows = folder, schema, shard_rows
        self.key_of, self.writer = key_of, writer
        self.written = 0
        self._rows: list[tuple[Any, ...]] = []
        self._given = tuple(schema.names)
        self._derive: Callable[[Columns], dict[str, pa.Array]] = lambda columns: {}

    def derive(self, names: Sequence[str], how: Callable[[Columns], dict[str, pa.Array]]) -> None:
        """Leave columns out of the rows that are added: they are made of the others, a shard at a time.

        Args:
            names: of the columns that are made.
            how: makes them, in the order of a shard's rows, out of the values of the others; called in another thread.
        """
        self._given = tuple(name for name in self.schema.names if name not in names)
        self._derive = how

    def add(self, row: tuple[Any, ...]) -> None:
        """Add a row: the values of the columns that are not derived, in the order of the schema.

        Raises:
            HnmineError: an earlier shard could not be written.
        """
        self._rows.append(row)
        if len(self._rows) == self.shard_rows:
            self._flush()

    def close(self) -> None:
        """Write what is left; a table without a row has one shard.

        Raises:
            HnmineError: an earlier shard could not be written; the last one's error is raised by `writer`.
        """
        if self._rows or not self.written:
            self._flush()

    def _flush(self) -> None:
        rows, first = self._rows, self.written
        self._rows, self.written = [], first + len(rows)
        self.writer.submit(lambda: self._write(rows, first))

    def _write(self, rows: list[tuple[Any, ...]], first: int) -> None:
        values = zip(*rows, strict=True) if rows else [()] * len(self._given)
        columns: Columns = dict(zip(self._given, values, strict=True))
        derived = self._derive(columns)
        arrays = [
            derived[f.name] if f.name in derived else pa.array(list(columns[f.name]), f.type) for f in self.schema
        ]
        table = conform(pa.Table.from_arrays(arrays, names=self.schema.names), self.schema, self.folder.name)
        key = self.key_of(self.folder.name, first, len(rows))
        write_table(table, self.folder / part_name(first // self.shard_rows), key)
