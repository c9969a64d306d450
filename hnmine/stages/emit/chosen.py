"""Reader of the chosen negatives (`emit/chosen`), with indices and seeds of their queries, anchors and documents."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.groups import ranges
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import random_numbers
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.verdicts import verdict_codes
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import CHOSEN
from hnmine.storage.schemas.filter import KEEP, VERDICTS
from hnmine.storage.store import read_table

CHOSEN_PATH = "chosen/chosen.parquet"

RANDOM_DOCUMENT, PREVIOUS_NEGATIVE = -1, -2
"""Positions of negatives that are no candidates of their query: random documents, and negatives of a previous run."""
NO_CANDIDATE = {RANDOM_DOCUMENT: "random", PREVIOUS_NEGATIVE: "previous"}
"""Their names, in place of a source or a verdict."""


def read_chosen(folder: Path) -> pa.Table:
    """Return the chosen negatives from an emit folder: one row per (query, anchor), ordered by query row."""
    return conform(read_table(folder / CHOSEN_PATH), CHOSEN, "emit/chosen")


def rows_of(table: pa.Table, first: int, last: int) -> pa.Table:
    """Return the rows of the queries [first, last) from a table that is ordered by `query_row`."""
    low, high = np.searchsorted(table.column("query_row").to_numpy(), [first, last])
    return table.slice(low, high - low)


def rows_of_queries(table: pa.Table, queries: np.ndarray) -> pa.Table:
    """Return the rows of some queries (int64, ascending) from a table that is ordered by `query_row`."""
    own = table.column("query_row").to_numpy()
    low, high = np.searchsorted(own, queries, side="left"), np.searchsorted(own, queries, side="right")
    at = ranges(low, high - low)
    if len(at) and at[-1] - at[0] == len(at) - 1:  # nothing is copied
        return table.slice(int(at[0]), len(at))
    return table.take(pa.array(at))


def cells_of(table: pa.Table, batch: Batch) -> tuple[Cells, np.ndarray]:
    """Return the cells of a judged table, and for each cell whether its verdict is keep (bool)."""
    cells = Cells.of(batch, Ragged.from_arrow(table.column("anchor_scores")))
    return cells, verdict_codes(table.column("verdicts")) == list(VERDICTS).index(KEEP)


def anchor_seeds(seed: int, query_ids: Iterable[str], anchors: Ragged) -> np.ndarray:
    """Return a random seed (uint64) for each anchor from the run's seed, the query's id and the anchor's position."""
    queries = text_seeds(f"{seed} {query_id}" for query_id in query_ids)
    return random_numbers(queries[anchors.owners], anchors.positions)


def text_seeds(texts: Iterable[str]) -> np.ndarray:
    """Return a 64-bit hash of each text (uint64), to order things in a way that depends on their names alone."""
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), dtype="<u8")
