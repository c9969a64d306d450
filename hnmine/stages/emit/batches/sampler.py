"""From the column batch_id to the rows of each batch, for a trainer's batch sampler."""

from collections.abc import Sequence

import numpy as np


def row_batches(batch_ids: Sequence[int], examples: Sequence[object] | None = None) -> list[list[int]]:
    """Return the rows of each batch, batches ascending, rows in their order.

    Args:
        batch_ids: the column batch_id of the training rows.
        examples: of shapes with several rows an example, what tells examples apart, one value a row: the column
            positive, for instance. A batch then comes several times, each time with another row of its examples, so
            that no document stands in it twice as a positive.

    Returns:
        positions of rows; with `examples` the first rows of all examples, then the second ones, ... batch by batch.
    """
    batches = np.asarray(batch_ids, dtype=np.int64)
    turn = np.zeros(len(batches), dtype=np.int64)
    if examples is not None:
        seen: dict[tuple[int, object], int] = {}
        for row, example in enumerate(zip(batches.tolist(), examples, strict=True)):
            turn[row] = seen.get(example, 0)
            seen[example] = int(turn[row]) + 1
    order = np.lexsort((turn, batches))
    borders = np.flatnonzero((np.diff(batches[order]) != 0) | (np.diff(turn[order]) != 0)) + 1
    return [part.tolist() for part in np.split(order, borders) if len(part)]
