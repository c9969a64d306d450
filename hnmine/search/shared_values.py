"""Conditions on values: which documents share one with a query, and which queries have the same values."""

import numpy as np


def any_wanted(values: np.ndarray, offsets: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Tell for each list whether it holds a wanted value: any over i in the list of wanted[values[i]].

    Args:
        values: int64, shape (total,), each in [0, len(wanted)).
        offsets: int64, shape (rows + 1,), ascending: list i is values[offsets[i]:offsets[i + 1]].
        wanted: bool, one a value there is.

    Returns:
        bool, shape (rows,); an empty list holds nothing.
    """
    first = int(offsets[0])
    until = np.concatenate([[0], np.cumsum(wanted[values[first : int(offsets[-1])]])])
    return np.asarray(until[offsets[1:] - first] > until[offsets[:-1] - first])


def same_lists(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return numbers of the lists that are equal exactly where the lists are.

    One place of the lists after another, the number so far and the value there make a new number.

    Args:
        values: int64, shape (total,), at least 0; as sets, lists must be sorted and without repeats.
        offsets: int64, shape (rows + 1,).

    Returns:
        int64, shape (rows,), from 0 on without gaps.
    """
    lengths = np.diff(offsets)
    numbers = np.zeros(len(lengths), dtype=np.int64)
    span = int(values.max(initial=0)) + 2
    for place in range(int(lengths.max(initial=0))):
        long = lengths > place
        there = np.full(len(lengths), span - 1, dtype=np.int64)
        there[long] = values[offsets[:-1][long] + place]
        numbers = np.unique(numbers * span + there, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers


def same_rows(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return (class of each row, a row of each class), int64; rows are in one class where all columns agree.

    Args:
        columns: at least one, each int64 of shape (rows,). Classes are numbered by their rows' values, ascending.
    """
    _, first, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    return inverse.reshape(-1).astype(np.int64), first.astype(np.int64)
