"""Copies of a text among a query's candidates."""

import numpy as np


def repeats(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Tell for each element whether an earlier one of its group has the same key.

    Args:
        groups: int64, shape (n,).
        keys: uint64, shape (n,).

    Returns:
        bool, shape (n,): False for the first of each (group, key), in the order given.
    """
    if not len(keys):
        return np.zeros(0, dtype=bool)
    order = np.lexsort((keys, groups))
    same = (groups[order][1:] == groups[order][:-1]) & (keys[order][1:] == keys[order][:-1])
    out = np.zeros(len(keys), dtype=bool)
    out[order[1:][same]] = True
    return out
