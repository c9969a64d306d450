"""Writer of one table's shards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from hnmine.runtime.threads import BackgroundWriter
from hnmine.storage.schemas.base import conform
from hnmine.storage.store import item_key, part_name, write_table


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
        derive: returns these columns, given a table of the others; called in another thread.
        written: rows of the shards handed to `writer`.
    """

    folder: Path
    schema: pa.Schema
    shard_rows: int
    key: str
    writer: BackgroundWriter
    derived: Sequence[str] = ()
    derive: Callable[[pa.Table], dict[str, pa.Array]] = lambda table: {}
    written: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._given = pa.schema([field for field in self.schema if field.name not in self.derived])
        self._rows = self._given.empty_table()

    def add(self, *columns: pa.Array) -> None:
        """Add rows: the columns that are not derived, in the order of the schema.

        Raises:
            HnmineError: an earlier shard could not be written.
        """
        self._rows = pa.concat_tables([self._rows, pa.Table.from_arrays(columns, schema=self._given)])
        while self._rows.num_rows >= self.shard_rows:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows, and raise as `add` does; a table without rows gets one empty shard."""
        if self._rows.num_rows or not self.written:
            self._flush()

    def finish(self) -> None:
        """Write the remaining rows and wait until all are written; raise as `add` does."""
        self.close()
        self.writer.wait()

    def _flush(self) -> None:
        rows, first = self._rows.slice(0, self.shard_rows), self.written
        self._rows, self.written = self._rows.slice(self.shard_rows), first + rows.num_rows
        self.writer.submit(lambda: self._write(rows.combine_chunks(), first))

    def _write(self, rows: pa.Table, first: int) -> None:
        derived = self.derive(rows)
        columns = [derived[name] if name in derived else rows.column(name) for name in self.schema.names]
        table = conform(pa.Table.from_arrays(columns, names=self.schema.names), self.schema, self.folder.name)
        key = item_key(self.key, self.folder.name, first, rows.num_rows)
        write_table(table, self.folder / part_name(first // self.shard_rows), key)
