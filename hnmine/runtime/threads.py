"""Running a function over parts in this process' share of the cores."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hnmine.runtime.worker_slot import cores, my_place, thread_share

PartT = TypeVar("PartT")
ResultT = TypeVar("ResultT")


def thread_count() -> int:
    """Return how many threads this process may keep busy."""
    return thread_share(cores(), my_place().count)


def together(*parts: Callable[[], Any]) -> list[Any]:
    """Return the results of functions that have nothing to do with each other, in order."""
    return in_threads(lambda part: part(), parts)


def in_threads(function: Callable[[PartT], ResultT], parts: Iterable[PartT], most: int | None = None) -> list[ResultT]:
    """Return the function's result for each part, in order; numpy lets the threads run side by side.

    Args:
        function: what is done with a part.
        parts: what it is done with.
        most: threads at most, where each takes memory; as many as this process may keep busy by default.
    """
    todo = list(parts)
    threads = min(thread_count(), len(todo), most or thread_count())
    if threads < 2:
        return [function(part) for part in todo]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, todo))
