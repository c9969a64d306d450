"""One thread for numerical libraries, for sums whose last bits depend on the number of threads."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

from threadpoolctl import ThreadpoolController


class SharedSetting:
    """A setting of the whole process that blocks in several threads may change at the same time.

    It is restored when the last of the blocks that overlap ends. If each block restored what it found, one that began
    second and ended last would restore the value of the first.
    """

    def __init__(self) -> None:
        self._lock, self._blocks, self._changes = threading.Lock(), 0, ExitStack()

    @contextmanager
    def changed(self, change: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
        """Run a block in a context that changes the setting; all overlapping blocks must set the same value.

        `change` makes and enters the context. It may be left in another thread.
        """
        with self._lock:
            self._changes.enter_context(change())
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    self._changes.close()


_BLAS = SharedSetting()


@contextmanager
def single_thread() -> Iterator[None]:
    """Run the BLAS and OpenMP libraries that are loaded on one thread, and restore the numbers afterwards.

    The number of a BLAS library with threads of its own holds for the whole process; that of other libraries, among
    them faiss, for the calling thread. Blocks may overlap in several threads.
    """
    libraries = ThreadpoolController()
    shared = [library for library in libraries.lib_controllers if _is_shared(library)]
    others = [library.filepath for library in libraries.lib_controllers if not _is_shared(library)]
    with libraries.select(filepath=others).limit(limits=1), _BLAS.changed(partial(_one_thread, shared)):
        yield


def _is_shared(library: Any) -> bool:
    """Return whether the threads of a library serve the whole process."""
    own = library.user_api != "blas" or library.internal_api == "mkl" or library.threading_layer == "openmp"
    return not own


@contextmanager
def _one_thread(libraries: Sequence[Any]) -> Iterator[None]:
    before = [library.num_threads for library in libraries]
    _set_threads(libraries, [1] * len(libraries))
    try:
        yield
    finally:
        _set_threads(libraries, before)


def _set_threads(libraries: Sequence[Any], numbers: Sequence[int]) -> None:
    for library, number in zip(libraries, numbers, strict=True):
        if hasattr(library, "clear_controlling_thread"):  # otherwise only the thread that set it first may set it again
            library.clear_controlling_thread(force=True)
        library.set_num_threads(number)
