"""nDCG@10 of a ranking of all documents by cosine."""

from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import pack, rows_of
from hnmine.science.ranking_metrics import ndcg

CUT_OFF = 10
_AT_ONCE = 256


def ranked_ndcg(queries: Any, documents: Any, relevant: Ragged) -> np.ndarray:
    """Return nDCG@10 of each query, ranking all documents by cosine; float64, shape (m,).

    Equal cosines are ordered by index. A query with no relevant document has 0.

    Args:
        queries: float32 tensor, shape (m, d), not normalised.
        documents: float32 tensor, shape (n, d), not normalised.
        relevant: indices of the relevant documents of each query.
    """
    from torch.nn.functional import normalize

    queries, documents = normalize(queries, dim=1), normalize(documents, dim=1).T
    parts = [np.zeros((0, CUT_OFF))]
    for first in range(0, len(queries), _AT_ONCE):
        scores = (queries[first : first + _AT_ONCE] @ documents).cpu().numpy()
        parts.append(gains_of(scores, relevant.take(np.arange(first, first + len(scores)))))
    ideal = np.arange(CUT_OFF) < relevant.lengths[:, None]
    return ndcg(np.concatenate(parts), ideal)


def gains_of(scores: np.ndarray, relevant: Ragged) -> np.ndarray:
    """Return whether the document at each of the first 10 ranks is relevant, float64, shape (m, 10).

    `scores` are float32, shape (m, n); lists shorter than 10 end with zeros.
    """
    k = min(CUT_OFF, scores.shape[1])
    keys = pack(scores, np.broadcast_to(np.arange(scores.shape[1]), scores.shape))
    if k < scores.shape[1]:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    top = rows_of(np.sort(keys, axis=1))
    gains = np.zeros((len(scores), CUT_OFF))
    gains[:, :k] = relevant.contains(np.repeat(np.arange(len(scores)), k), top.ravel()).reshape(top.shape)
    return gains
