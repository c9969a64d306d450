"""How much of exact search's result lies in the lists that a query looks at, for every number of lists at once."""

import numpy as np


def recall_by_lists(ranks: np.ndarray, lists: int) -> np.ndarray:
    """Return the mean recall at k of a search that looks at each query's p nearest lists, for p = 1 to `lists`.

        recall(p) = mean over queries of |{d in top_k(q): rank(list of d, q) < p}| / |top_k(q)|

    It is recall at k as Jegou et al. (Product Quantization for Nearest Neighbor Search, IEEE TPAMI 33, 2011) and
    ann-benchmarks (Aumueller et al. 2017) measure it. Within the lists that it looks at the search is exact: what lies
    in them of the k best is found, and so one exact search says the recall for every p.

    Args:
        ranks: int64, shape (q, k): for each of a query's k best documents, how many lists are nearer to the query
            than the document's; -1 where the corpus has fewer documents.
        lists: how many there are, at least 1 and above every rank.

    Returns:
        float64, shape (lists,), never falling, 1 at the last. NaN where no query has a document.
    """
    counts = (ranks >= 0).sum(axis=1)
    query, place = np.nonzero(ranks >= 0)
    cells = np.bincount(query * lists + ranks[query, place], minlength=len(ranks) * lists)
    within = np.cumsum(cells.reshape(len(ranks), lists), axis=1)[counts > 0]
    if not len(within):
        return np.full(lists, np.nan)
    return np.asarray((within / counts[counts > 0, None]).mean(axis=0))


def fewest_lists(recall: np.ndarray, wanted: float) -> int:
    """Return the smallest number of lists whose recall is at least what is wanted; all of them where none is.

    Args:
        recall: float64, shape (lists,), as `recall_by_lists` gives it.
        wanted: in [0, 1].
    """
    enough = np.flatnonzero(recall >= wanted)
    return int(enough[0]) + 1 if len(enough) else len(recall)
