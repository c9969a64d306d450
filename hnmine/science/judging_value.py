"""The value of having a candidate judged: its uncertainty times a given effect of the judgement."""

import numpy as np

from hnmine.arrays.groups import rank_in_group, repeated
from hnmine.science.calibration import logistic


def margin_probability(s: np.ndarray, limit: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return p = 1 / (1 + exp(-(s - limit) / spread)), a probability where no model gives one; float64, shape (n,).

    This project's definition. p is 1/2, the most uncertain value, at the limit. It orders candidates by
    |s - limit| / spread and does not estimate how many are relevant.

    Args:
        s: scores, shape (n,).
        limit: score above which a margin rejects, shape (n,).
        spread: standard deviation of the query's scores to random documents, at least 0, shape (n,). Where it is 0, p
            is 0, 1/2 or 1.
    """
    distance = s.astype(np.float64) - limit.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x = np.where(distance == 0, 0.0, distance / spread.astype(np.float64))
    return logistic(x)


def judging_value(p: np.ndarray, impact: np.ndarray) -> np.ndarray:
    """Return impact p (1 - p), a candidate's uncertainty times the effect of judging it; float64, shape (n,).

    p (1 - p) is the variance of a yes-or-no answer, as in uncertainty sampling (Lewis and Gale 1994,
    doi 10.1007/978-1-4471-2099-5_1): at most 1/4, and 0 where the answer is certain. Probabilities p are in [0, 1] and
    impacts at least 0, both of shape (n,).
    """
    p = p.astype(np.float64)
    return np.asarray(impact * p * (1.0 - p))


def highest_judging_values(
    values: np.ndarray, query: np.ndarray, document: np.ndarray, number: int, per_query: int
) -> np.ndarray:
    """Return the positions of the `number` highest values, descending, at most `per_query` of one query; int64.

    Ties go to the lower query, then to the lower document. A (query, document) pair that occurs several times counts
    once, with its highest value and, among equal ones, its first position. Taking the best of parts that hold whole
    queries, and then the best of these, gives the same as taking the best of all.

    Values are float64 without NaN, queries and documents int64, all of shape (n,); `number` and `per_query` are at
    least 0.
    """
    order = np.lexsort((document, query, -values))
    order = order[~repeated(query[order], document[order])]
    return np.asarray(order[rank_in_group(query[order]) < per_query][:number])


def order_of_requests(values: np.ndarray, request: np.ndarray) -> np.ndarray:
    """Return the requests in descending order of the sum of their candidates' judging values; int64, shape (requests,).

    A request costs about the same whatever its candidates, so a budget of requests buys most in this order. Ties go to
    the lower number.

    Args:
        values: judging value of each candidate, shape (n,).
        request: number of its request, from 0, int64, shape (n,); each number below the highest occurs.
    """
    return np.argsort(-np.bincount(request, values), kind="stable")
