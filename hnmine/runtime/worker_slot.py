"""A worker's slot: its index among the workers, and its share of the cores, the GPUs and the memory."""

import os
from dataclasses import dataclass

from hnmine.config.tables import Config
from hnmine.display import parse_size

BASE_BYTES = 350_000_000
"""Python with numpy, pyarrow and faiss."""
MODEL_BYTES = 900_000_000
"""A small model, with torch."""
WORKING_BYTES = 350_000_000
"""A search or report without its caches: the current blocks of vectors, scores and candidates."""
CHOOSING_THREADS = 4
"""Threads that choose negatives; each holds a shard of queries."""


@dataclass(frozen=True)
class WorkerSlot:
    """One of several worker processes.

    Attributes:
        index: of this process, from 0.
        count: number of worker processes that run side by side.
        shared_cores: cores that all of them share; None for all cores of the machine.
    """

    index: int = 0
    count: int = 1
    shared_cores: int | None = None


_slot = WorkerSlot()


def set_slot(slot: WorkerSlot) -> None:
    """Set this process' slot; called by the engine that started it."""
    global _slot
    _slot = slot


def current_slot() -> WorkerSlot:
    """Return this process' slot: that of a single worker, unless `set_slot` was called."""
    return _slot


def choose_device(requested: str | None, slot: WorkerSlot, gpus: int) -> str | None:
    """Return the torch device of a worker on a machine with `gpus` GPUs, assigned to its workers in turn.

    `requested` is the config's device; None for the best one available.
    """
    if slot.count > 1 and gpus > 1 and requested in (None, "cuda"):
        return f"cuda:{slot.index % gpus}"
    return requested


def thread_share(cores: int, count: int) -> int:
    """Return the threads of each of `count` processes on some cores: an equal share, at least 1."""
    return max(1, cores // count)


def thread_count() -> int:
    """Return how many threads this worker may keep busy."""
    return thread_share(cores(), _slot.count)


def cores() -> int:
    """Return the number of cores that all workers share."""
    if _slot.shared_cores is not None:
        return _slot.shared_cores
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def kept_texts(config: Config) -> int:
    """Return how many bytes of documents' texts the stage emit may keep from one shard of queries to the next."""
    return cache_bytes(config) // 4


def cache_bytes(config: Config) -> int:
    """Return how many bytes of vectors a worker may keep: its share of `memory` minus what it needs in any case."""
    return max(0, parse_size(config.memory) // config.workers - BASE_BYTES - WORKING_BYTES)
