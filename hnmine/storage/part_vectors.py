"""Some consecutive vectors of a store, as if there were no others: what a search of one part of the corpus reads."""

from collections.abc import Iterator

import numpy as np

from hnmine.storage.vectors import BLOCK_BYTES, BLOCK_ROWS, Block, VectorStore


class PartStore:
    """The vectors of a store at places [first, last), in blocks that keep the places they have in the whole.

    Only shards that hold some of them are read, in blocks of at most `BLOCK_ROWS` rows or `BLOCK_BYTES` (or a shard).

    Args:
        store: all vectors; its own cache is not used.
        first: the first place.
        last: behind the last place.
        cache_bytes: how much of the part may stay in memory; the rest is read again each time round.
    """

    def __init__(self, store: VectorStore, first: int, last: int, cache_bytes: int = 0) -> None:
        self.store, self.first, self.last = store, first, last
        self._left = cache_bytes
        self._kept: dict[int, np.ndarray] = {}
        self._groups = self._grouped()

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return self.last - self.first

    def _grouped(self) -> list[list[int]]:
        """Return the numbers of the shards that hold some of the part, block by block."""
        offsets = self.store.shards.offsets
        most = min(BLOCK_ROWS, BLOCK_BYTES // (4 * self.store.dim))
        groups: list[list[int]] = []
        held = np.flatnonzero((offsets[:-1] < self.last) & (offsets[1:] > self.first) & (np.diff(offsets) > 0))
        for number in held.tolist():
            if groups and offsets[number + 1] - max(offsets[groups[-1][0]], self.first) <= most:
                groups[-1].append(number)
            else:
                groups.append([number])
        return groups

    def _piece(self, number: int) -> np.ndarray:
        """Return the vectors of one shard that are in the part."""
        start, end = (int(offset) for offset in self.store.shards.offsets[number : number + 2])
        vectors = self.store.shard(number)
        if start >= self.first and end <= self.last:
            return vectors
        # a copy, since a view would keep the whole shard in memory
        return vectors[max(0, self.first - start) : self.last - start].copy()

    def _block(self, numbers: list[int]) -> np.ndarray:
        if numbers[0] in self._kept:
            return self._kept[numbers[0]]
        pieces = [self._piece(number) for number in numbers]
        block = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        if block.nbytes <= self._left:
            self._left -= block.nbytes
            self._kept[numbers[0]] = block
        return block

    def blocks(self) -> Iterator[Block]:
        """Yield the part's vectors, block by block, in the order of their places."""
        for numbers in self._groups:
            start = int(self.store.shards.offsets[numbers[0]])
            yield Block(max(start, self.first), self._block(numbers))
