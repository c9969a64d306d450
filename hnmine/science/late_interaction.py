"""Late interaction: the score of a query and a document by the vectors of their tokens."""

import numpy as np


def max_sim(query: np.ndarray, document: np.ndarray) -> float:
    """Return MaxSim of ColBERT: the sum over query tokens of the highest dot product with a document token.

    With vectors of length 1 it is between -n and n for a query of n tokens. It is not symmetric, and grows with the
    number of query tokens, so that of different queries it does not compare. 0 where either text has no token.

    Args:
        query: float32, shape (n, dim), the vectors of the query's tokens.
        document: float32, shape (m, dim), those of the document's.

    Source: Khattab and Zaharia 2020, "ColBERT", equation 3, arXiv 2004.12832.
    """
    if not len(query) or not len(document):
        return 0.0
    return float((query @ document.T).max(axis=1).sum())
