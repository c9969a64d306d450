"""Lists of different lengths as two flat arrays: what an Arrow list column is, in numpy."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

# Lists up to this length are searched value by value, longer ones in order.
_SHORT = 8


@dataclass(frozen=True)
class Ragged:
    """A list a row: row i holds values[offsets[i]:offsets[i + 1]].

    Attributes:
        values: any type, shape (total,).
        offsets: int64, shape (rows + 1,), from 0 to total.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_lengths(cls, values: np.ndarray, lengths: np.ndarray) -> "Ragged":
        """Return the lists of the given lengths, one after another in `values`."""
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray | pa.Array) -> "Ragged":
        """Return a list column without nulls; slices are respected, numbers are not copied."""
        array = column
        if isinstance(array, pa.ChunkedArray):  # combine_chunks copies even a single chunk
            array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
        offsets = array.offsets.to_numpy().astype(np.int64)
        return cls(array.flatten().to_numpy(zero_copy_only=False), offsets - offsets[0])

    def to_arrow(self, kind: pa.DataType) -> pa.Array:
        """Return the column as list<kind>, without nulls."""
        item = pa.field("item", kind, nullable=False)
        offsets = pa.array(self.offsets.astype(np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(self.values, kind), type=pa.list_(item))

    def with_values(self, values: np.ndarray) -> "Ragged":
        """Return lists of the same lengths holding other values."""
        return Ragged(values, self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Length of each list, int64."""
        return np.diff(self.offsets)

    @cached_property
    def owners(self) -> np.ndarray:
        """Row that each value belongs to, int64."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def contains(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Tell for each (row, value) whether the row's list holds the value; int64 rows, any type of values."""
        found = np.zeros(len(rows), dtype=bool)
        if not len(self.values) or not len(rows):
            return found
        longest = int(self.lengths.max())
        if longest > _SHORT:
            return self._search(rows, values)
        empty = bool((self.lengths == 0).any())
        for place in range(longest):  # a shorter list stands with its last value once more
            at = np.minimum(self.offsets[:-1] + place, np.maximum(self.offsets[1:] - 1, 0))
            found |= self.values[at][rows] == values
        return found & (self.lengths > 0)[rows] if empty else found

    def _search(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the same for lists of any length, by binary search."""
        names, codes = np.unique(self.values, return_inverse=True)
        own = np.unique(self.owners * len(names) + codes)
        name = np.minimum(np.searchsorted(names, values), len(names) - 1)
        asked = rows * len(names) + name
        place = np.minimum(np.searchsorted(own, asked), len(own) - 1)
        return np.asarray((own[place] == asked) & (names[name] == values))

    def find(self, rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where in `values` each (row, value) stands, and whether it does (bool); all int64, not negative."""
        if not len(self.values):
            return np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=bool)
        span = int(max(self.values.max(), values.max(initial=0))) + 1
        codes, asked = self.owners * span + self.values, rows * span + values
        order = np.argsort(codes, kind="stable")
        place = np.minimum(np.searchsorted(codes[order], asked), len(order) - 1)
        return order[place], np.asarray(codes[order[place]] == asked)

    def rows(self, keep: np.ndarray) -> "Ragged":
        """Return only the rows where `keep` (bool, shape (rows,)) is true."""
        return Ragged.from_lengths(self.values[keep[self.owners]], self.lengths[keep])

    def take(self, rows: np.ndarray) -> "Ragged":
        """Return the lists of the given rows (int64, repeats are fine), in the given order."""
        return Ragged.from_lengths(self.values[self.places(rows)], self.lengths[rows])

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions in `values` of the given rows' values, row after row."""
        lengths = self.lengths[rows]
        starts = np.repeat(self.offsets[:-1][rows] - (np.cumsum(lengths) - lengths), lengths)
        return np.asarray(starts + np.arange(int(lengths.sum())))
