"""Turns the column `batch_id` of the training rows into the batches of a trainer's batch sampler."""

from collections.abc import Sequence

import numpy as np


def row_batches(batch_ids: Sequence[int], examples: Sequence[object] | None = None) -> list[list[int]]:
    """Return the row positions of each batch; batches and rows are in ascending order.

    Args:
        batch_ids: the column `batch_id`.
        examples: for formats with several rows per example: one value per row that tells examples apart, such as the
            column `positive`. Each batch then comes several times, with the first rows of its examples, the second
            ones, and so on, so that no batch holds a positive twice.
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
