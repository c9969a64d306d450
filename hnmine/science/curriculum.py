"""The order of training examples by how hard they are: a curriculum."""

import numpy as np

from hnmine.science.eci import hardness


def example_hardness(s: np.ndarray, owners: np.ndarray, anchor: np.ndarray, s0: np.ndarray) -> np.ndarray:
    """Return the mean hardness of each example's negatives, in [0, 1]; float64, shape (n,).

    Hardness is (s - s0) / (s+ - s0), clipped: see `hnmine.science.eci.hardness`. So examples compare between queries
    whose scores are all high and others. An example without negatives has 0.

    Args:
        s: scores of the negatives, shape (m,).
        owners: int64, shape (m,), in [0, n): the example of each negative.
        anchor: s+, the anchor score of each example, shape (n,).
        s0: the mean score of each example's query to random documents, shape (n,).
    """
    each = hardness(s, np.asarray(anchor)[owners], np.asarray(s0)[owners])
    count = np.bincount(owners, minlength=len(anchor))
    return np.asarray(np.bincount(owners, weights=each, minlength=len(anchor)) / np.maximum(count, 1))


def curriculum_order(
    hardness: np.ndarray, batch: np.ndarray | None = None, *, hardest_first: bool = False
) -> np.ndarray:
    """Return the positions of examples from the easiest to the hardest; int64, shape (n,); ties keep their order.

    The order of a curriculum (Bengio, Louradour, Collobert, Weston: Curriculum Learning, ICML 2009); that hardness
    decides it is this project's choice.

    Args:
        hardness: of each example, shape (n,).
        batch: int64, shape (n,), the batch of each example: batches are ordered by their mean hardness, ties by their
            number, and stay together; within a batch by hardness. None: there are no batches.
        hardest_first: whether the hardest come first instead; ties keep their order all the same.
    """
    sign = -1.0 if hardest_first else 1.0
    if batch is None:
        return np.argsort(sign * hardness, kind="stable")
    numbers, group = np.unique(batch, return_inverse=True)
    means = np.bincount(group, weights=hardness, minlength=len(numbers)) / np.maximum(np.bincount(group), 1)
    return np.lexsort((sign * hardness, group, sign * means[group]))
