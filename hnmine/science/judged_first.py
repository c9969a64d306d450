"""Candidates that people judged irrelevant: certain negatives, taken before uncertain ones."""

import numpy as np


def judged_first(groups: np.ndarray, judged: np.ndarray, priority: np.ndarray | None) -> np.ndarray:
    """Return priorities that put the judged elements of a group before its others, and else keep the order.

    Args:
        groups: int64, shape (total,), ascending.
        judged: bool, shape (total,).
        priority: any sortable type, shape (total,), smallest first; ties by position. None: the order given.

    Returns:
        int64, shape (total,), all different: the place of each element in the new order.
    """
    places = np.arange(len(groups))
    order = np.lexsort((places if priority is None else priority, ~judged, groups))
    out = np.empty(len(groups), dtype=np.int64)
    out[order] = places
    return out
