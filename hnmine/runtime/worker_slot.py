"""Where this process stands among those that work side by side: its number, its threads and its GPU."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """One of several processes.

    Attributes:
        number: of this process, from 0.
        count: how many there are.
    """

    number: int = 0
    count: int = 1


_PLACES = [Place()]
_SHARED: list[int | None] = [None]


def take_place(place: Place, shared: int | None = None) -> None:
    """Say where this process stands; whoever starts it does.

    Args:
        place: its place.
        shared: the cores that all of them share; None where that is all that the machine gives.
    """
    _PLACES[0], _SHARED[0] = place, shared


def my_place() -> Place:
    """Return where this process stands: alone, unless it was told otherwise."""
    return _PLACES[0]


def choose_device(asked: str | None, place: Place, gpus: int) -> str | None:
    """Return the device of a process: GPUs are dealt out in turn to processes that work side by side.

    Args:
        asked: the config's device; None for the best there is.
        place: of the process.
        gpus: how many there are.
    """
    if place.count > 1 and gpus > 1 and asked in (None, "cuda"):
        return f"cuda:{place.number % gpus}"
    return asked


def thread_share(cores: int, count: int) -> int:
    """Return the threads of each of `count` processes on some cores: the cores shared out, at least one."""
    return max(1, cores // count)


def cores() -> int:
    """Return the cores that this process may use, or shares with the others."""
    if _SHARED[0] is not None:
        return _SHARED[0]
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
