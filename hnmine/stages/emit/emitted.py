"""The (query, positive) pairs of a shard that are examples, with the negatives that serve each."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.science.anchors import anchor_of_positive
from hnmine.stages.emit.formats import gets_rows
from hnmine.stages.filter.bad_positives import SUSPECT_COLUMNS, is_emitted

PAIR_COLUMNS = (*SUSPECT_COLUMNS, "positive_rows", "anchor_scores")
"""The columns of a judged table that `EmittedPairs.of` reads."""


class EmittedPairs(NamedTuple):
    """(query, positive) pairs of a judged table.

    Attributes:
        which: int64, shape (pairs,): position of each pair's positive among all positives of the table.
        owners: int64, shape (pairs,): its query, as a position in the table.
        served_by: int64, shape (pairs,): the anchor whose negatives it has, as a position among the table's anchors.
        lengths: int64, shape (pairs,): number of its negatives, which may be 0.
        batch_ids: the batch of each; null for pairs without rows. None without batches.
    """

    which: np.ndarray
    owners: np.ndarray
    served_by: np.ndarray
    lengths: np.ndarray
    batch_ids: pa.Array | None

    @classmethod
    def of(cls, table: pa.Table, chosen: pa.Table, batches: pa.Table | None, config: Config) -> "EmittedPairs":
        """Return the pairs that are examples: not left out as suspected, and with a batch where there are batches.

        Args:
            table: judged candidates, with `PAIR_COLUMNS`.
            chosen: rows of `emit/chosen` of the same queries.
            batches: likewise of `emit/batches`; None without batches.
            config: the whole config.
        """
        positives, anchors = (Ragged.from_arrow(table.column(name)) for name in ("positive_rows", "anchor_scores"))
        which = np.flatnonzero(is_emitted(table, config))
        served_by = anchor_of_positive(anchors, positives)[which]
        lengths, batch_ids = Ragged.from_arrow(chosen.column("doc_rows")).lengths[served_by], None
        if batches is not None:  # only examples that get rows have a place in the table
            batch = np.zeros(len(which), dtype=np.int32)
            has = gets_rows(config.emit.formats, lengths, config.emit.num_negatives)
            batch[has] = batches.column("batch_id").to_numpy()
            kept = np.flatnonzero(batch >= 0)
            which, served_by, lengths = which[kept], served_by[kept], lengths[kept]
            batch_ids = pa.array(batch[kept], mask=~has[kept])
        return cls(which, positives.owners[which], served_by, lengths, batch_ids)
