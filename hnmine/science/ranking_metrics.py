"""Ranking metrics per query: nDCG."""

import numpy as np


def ndcg(gains: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """Return the normalised discounted cumulative gain of each query in [0, 1]; float64, shape (queries,).

    DCG = sum over ranks r of gain_r / log2(r + 1), divided by that of the best possible order (Jarvelin and Kekalainen,
    ACM TOIS 20, 2002; linear gains as in trec_eval). The cut-off is the number of columns. It is 0 for a query with
    nothing relevant.

    Args:
        gains: relevance of the document at each rank, shape (queries, k); 0 where it is not relevant.
        ideal: relevance in the best order, descending, shape (queries, k), padded with 0.
    """
    discount = 1 / np.log2(np.arange(2, gains.shape[1] + 2))
    best = (ideal * discount).sum(axis=1)
    return np.asarray(np.divide((gains * discount).sum(axis=1), best, out=np.zeros(len(gains)), where=best > 0))
