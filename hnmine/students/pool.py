"""The documents that a student ranks, where a corpus is too large for it to rank whole."""

import numpy as np

from hnmine.arrays.random_numbers import sample_rows

MOST_DOCUMENTS = {"static": 50_000, "top-layers": 5_000, "full": 5_000}
"""Documents that each student ranks; labelled documents and negatives beyond them are ranked all the same."""
FEWEST_RANDOM = 1_000


def ranks_all(total: int, held: np.ndarray | None, most: int) -> bool:
    """Return whether `ranked_documents` are the whole corpus, whatever is needed."""
    return held is None and total <= most


def ranked_documents(
    total: int, held: np.ndarray | None, needed: np.ndarray, good: np.ndarray, most: int, seed: int
) -> np.ndarray:
    """Return the rows of the ranked documents, int64, ascending.

    They are all documents of a corpus of at most `most`. Of a larger one they are those that are needed, then good ones
    as far as `FEWEST_RANDOM` places are left, then random ones up to `most`, at least `FEWEST_RANDOM`.

    Args:
        total: documents of the corpus.
        held: rows of the documents that have a vector, ascending, where not all have one: random ones are drawn from
            these. None: all.
        needed: rows of labelled documents and of the negatives of all sets; repeats are allowed.
        good: rows of documents that a test query could confuse with its own, best first; repeats are allowed.
        most: as above.
        seed: of the random documents, not negative.
    """
    if ranks_all(total, held, most):
        return np.arange(total)
    needed = np.unique(needed).astype(np.int64)
    distinct, first = np.unique(good, return_index=True)
    good = distinct[np.argsort(first)].astype(np.int64)
    good = good[~np.isin(good, needed)][: max(0, most - len(needed) - FEWEST_RANDOM)]
    chosen = np.union1d(needed, good)
    count = max(FEWEST_RANDOM, most - len(chosen))
    drawn = sample_rows(total if held is None else len(held), count, seed)
    return np.union1d(chosen, drawn if held is None else held[drawn]).astype(np.int64)
