"""Which candidates are most worth a look: those that are uncertain, and whose judgement changes most."""

import numpy as np


def closeness(s: np.ndarray, limit: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return p = 1 / (1 + exp(-(s - limit) / spread)): a stand-in for a probability where no model gives one.

    This project's form. At the limit p is 1/2, the most uncertain value; it falls and rises with the distance, in
    units of `spread`. It orders candidates by |s - limit| / spread, and says nothing about how many are relevant.

    Args:
        s: scores, shape (n,).
        limit: the score that a margin starts to reject above, shape (n,).
        spread: standard deviation of the query's scores to random documents, shape (n,), >= 0. Where it is 0, p is
            0, 1/2 or 1.

    Returns:
        float64 in [0, 1], shape (n,).
    """
    distance = s.astype(np.float64) - limit.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x = np.where(distance == 0, 0.0, distance / spread.astype(np.float64))
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def worth(p: np.ndarray, impact: np.ndarray) -> np.ndarray:
    """Return impact p (1 - p): uncertainty times what depends on it.

    p (1 - p) is the variance of a yes-or-no answer, as in uncertainty sampling (Lewis and Gale 1994,
    doi 10.1007/978-1-4471-2099-5_1); 1/4 at most, 0 where the answer is known.

    Args:
        p: probabilities in [0, 1], shape (n,).
        impact: weights >= 0, shape (n,).

    Returns:
        float64, shape (n,).
    """
    p = p.astype(np.float64)
    return np.asarray(impact * p * (1.0 - p))


def most_worth(worths: np.ndarray, query: np.ndarray, document: np.ndarray, number: int, per_query: int) -> np.ndarray:
    """Return the positions with the highest worth, the best first, no more than `per_query` of one query.

    Ties go to the lower query, then to the lower document. A pair (query, document) that is there several times counts
    once, with its highest worth; of equal ones the first position. Since the order depends on nothing else, taking the
    best of parts with whole queries, and then the best of these, gives the same as taking the best of all.

    Args:
        worths: float64 without NaN, shape (n,).
        query: int64, shape (n,).
        document: int64, shape (n,).
        number: how many at most, >= 0.
        per_query: how many of one query at most, >= 0.

    Returns:
        int64, shape (m,), m <= min(n, number).
    """
    order = np.lexsort((document, query, -worths))  # stable: the first of equal ones stays first
    pairs = np.lexsort((document[order], query[order]))
    first = np.ones(len(order), dtype=bool)
    same = (np.diff(query[order][pairs]) == 0) & (np.diff(document[order][pairs]) == 0)
    first[pairs[1:][same]] = False
    order = order[first]
    grouped = np.argsort(query[order], kind="stable")
    sizes = np.unique(query[order], return_counts=True)[1]
    place = np.empty(len(order), dtype=np.int64)
    place[grouped] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.asarray(order[place < per_query][:number])
