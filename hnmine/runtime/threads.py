"""Threads within one worker: parallel maps, a background writer and prefetching."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, TypeVar

from hnmine.runtime.worker_slot import thread_count

T = TypeVar("T")
ResultT = TypeVar("ResultT")
_within = threading.local()


def in_threads(function: Callable[[T], ResultT], parts: Iterable[T], most: int | None = None) -> list[ResultT]:
    """Return `function(part)` for each part, in order, computed in this worker's share of the cores.

    Args:
        function: must be safe to call from several threads; numpy releases the interpreter's lock, so calls overlap.
        parts: its arguments.
        most: maximum number of threads, where each needs much memory; `thread_count()` by default.
    """
    todo = list(parts)
    threads = min(thread_count(), len(todo), most or thread_count())
    if threads < 2 or getattr(_within, "alone", False):
        return [function(part) for part in todo]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, todo))


def in_order(function: Callable[[T], ResultT], parts: Iterable[T], threads: int) -> Iterator[ResultT]:
    """Yield `function(part)` for each part, in order, computed by `threads` threads; with one, in the caller's own.

    Twice as many parts are taken at most before a result is yielded, so few results wait in memory. An error is raised
    in its part's turn; parts that no thread has begun are then left out, as they are where the caller stops.
    """
    todo = iter(parts)
    if threads < 2:
        yield from map(function, todo)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(function, part) for part in itertools.islice(todo, 2 * threads))
        try:
            while waiting:
                found = waiting.popleft().result()
                waiting.extend(pool.submit(function, part) for part in itertools.islice(todo, 1))
                yield found
        finally:
            for future in waiting:
                future.cancel()


def each_alone(function: Callable[[T], ResultT], parts: Iterable[T]) -> list[ResultT]:
    """Return what `in_threads` does; calls of `in_threads` for a part stay in that part's thread.

    For parts of equal work: the threads then wait for one another only once, at the end.
    """

    def alone(part: T) -> ResultT:
        before, _within.alone = getattr(_within, "alone", False), True
        try:
            return function(part)
        finally:
            _within.alone = before

    return in_threads(alone, parts)


def run_concurrently(*functions: Callable[[], Any]) -> list[Any]:
    """Return the results of independent functions, in order."""
    return in_threads(lambda function: function(), functions)


def in_background(function: Callable[[], ResultT]) -> Future[ResultT]:
    """Return the result to come of a function that runs in a thread of its own.

    The process does not wait for the thread when it ends. For functions that may wait long, such as for a server, and
    that leave nothing half-done where they are cut off.
    """
    found = Future[ResultT]()

    def work() -> None:
        try:
            found.set_result(function())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=work, name="background", daemon=True).start()
    return found


class BackgroundWriter:
    """Runs writes in background threads while the caller computes the next.

    A context manager: leaving the block waits for the last write. A write's error is raised by a later `submit`, or at
    the end of the block. If the block itself fails, the write's error is added to that error as a note.

    Args:
        most: writes at a time; they begin in order, and with one of them they also end in order.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="writer")
        self._running: deque[Future[None]] = deque()

    def submit(self, write: Callable[[], None]) -> None:
        """Start this write, after waiting for the first of those that are running if they are as many as allowed."""
        if len(self._running) == self._most:
            self._running.popleft().result()
        self._running.append(self._pool.submit(write))

    def wait(self) -> None:
        """Wait for all writes and raise the error of the first that failed."""
        while self._running:
            self._running.popleft().result()

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown(wait=True)
            for failure in [write.exception() for write in self._running]:
                if error is not None and failure is not None:
                    error.add_note(f"a write in the background failed too: {failure}")


class Prefetcher(Generic[T]):
    """Loads the next value in a background thread while the caller works on the current one.

    Args:
        load: returns the value of a number; called in one thread, one call at a time.
    """

    def __init__(self, load: Callable[[int], T]) -> None:
        self._load = load
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._next: dict[int, Future[T]] = {}

    def get(self, number: int, following: int | None) -> T:
        """Return the value of `number` and start loading that of `following`, the number expected next, if any.

        An error of prefetching is raised when its number is asked for.
        """
        future = self._next.pop(number, None) or self._pool.submit(self._load, number)
        self._next.clear()
        value = future.result()
        if following is not None:
            self._next[following] = self._pool.submit(self._load, following)
        return value


def prefetched(parts: Iterable[T]) -> Iterator[T]:
    """Yield the same parts, each computed in a background thread while the caller works on the one before.

    An error of computing a part is raised in that part's turn.
    """

    def take_one() -> list[T]:
        return list(itertools.islice(source, 1))

    source = iter(parts)
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        coming = pool.submit(take_one)
        while found := coming.result():
            coming = pool.submit(take_one)
            yield from found
