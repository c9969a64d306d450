"""The candidates of all queries where those of any few can be had at once: a file that is mapped, not read."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.schemas import JUDGED
from hnmine.store import TEMPORARY, Shards

_CANDIDATES = [name for name in JUDGED.names if name not in ("verdicts", "probabilities", "anchor_scores")]
_QUERIES = ["text_key", "sibling_rows", "negative_rows", "relevant_rows", "terms"]


class Held:
    """Judged candidates and their queries, by row of the query.

    Shards are compressed, so that a few rows out of each would cost as much as all. They are written once more without
    compression, to a file without a name that is gone with the process; memory holds only the rows that are asked for.

    Args:
        judged: the judged candidates.
        queries: the queries.
        folder: on the disk that has room for the file.
    """

    def __init__(self, judged: Shards, queries: Shards, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY, dir=folder) as file:
            writer = None
            for number in range(len(judged)):
                table = judged.read(number, _CANDIDATES)
                own = queries.take(table.column("query_row").to_numpy(), _QUERIES)
                for name in _QUERIES:
                    table = table.append_column(own.schema.field(name), own.column(name))
                writer = writer or pa.ipc.new_file(file, table.schema)
                writer.write_table(table.combine_chunks())
            if writer is not None:
                writer.close()
            file.flush()
            reader = pa.ipc.open_file(pa.memory_map(file.name))
            self._parts = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._starts = np.concatenate([[0], np.cumsum([part.num_rows for part in self._parts])]).astype(np.int64)

    def take(self, rows: np.ndarray) -> pa.Table:
        """Return the given queries (int64, ascending)."""
        borders = np.searchsorted(rows, self._starts)
        parts = [
            part.take(pa.array(rows[borders[number] : borders[number + 1]] - self._starts[number]))
            for number, part in enumerate(self._parts)
            if borders[number] < borders[number + 1]
        ]
        return pa.Table.from_batches(parts, schema=self._parts[0].schema).combine_chunks()
