"""Arrays in .npy files, written atomically and read from any kind of folder."""

from pathlib import Path
from typing import Literal

import numpy as np

from hnmine.storage.paths import local_copy
from hnmine.storage.store import write_atomic


def write_npy(path: Path, values: np.ndarray) -> None:
    """Write an array.

    Raises:
        OutputError: as `hnmine.storage.store.write_atomic`.
    """

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a name, numpy would append an ending of its own
            np.save(file, values, allow_pickle=False)

    write_atomic(path, save)


def read_npy(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Return an array; with `mmap_mode` "r" it stays on disk and is read on access."""
    with local_copy(path) as file:
        return np.asanyarray(np.load(file, mmap_mode=mmap_mode))
