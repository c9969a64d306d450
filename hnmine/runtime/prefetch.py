"""Work that is done one step ahead, in a thread, and rows of a table that is stored in shards."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

from hnmine.storage.store import Shards

T = TypeVar("T")


class Ahead(Generic[T]):
    """Makes one thing while the caller works on the one before it.

    Args:
        make: makes the thing of a number; only ever run in one thread, one call at a time.
    """

    def __init__(self, make: Callable[[int], T]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._coming: dict[int, Future[T]] = {}

    def get(self, number: int, following: int | None) -> T:
        """Return the thing of a number, and begin the one that will most likely be asked for next, if any.

        Raises:
            Exception: whatever making this one raised; an error in one made ahead shows when it is asked for.
        """
        future = self._coming.pop(number, None) or self._pool.submit(self._make, number)
        self._coming.clear()
        made = future.result()
        if following is not None:
            self._coming[following] = self._pool.submit(self._make, following)
        return made


def one_ahead(parts: Iterable[T]) -> Iterator[T]:
    """Yield the same, each made in another thread while the caller works on the one before it.

    Raises:
        Exception: whatever making them raised, where the part would have come.
    """
    source = iter(parts)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(_first, source)
        while found := coming.result():
            coming = pool.submit(_first, source)
            yield from found


def _first(source: Iterator[T]) -> list[T]:
    return list(itertools.islice(source, 1))


class SomeTexts:
    """The texts of some rows of a table, by their place among them.

    Args:
        shards: a table with a column `text`.
        rows: int64, ascending.
    """

    def __init__(self, shards: Shards, rows: np.ndarray) -> None:
        self._shards, self._rows = shards, rows

    def read(self, first: int, last: int) -> list[str]:
        """Return the texts at places first to last - 1, as far as there are any."""
        found: list[str] = self._shards.take(self._rows[first:last], ["text"]).column(0).to_pylist()
        return found


class Texts:
    """The texts of a table by row, whatever the shards it is stored in; the last shard read stays in memory.

    Args:
        shards: a table with a column `text`.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._number, self._texts = -1, [""]

    def read(self, first: int, last: int) -> list[str]:
        """Return the texts of rows first to last - 1, as far as there are any."""
        found: list[str] = []
        for number, start in enumerate(self._shards.offsets[:-1].tolist()):
            end = int(self._shards.offsets[number + 1])
            if start < last and first < end:
                texts = self._shard(number)
                found += texts[max(0, first - start) : last - start]
        return found

    def _shard(self, number: int) -> list[str]:
        if number != self._number:
            self._texts = self._shards.read(number, ["text"]).column(0).to_pylist()
            self._number = number
        return self._texts
