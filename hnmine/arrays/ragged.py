"""Lists of different lengths as two flat numpy arrays, and their forms as Arrow list columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from hnmine.arrays.groups import in_sorted, ranges
from hnmine.errors import ConfigError

# Lists up to this length are compared value by value, longer ones by binary search.
_SHORT = 8

MOST_VALUES = 2**31 - 1
"""Most values of one Arrow list array, whose offsets are int32."""


@dataclass(frozen=True)
class Ragged:
    """One list per row: row i holds values[offsets[i]:offsets[i + 1]].

    Attributes:
        values: any type, shape (total,).
        offsets: int64, shape (rows + 1,), from 0 to total.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_lengths(cls, values: np.ndarray, lengths: np.ndarray) -> "Ragged":
        """Cut values into consecutive lists of the given lengths."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray | pa.Array) -> "Ragged":
        """Return a list column without null lists. Slices are respected; numbers of one chunk are not copied."""
        array = single_array(column)
        offsets = array.offsets.to_numpy().astype(np.int64)
        return cls(array.flatten().to_numpy(zero_copy_only=False), offsets - offsets[0])

    @classmethod
    def concatenate(cls, parts: Sequence["Ragged"]) -> "Ragged":
        """Return the rows of one or more parts, one part after another."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls.from_lengths(np.concatenate([part.values for part in parts]), lengths)

    def to_arrow(self, kind: pa.DataType) -> pa.Array:
        """Return the lists as a list<kind> array without nulls."""
        return list_array(self.offsets, pa.array(self.values, kind))

    def with_values(self, values: np.ndarray) -> "Ragged":
        """Return lists of the same lengths with other values."""
        return Ragged(values, self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def starts(self) -> np.ndarray:
        """Position in `values` at which each list begins, int64, shape (rows,)."""
        return np.asarray(self.offsets[:-1])

    @cached_property
    def lengths(self) -> np.ndarray:
        """Length of each list, int64, shape (rows,)."""
        return np.diff(self.offsets)

    @cached_property
    def owners(self) -> np.ndarray:
        """Row of each value, int64, shape (total,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def positions(self) -> np.ndarray:
        """Position of each value within its own list, int64, shape (total,)."""
        return np.asarray(np.arange(len(self.values)) - self.starts[self.owners])

    def contains(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return whether each row's list (int64, shape (n,)) holds a value (shape (n,)); bool, shape (n,)."""
        found = np.zeros(len(rows), dtype=bool)
        if not len(self.values) or not len(rows):
            return found
        longest = int(self.lengths.max())
        if longest > _SHORT:
            names, codes = np.unique(self.values, return_inverse=True)
            name = np.minimum(np.searchsorted(names, values), len(names) - 1)
            pairs = np.unique(self.owners * len(names) + codes)
            return np.asarray(in_sorted(rows * len(names) + name, pairs) & (names[name] == values))
        empty = bool((self.lengths == 0).any())
        for place in range(longest):  # shorter lists repeat their last value
            at = np.minimum(self.starts + place, np.maximum(self.offsets[1:] - 1, 0))
            found |= self.values[at][rows] == values
        return found & (self.lengths > 0)[rows] if empty else found

    def find(self, rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where each (row, value) is in the lists, which hold integers >= 0, and whether it is there.

        Rows and values are int64, shape (n,). Returns positions in `values` of the lists (int64), which have no meaning
        for pairs that are not there, and whether they are there (bool).
        """
        if not len(self.values):
            return np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=bool)
        span = int(max(self.values.max(), values.max(initial=0))) + 1
        codes, asked = self.owners * span + self.values, rows * span + values
        order = np.argsort(codes, kind="stable")
        place = np.minimum(np.searchsorted(codes[order], asked), len(order) - 1)
        return order[place], np.asarray(codes[order[place]] == asked)

    def append(self, other: "Ragged") -> "Ragged":
        """Return each row's list followed by that of `other`, which has as many rows."""
        order = np.argsort(np.concatenate([self.owners, other.owners]), kind="stable")
        return Ragged.from_lengths(np.concatenate([self.values, other.values])[order], self.lengths + other.lengths)

    def rows(self, keep: np.ndarray) -> "Ragged":
        """Return the rows where `keep` (bool, shape (rows,)) is true."""
        return Ragged.from_lengths(self.values[keep[self.owners]], self.lengths[keep])

    def filter(self, keep: np.ndarray) -> "Ragged":
        """Return the lists with only the values where `keep` (bool, shape (total,)) is true."""
        return Ragged.from_lengths(self.values[keep], np.bincount(self.owners[keep], minlength=len(self)))

    def take(self, rows: np.ndarray) -> "Ragged":
        """Return the lists of the given rows (int64, repeats allowed), in the given order."""
        return Ragged.from_lengths(self.values[self.places(rows)], self.lengths[rows])

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions in `values` of the given rows' values, row after row, int64."""
        return ranges(self.starts[rows], self.lengths[rows])


def list_maxima(values: np.ndarray, counts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the largest value of each list, NaN where it holds one; the lists of one group are equally long.

    Lists of one length are compared position by position, all at once, in a quarter of the time of `reduceat`.

    Args:
        values: any float type, list by list and group by group, shape (sum of counts * lengths,).
        counts: int64, shape (groups,): number of lists of each group.
        lengths: int64, shape (groups,): length of each of the group's lists, at least 1.
    """
    kinds = np.unique(lengths[counts > 0])
    if len(kinds) > _SHORT or kinds.max(initial=0) > _SHORT:
        each = np.repeat(lengths, counts)
        return np.asarray(np.maximum.reduceat(values, np.cumsum(each) - each))
    found = np.empty(int(counts.sum()), dtype=values.dtype)
    for kind in kinds.tolist():
        own = lengths == kind
        table = values[np.repeat(own, counts * lengths)].reshape(-1, kind)
        largest = table[:, 0]
        for place in range(1, kind):
            largest = np.maximum(largest, table[:, place])
        found[np.repeat(own, counts)] = largest
    return found


def single_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array; a single chunk is not copied."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def text_bytes(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 bytes of a string array without nulls (uint8) and each text's bounds in them (int64, one more).

    Nothing is copied; slices are respected.
    """
    if not len(texts):
        return np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    _, bounds, data = texts.buffers()
    offsets = np.frombuffer(bounds, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    held = np.zeros(0, dtype=np.uint8) if data is None else np.frombuffer(data, dtype=np.uint8)
    return held[offsets[0] : offsets[-1]], offsets - offsets[0]


def list_array(offsets: np.ndarray, values: pa.Array, nullable: bool = False) -> pa.Array:
    """Return a list array in which row i holds values[offsets[i]:offsets[i + 1]].

    Offsets are any integers; values may be lists themselves. `nullable` lists have a type that allows null values.

    Raises:
        ConfigError: as `list_offsets`.
    """
    item = pa.field("item", values.type, nullable=nullable)
    return pa.ListArray.from_arrays(list_offsets(offsets), values, type=pa.list_(item))


def list_offsets(offsets: np.ndarray) -> pa.Array:
    """Return the offsets of a list array, any integers from 0 on and ascending, as Arrow's int32.

    Raises:
        ConfigError: there are more values than one list array can hold. Their number is set by shard_rows, top_k and
            the number of positives, so the message names these settings.
    """
    values = int(offsets[-1])
    if values > MOST_VALUES:
        raise ConfigError(
            f"a shard has lists of {values:,} values in all, and one column of a file holds at most {MOST_VALUES:,}: "
            "lower shard_rows, or retrieve.top_k"
        )
    return pa.array(offsets.astype(np.int32))
