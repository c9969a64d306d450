"""The documents that a teacher scores highest, down to a depth that labelled positives do not count in."""

import numpy as np

from hnmine.pooling import Hits
from hnmine.ragged import Ragged
from hnmine.science.topk import NOTHING, unpack
from hnmine.search import Proposer, search
from hnmine.vectors import VectorStore


def nearest(corpus: VectorStore, queries: np.ndarray, positives: Ragged, depth: int, proposer: Proposer) -> Hits:
    """Return the documents that score highest, down to each query's `depth`-th that is no positive.

    Args:
        corpus: vectors of all documents.
        queries: float32, shape (queries, dim).
        positives: rows of the queries' labelled positives.
        depth: how many that are no positives.
        proposer: finds the pairs worth scoring.
    """
    k = min(depth + int(positives.lengths.max(initial=0)), corpus.rows)
    found = _cut(search(corpus, queries, k, proposer), positives, depth)
    scores, rows = unpack(found.values)
    return Hits(Ragged(rows, found.offsets), scores)


def _cut(keys: np.ndarray, positives: Ragged, top_k: int) -> Ragged:
    """Return each query's hits up to and including its `top_k`-th that is not a labelled positive."""
    _, rows = unpack(keys)
    real = keys != NOTHING
    owner = np.repeat(np.arange(len(keys)), keys.shape[1]).reshape(keys.shape)
    positive = positives.contains(owner.ravel(), rows.ravel()).reshape(keys.shape)
    others_before = np.cumsum(real & ~positive, axis=1) - (real & ~positive)
    taken = real & (others_before < top_k)
    return Ragged.from_lengths(keys[taken], taken.sum(axis=1))
