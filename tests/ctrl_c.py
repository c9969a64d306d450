"""Ctrl-C, pressed within a test when something has happened."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ctrl_c_when(*conditions: Callable[[], bool]) -> Iterator[None]:
    """Press Ctrl-C within the block, once for each condition in turn, when it holds and the block waits for a thread.

    What waits for ever, because it does not end on Ctrl-C, is ended by the time limit of the tests.
    """
    before, left = signal.signal(signal.SIGINT, signal.default_int_handler), threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        for condition in conditions:
            while not (condition() and _waits(main)):
                if left.wait(0.01):
                    return
            signal.pthread_kill(main, signal.SIGINT)

    keyboard = threading.Thread(target=press, daemon=True)
    keyboard.start()
    try:
        yield
    finally:
        left.set()
        keyboard.join()
        signal.signal(signal.SIGINT, before)


def _waits(thread: int) -> bool:
    """Return whether a thread waits for another one, and not only for it to start."""
    frame, names = sys._current_frames().get(thread), list[str]()
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names[:1] == ["wait"] and "start" not in names[:3]
