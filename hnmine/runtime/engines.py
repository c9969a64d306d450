"""Engines: `map` over shards in this process or in a pool of worker processes. `ray_engine` has one for clusters.

Engines and stages do not depend on each other; data is passed in files.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from hnmine.errors import WorkerDied
from hnmine.runtime.worker_slot import WorkerSlot, current_slot, set_slot

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Engine:
    """Engine that maps in this process, one item at a time; base class of the other engines.

    Attributes:
        inline: functions are called in this process, on one item after another.
    """

    inline = True

    def map(
        self, fn: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, cpus: float = 1, gpus: float = 0
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (index of the item, result), in any order. The first error ends the map.

        Args:
            fn: called with each item.
            items: the items.
            cpus: cores of one call, if the engine assigns cores.
            gpus: GPUs of one call, likewise.
        """
        for index, item in enumerate(items):
            yield index, fn(item)

    def release(self) -> None:
        """Free what worker processes keep in memory between maps, such as a model; nothing by default."""

    def close(self) -> None:
        """Free the engine's resources, if any; called once, after the last map."""


class PoolEngine(Engine):
    """Engine that maps in a pool of worker processes, kept for the next map.

    Args:
        workers: maximum number of processes. One is started when an item finds no idle process.
    """

    inline = False

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def map(
        self, fn: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, cpus: float = 1, gpus: float = 0
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (index, result) as results come.

        Raises:
            WorkerDied: a process ended without a result (killed, or out of memory).
        """
        try:
            yield from self._run(fn, items)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            # stopped by the user: unfinished shards are made again next time, so do not wait for them
            # Python 3.14 has terminate_workers() for this; a process that is still starting is ended too
            for process in list((self._pool._processes or {}).values()) if self._pool is not None else ():
                process.terminate()
            self.close()
            raise
        except BrokenProcessPool:
            self.close()
            raise WorkerDied(
                "a worker process was killed or ran out of memory; finished shards are kept: "
                "run the same command again, with fewer workers if memory was short"
            ) from None
        except BaseException:
            self.close()
            raise

    def release(self) -> None:
        """End the processes; the next map starts new ones."""
        self.close()

    def close(self) -> None:
        """End the processes when they have finished their current items."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None

    def _run(self, fn: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> Iterator[tuple[int, ResultT]]:
        submitted: dict[Future[ResultT], int] = {}
        todo = deque(enumerate(items))
        count = min(self.workers, len(items))
        while todo or submitted:
            while todo and len(submitted) < 2 * count:
                index, item = todo.popleft()
                if self._pool is None:
                    context = start_context()
                    start = (os.getpid(), context.Value("i", 0))
                    self._pool = ProcessPoolExecutor(self.workers, context, initializer=_start_worker, initargs=start)
                submitted[self._pool.submit(_work, fn, item, count)] = index
            done, _ = wait(submitted, return_when=FIRST_COMPLETED)
            for future in done:
                yield submitted.pop(future), future.result()


def start_context() -> BaseContext:
    """Return how worker processes start: each is a new Python that imports everything itself.

    A forked one would inherit threads and what a library of CUDA or S3 has begun, and one of multiprocessing's fork
    server the environment in which that server once started.
    """
    return multiprocessing.get_context("spawn")


def _work(fn: Callable[[ItemT], ResultT], item: ItemT, count: int) -> ResultT:
    set_slot(WorkerSlot(current_slot().index, count))  # the busy processes share the cores
    return fn(item)


def _start_worker(parent: int, taken: Any) -> None:
    """Initialise a worker process: take the next free slot, leave Ctrl-C to the parent, and end when the parent ends.

    An orphan must not write into a folder that another run has taken over.
    """
    with taken.get_lock():
        set_slot(WorkerSlot(taken.value))
        taken.value += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        starter = multiprocessing.parent_process()
        while os.getppid() == parent and starter is not None:
            starter.join(0.5)  # returns as soon as the parent ends
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Progress:
    """Progress of stages and steps, not shown; base class of displays such as the bars of `hnmine.cli.terminal`."""

    def stage_start(self, stage: str) -> None:
        """Begin a stage that has something to do."""

    def stage_end(self, stage: str, seconds: float | None) -> None:
        """End a stage; `seconds` is None where its results of an earlier run were kept."""

    def start(self, stage: str, step: str, unit: str, total: int, done: int) -> None:
        """Begin a step of `total` rows, of which `done` were finished by an earlier run."""

    def advance(self, rows: int) -> None:
        """Count finished rows. Several threads may call it."""

    def note(self, message: str) -> None:
        """Show a message."""

    def end(self) -> None:
        """End the step."""


def step_label(stage: str, step: str) -> str:
    """Return the name of a step for people: that of its stage alone where it says the same."""
    return stage if step in stage else f"{stage} {step}"
