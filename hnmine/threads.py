"""How many threads this process may use, and running a function over parts in them."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

PartT = TypeVar("PartT")
ResultT = TypeVar("ResultT")

SHARE = "HNMINE_THREADS"
"""Environment variable with this process' share of the cores, where several processes work side by side."""


def thread_count() -> int:
    """Return how many threads this process may keep busy: its share of the cores, all of them if nothing says less."""
    share = os.environ.get(SHARE, "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(int(share), cores)) if share.isdigit() else cores


def in_threads(function: Callable[[PartT], ResultT], parts: Iterable[PartT]) -> list[ResultT]:
    """Return the function's result for each part, in order; numpy lets the threads run side by side."""
    todo = list(parts)
    threads = min(thread_count(), len(todo))
    if threads < 2:
        return [function(part) for part in todo]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, todo))
