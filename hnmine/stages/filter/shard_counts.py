"""Counts of judged candidates. Each shard of the filter has its own in its footer, so that verdicts need no reading."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.stages.filter.deeper_search import max_depth
from hnmine.stages.filter.verdicts import CODES, countable_verdicts
from hnmine.storage.paths import map_paths
from hnmine.storage.schemas.filter import JUDGED, KEEP, VERDICTS
from hnmine.storage.store import Shards, read_counts

_OTHERS = ("anchors", "empty", "short", "found")
COUNTED = pa.list_(pa.int64(), len(VERDICTS) + len(_OTHERS))
"""The type of `counts_of_queries`: in a column beside the verdicts, they go where a query's candidates go."""


def verdict_counts(codes: np.ndarray, anchor: np.ndarray, anchors: int) -> np.ndarray:
    """Return how many cells of each anchor have each verdict, int64, shape (anchors, verdicts).

    Args:
        codes: int8, the verdict of each cell: see `CODES`.
        anchor: int64, the anchor of each cell.
        anchors: number of anchors.
    """
    kinds = len(VERDICTS)
    return np.bincount(anchor * kinds + codes, minlength=anchors * kinds).reshape(anchors, kinds)


def counts_of_queries(counts: np.ndarray, anchors: Ragged, short: np.ndarray) -> pa.Array:
    """Return the counts of each query, for `total`.

    Args:
        counts: see `verdict_counts`.
        anchors: the anchors of each query, one at least.
        short: bool, which anchors are short.
    """
    first, kinds = counts[anchors.starts], len(VERDICTS)
    rows = np.empty((len(anchors), COUNTED.list_size), dtype=np.int64)
    rows[:, :kinds] = np.add.reduceat(counts, anchors.starts, axis=0) if len(rows) else 0
    rows[:, kinds] = anchors.lengths
    rows[:, kinds + 1] = np.bincount(anchors.owners[counts[:, CODES[KEEP]] == 0], minlength=len(anchors))
    rows[:, kinds + 2] = np.bincount(anchors.owners[short], minlength=len(anchors)) > 0
    rows[:, kinds + 3] = first.sum(axis=1) - first[:, CODES["positive"]]
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), COUNTED.list_size)


def total(column: pa.ChunkedArray, config: Config) -> dict[str, int]:
    """Return the counts of a shard, given those of its queries in a column.

    Returns:
        the cells with each verdict, by its name; anchors; empty (anchors without a kept candidate); deeper (queries
        with more candidates than `retrieve.top_k`, positives not counted); deepest (the most candidates of a query,
        likewise); short (queries with a short anchor that have as many candidates as a query may get).
    """
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *(chunk.flatten().to_numpy() for chunk in column.chunks)])
    rows = flat.reshape(-1, COUNTED.list_size)
    *verdicts, anchors, empty, _, _ = rows.sum(axis=0).tolist()
    counted = countable_verdicts(config.filter)
    short, found = rows[:, -2].astype(bool), rows[:, -1]
    return {
        **{name: verdicts[CODES[name]] for name in counted},
        "anchors": anchors,
        "empty": empty,
        "deeper": int((found > config.retrieve.top_k).sum()),
        "deepest": int(found.max(initial=0)),
        "short": int((short & (found >= max_depth(config))).sum()),
    }


def shard_counts(folder: Path) -> list[Mapping[str, Any]]:
    """Return the counts of each shard of a finished stage filter."""
    return map_paths(read_counts, Shards(folder, JUDGED).paths)


def usable_queries(folder: Path) -> tuple[int, int, int]:
    """Return what `count_usable` returns of the candidates that a finished stage filter has judged."""
    counts = shard_counts(folder)
    queries, several, hidden = (sum(one[name] for one in counts) for name in ("queries", "several", "hidden"))
    return queries, several, hidden
