"""Relabelling: candidates that are very probably relevant become further positives of their query.

RLHN (arXiv 2505.16967) has language models judge mined negatives. Using the false ones as positives gained more than
removing them, or their rows.
"""

import numpy as np

from hnmine.arrays.groups import rank_in_run, repeated


def pick_further_positives(
    queries: np.ndarray,
    query_texts: np.ndarray,
    documents: np.ndarray,
    document_texts: np.ndarray,
    probability: np.ndarray,
    most: int,
) -> np.ndarray:
    """Return the positions of the candidates that become positives, int64: by query, then by descending probability.

    Ties go by document. A document is picked once for a text: of queries with the same text, and of documents with the
    same text, the pair with the highest probability is picked, and of equal ones that of the lowest query and document.

    Args:
        queries: int64, shape (n,): each candidate's query.
        query_texts: any integers, shape (n,): equal for queries with the same text.
        documents: int64, shape (n,): the candidates, each once a query.
        document_texts: any integers, shape (n,): equal for documents with the same text.
        probability: float without NaN, shape (n,): P(relevant).
        most: most positives of one query, at least 1.
    """
    best = np.lexsort((documents, queries, -probability))
    texts = np.unique(query_texts[best], return_inverse=True)[1]
    once = best[~repeated(texts, document_texts[best])]
    order = once[np.lexsort((documents[once], -probability[once], queries[once]))]
    return np.asarray(order[rank_in_run(queries[order]) < most])
