"""Writer of one table's shards, filled row by row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnmine.runtime.threads import BackgroundWriter
from hnmine.storage.schemas.base import conform
from hnmine.storage.store import item_key, part_name, write_table

Columns = dict[str, Sequence[Any]]


@dataclass
class ShardWriter:
    """Collects the rows of one table and writes a shard whenever one is full.

    Attributes:
        folder: folder of the shards.
        schema: schema of the table.
        shard_rows: rows in a shard.
        key: the stage's key.
        writer: writes the shards in the background.
        derived: columns that are computed from the others when a shard is written.
        derive: returns these columns, given the values of the others; called in another thread.
        written: rows of the shards handed to `writer`.
    """

    folder: Path
    schema: pa.Schema
    shard_rows: int
    key: str
    writer: BackgroundWriter
    derived: Sequence[str] = ()
    derive: Callable[[Columns], dict[str, pa.Array]] = lambda columns: {}
    written: int = field(default=0, init=False)
    _rows: list[tuple[Any, ...]] = field(default_factory=list, init=False)

    def add(self, row: tuple[Any, ...]) -> None:
        """Add a row: the values of the columns that are not derived, in the order of the schema.

        Raises:
            HnmineError: an earlier shard could not be written.
        """
        self._rows.append(row)
        if len(self._rows) == self.shard_rows:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows, and raise as `add` does; a table without rows gets one empty shard."""
        if self._rows or not self.written:
            self._flush()

    def finish(self) -> None:
        """Write the remaining rows and wait until all are written; raise as `add` does."""
        self.close()
        self.writer.wait()

    def _flush(self) -> None:
        rows, first = self._rows, self.written
        self._rows, self.written = [], first + len(rows)
        self.writer.submit(lambda: self._write(rows, first))

    def _write(self, rows: list[tuple[Any, ...]], first: int) -> None:
        given = [name for name in self.schema.names if name not in self.derived]
        columns: Columns = dict(zip(given, zip(*rows, strict=True) if rows else [()] * len(given), strict=True))
        derived = self.derive(columns)
        arrays = [derived[f.name] if f.name in derived else pa.array(columns[f.name], f.type) for f in self.schema]
        table = conform(pa.Table.from_arrays(arrays, names=self.schema.names), self.schema, self.folder.name)
        key = item_key(self.key, self.folder.name, first, len(rows))
        write_table(table, self.folder / part_name(first // self.shard_rows), key)
