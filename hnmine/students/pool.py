"""The documents that a student ranks, where a corpus is too large to rank whole."""

import numpy as np

from hnmine.arrays.random_numbers import sample_rows

MOST_DOCUMENTS = {"static": 50_000, "top-layers": 5_000, "full": 5_000}
"""Documents of a corpus that each student ranks whole."""
FEWEST_RANDOM = 1_000


def ranked_documents(total: int, needed: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return the rows of the ranked documents, int64, ascending.

    They are all documents of a corpus of at most `most`. Of a larger one they are those that are needed, and random
    documents up to `most` in all, at least `FEWEST_RANDOM` where there are so many.

    Args:
        total: documents of the corpus.
        needed: rows of labelled documents, of the negatives of all sets, and of good candidates; repeats are allowed.
        most: as above.
        seed: of the random documents, not negative.
    """
    if total <= most:
        return np.arange(total)
    needed = np.unique(needed)
    drawn = sample_rows(total, max(FEWEST_RANDOM, most - len(needed)), seed)
    return np.union1d(needed, drawn).astype(np.int64)
