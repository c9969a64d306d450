"""Batches of texts of like length, each within a number of padded tokens."""

import numpy as np


def token_batches(counts: np.ndarray, most: int) -> list[np.ndarray]:
    """Return the rows of each batch: texts by falling token count, ties by row, cut greedily.

    A batch of n texts, the longest of L tokens, costs n * L padded tokens. Since texts come longest first, L is
    the first one's count, and n = max(1, floor(most / L)): a batch exceeds `most` only where one text alone does.

    Args:
        counts: int64, shape (n,), tokens of each text, >= 0; a text without any counts as 1.
        most: padded tokens a batch may have, >= 1.

    Returns:
        int64 arrays that together hold every row once; none where there are no texts.
    """
    order = np.argsort(-counts, kind="stable").astype(np.int64)
    longest = np.maximum(counts[order], 1)
    batches = []
    first = 0
    while first < len(order):
        last = first + max(1, most // int(longest[first]))
        batches.append(order[first:last])
        first = last
    return batches
