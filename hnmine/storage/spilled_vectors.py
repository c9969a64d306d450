"""Vectors of any number, in a file without a name on the disk: read by rows, never held in memory."""

import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hnmine.errors import OutputError
from hnmine.storage.paths import scratch_folder
from hnmine.storage.remote_path import TEMPORARY


class RawVectors:
    """Rows of float32 numbers in a temporary file that is gone with the process.

    Args:
        folder: on the disk that has room for them, made where it is not there; TMPDIR serves where it is in a store.
        parts: float32 arrays, each of shape (n, dim) with the same dim.

    Raises:
        OutputError: the disk does not take them.
    """

    def __init__(self, folder: Path, parts: Iterable[np.ndarray]) -> None:
        rows = dim = 0
        try:
            self._file = tempfile.TemporaryFile(prefix=TEMPORARY, dir=scratch_folder(folder))  # noqa: SIM115 - open as long as we are
            weakref.finalize(self, self._file.close)
            for part in parts:
                self._file.write(part.data)
                rows, dim = rows + len(part), part.shape[1]
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {error.strerror}; free some space, or check it") from error
        self.shape = (rows, dim)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the given rows (int64, any order), float32, shape (len(rows), dim)."""
        order = np.argsort(rows, kind="stable")
        ordered, width = rows[order], 4 * self.shape[1]
        out = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(ordered) != 1) + 1):
            if len(run):
                self._file.seek(int(ordered[run[0]]) * width)
                found = np.frombuffer(self._file.read(len(run) * width), dtype=np.float32)
                out[order[run]] = found.reshape(len(run), -1)
        return out
