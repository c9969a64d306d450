"""Writing one step behind: a shard goes to the disk while the next one is made."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class Behind:
    """Does one thing at a time in a thread of its own, in the order they come; leaving the block waits for the last.

    An error in one of them is raised where the next is handed over, or at the end of the block; where the block itself
    fails, it is a note to that error.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._last: Future[None] | None = None

    def __call__(self, task: Callable[[], None]) -> None:
        """Wait for what was handed over before, and begin with this one.

        Raises:
            Exception: whatever the one before raised.
        """
        self.wait()
        self._last = self._pool.submit(task)

    def wait(self) -> None:
        """Wait until nothing is left to do.

        Raises:
            Exception: whatever the last one raised.
        """
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> "Behind":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown(wait=True)
            lost = self._last.exception() if self._last is not None else None
            if error is not None and lost is not None:
                error.add_note(f"what was written meanwhile failed too: {lost}")
