"""Where shards are worked on: here, or in a pool of processes, or on a cluster. One seam, `map`.

An engine knows nothing of stages, and stages nothing of engines; what they exchange is files.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from hnmine.errors import WorkerDied
from hnmine.runtime.worker_slot import WorkerSlot, current_slot, set_slot

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Engine(Protocol):
    """Maps a function over items and yields each result with its item's index, in any order.

    Attributes:
        inline: the function is called in this process, one item after another.
    """

    inline: bool

    def map(
        self, fn: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, cpus: float = 1, gpus: float = 0
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (index, result) as results come; the first error ends the map.

        Args:
            fn: what is done with an item.
            items: what it is done with.
            cpus: cores that one call asks for, where the engine shares them out.
            gpus: GPUs likewise.
        """
        ...

    def release(self) -> None:
        """Let go of what processes keep in memory besides a map's items, such as a model and what runs it."""
        ...

    def close(self) -> None:
        """Let go of what the engine holds; called once, after the last map."""
        ...


class InlineEngine:
    """Works on one item after another, in this process."""

    inline = True

    def map(
        self, fn: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, cpus: float = 1, gpus: float = 0
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (index, result), in order."""
        for index, item in enumerate(items):
            yield index, fn(item)

    def release(self) -> None:
        """Keep everything: this process goes on."""

    def close(self) -> None:
        """Hold nothing."""


class PoolEngine:
    """Works on several items at a time, in spawned processes that stay for the next map.

    Args:
        workers: number of processes at most; each is started where there is an item that no idle one can take.
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
            # stopped from outside: unfinished shards are made again next time, so there is nothing to wait for
            self._terminate()
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
        """End the processes; the next map starts others."""
        self.close()

    def close(self) -> None:
        """End the processes, once they are done with what they are doing."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None

    def _run(self, fn: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> Iterator[tuple[int, ResultT]]:
        waiting: dict[Future[ResultT], int] = {}
        ahead = iter(enumerate(items))
        count, more = min(self.workers, len(items)), bool(items)
        while more or waiting:
            while more and len(waiting) < 2 * count:
                index, item = next(ahead, (-1, None))
                if item is None:
                    more = False
                else:
                    waiting[self._started().submit(_work, fn, item, count)] = index
            done, _ = wait(waiting, return_when=FIRST_COMPLETED) if waiting else (set(), set())
            for future in done:
                yield waiting.pop(future), future.result()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=spawn,
                initializer=_start_worker,
                initargs=(os.getpid(), spawn.Value("i", 0)),
            )
        return self._pool

    def _terminate(self) -> None:
        if self._pool is not None:
            # from Python 3.14 on there is terminate_workers() for it; one that still starts is ended too
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self.close()


def _work(fn: Callable[[ItemT], ResultT], item: ItemT, count: int) -> ResultT:
    set_slot(WorkerSlot(current_slot().index, count))  # threads are shared out among those that have work
    return fn(item)


def _start_worker(parent: int, taken: Any) -> None:
    """Take the next free place among the workers, leave Ctrl-C to the parent, and die with it.

    An orphan must not write into a folder that another run took over.
    """
    with taken.get_lock():
        set_slot(WorkerSlot(taken.value))
        taken.value += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    import threading
    import time

    def watch() -> None:
        starter = multiprocessing.parent_process()
        while os.getppid() == parent:
            if starter is None:
                time.sleep(0.5)
            else:
                starter.join(0.5)  # comes back the moment that the parent is gone, however it went
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
