"""The best documents of some queries while scores go by, tile by tile."""

import numpy as np

from hnmine.arrays.topk import keep_best, last_score, pack

# Hits wait until there are so many a query to be merged together: one tile's alone cost more than what they change.
WAITING = 32


class Best:
    """The best of each query so far, and hits that wait to be merged with them.

    Attributes:
        keys: uint64, shape (q, k): the best of what has been merged, the worst of a query's last.
        last: float32, shape (q,): no score at or below it can be among a query's best.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self.keys, self.last = keys, last_score(keys)
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._count = 0

    def beat(self, scores: np.ndarray) -> None:
        """Raise what is to be beaten, where k documents that are seen next are above it; float32, shape (q,)."""
        self.last = np.maximum(self.last, scores)

    def see(self, scores: np.ndarray, rows: np.ndarray, owners: np.ndarray) -> None:
        """Take in hits: their scores (float32), the documents' rows and which query each is for (int64)."""
        if len(scores):
            self._waiting.append((scores, rows, owners))
            self._count += len(scores)
            if self._count > WAITING * len(self.keys):
                self.merge()

    def merge(self) -> None:
        """Merge what waits."""
        if self._count:
            scores, rows, owners = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            order = np.argsort(owners, kind="stable")
            self.keys = keep_best(self.keys, pack(scores, rows)[order], owners[order], self.keys.shape[1])
            self.last, self._waiting, self._count = last_score(self.keys), [], 0
