"""Stored trainings: what a student makes of a mined set, kept so that a stopped tune goes on where it was."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hnmine.storage.store import digest, read_npy, write_npy
from hnmine.students.task import Examples


def digest_of_arrays(*arrays: np.ndarray) -> str:
    """Return a hash of arrays with their shapes and types, as hex digits."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def digest_of_examples(examples: Examples) -> str:
    """Return a hash of a mined set, as hex digits."""
    return digest_of_arrays(examples.queries, examples.positives, examples.negatives.values, examples.negatives.offsets)


@dataclass(frozen=True)
class Trainings:
    """Finished trainings of one student on one task.

    Attributes:
        folder: where they are, a .npy file each.
        student: digest of the student, how it is trained, and the task.
        queries: number of tested queries.
    """

    folder: Path
    student: str
    queries: int

    def path(self, examples: str, seed: int) -> Path:
        """Return the file of a training, given the digest of its examples."""
        return self.folder / f"{digest([self.student, examples, seed])[:40]}.npy"

    def read(self, examples: str, seed: int) -> np.ndarray | None:
        """Return nDCG@10 of each query after a training, float64; None where it is not stored or damaged."""
        path = self.path(examples, seed)
        try:
            found = read_npy(path)
        except (OSError, ValueError, EOFError):
            return None
        fits = found.dtype == np.float64 and found.shape == (self.queries,) and bool(np.isfinite(found).all())
        return found if fits else None

    def write(self, examples: str, seed: int, found: np.ndarray) -> None:
        """Store a training; the file is whole or not there.

        Raises:
            OutputError: it cannot be written.
        """
        write_npy(self.path(examples, seed), found)
