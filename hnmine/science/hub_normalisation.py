"""Scores less what makes a document a hub: how high it scores over a bank of queries."""

from typing import NamedTuple

import numpy as np


class BankSums(NamedTuple):
    """What documents score over a bank of queries, so that one query's own score can be left out exactly.

    Attributes:
        highest: float32, shape (n,): the highest score of each document.
        query: int64, shape (n,): the query of the bank that gives it, the first of equal ones.
        rest: float64, shape (n,): ln of the sum of exp(beta s) over the other queries; -inf where there is none.
    """

    highest: np.ndarray
    query: np.ndarray
    rest: np.ndarray


def bank_sums(scores: np.ndarray, queries: np.ndarray, beta: float) -> BankSums:
    """Return the sums of documents over a bank, given their scores.

    Args:
        scores: float32, shape (n, bank), with a bank of at least one query.
        queries: int64, shape (bank,): the queries of the bank.
        beta: inverse temperature, above 0.
    """
    rows, top = np.arange(len(scores)), np.argmax(scores, axis=1)
    terms = np.float64(beta) * scores.astype(np.float64)
    terms[rows, top] = -np.inf
    largest = np.where(np.isneginf(most := terms.max(axis=1, initial=-np.inf)), 0.0, most)
    with np.errstate(divide="ignore"):  # ln 0 = -inf where the bank is one query
        rest = largest + np.log(np.exp(terms - largest[:, None]).sum(axis=1))
    return BankSums(scores[rows, top], np.asarray(queries)[top], rest)


def hub_normalised(
    s: np.ndarray, query: np.ndarray, banked: np.ndarray, sums: BankSums, count: int, beta: float
) -> np.ndarray:
    """Return s - h of (query, document) pairs, h = (1 / beta) ln( mean over the bank's q' of exp(beta s(q', d)) ).

    float32, shape (m,). The query itself is left out of its bank. h is between the mean and the highest score of the
    document over the bank, so s - h is negative where the document suits other queries better. Without any other query
    h is 0.

    The logarithm of the inverted softmax (Smith et al. 2017, arXiv 1702.03859) that QB-Norm normalises retrieval with
    (Bogolin et al. 2022, arXiv 2112.12777), divided by beta, so that it stays in units of the score. There gallery and
    bank are of different sets; that the query is left out is this project's.

    Args:
        s: float32, shape (m,): the pairs' scores; of a query of the bank bit for bit those that `sums` were made of.
        query: int64, shape (m,): the pairs' queries.
        banked: bool, shape (m,): whether each one's query is in the bank.
        sums: of the pairs' documents, shape (m,).
        count: number of queries in the bank.
        beta: inverse temperature, above 0.
    """
    own = np.float64(beta) * s.astype(np.float64)
    total = np.logaddexp(np.float64(beta) * sums.highest.astype(np.float64), sums.rest)
    # exp(own - total) is at most 1/2, since the highest score counts besides
    less = np.log1p(-np.exp(np.minimum(own - total, np.log(0.5))))
    left = np.where(banked & (sums.query == query), sums.rest, np.where(banked, total + less, total))
    others = count - banked.astype(np.int64)
    hub = np.where(others > 0, (left - np.log(np.maximum(others, 1))) / beta, 0.0)
    return (s.astype(np.float64) - hub).astype(np.float32)
