"""Batches of examples: their texts, and the documents that each query is compared with."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import random_numbers
from hnmine.students.task import Examples

LossName = Literal["batch", "own"]
"""Whose negatives a query is compared with: those of the whole batch, or its own; the batch's positives in any case."""


class Batch(NamedTuple):
    """Examples that are trained on together.

    Attributes:
        queries: int64, shape (b,), indices of the queries.
        documents: int64, shape (m,), indices of the documents: the b positives, then all negatives.
        allowed: bool, shape (b, m): whether a document counts for a query, as does its own positive i.
    """

    queries: np.ndarray
    documents: np.ndarray
    allowed: np.ndarray


def make_batch(examples: Examples, known: Ragged, rows: np.ndarray, loss: LossName) -> Batch:
    """Return the batch of some examples (int64, shape (b,)).

    A document of another example that is labelled as relevant to a query, or is its positive, does not count as its
    negative; under "own" no negative of another example does. A query's own negatives all count, labelled or not: they
    are what is compared.
    """
    queries, positives, negatives = examples.queries[rows], examples.positives[rows], examples.negatives.take(rows)
    documents = np.concatenate([positives, negatives.values]).astype(np.int64)
    own = np.arange(len(rows))
    asked = np.repeat(own, len(documents)), np.tile(documents, len(rows))
    allowed = ~known.take(queries).contains(*asked).reshape(len(rows), len(documents))
    allowed &= documents != positives[:, None]
    mined = negatives.owners == own[:, None]
    if loss == "own":
        allowed[:, len(rows) :] &= mined
    allowed[:, len(rows) :] |= mined
    allowed[own, own] = True
    return Batch(queries, documents, allowed)


def steps_of(examples: Examples, size: int, epochs: int) -> int:
    """Return the number of batches of a training."""
    return epochs * math.ceil(len(examples.queries) / size)


def batch_rows(examples: Examples, size: int, epochs: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the examples of each batch, int64, at most `size`: each example once an epoch, in random order.

    The order depends on the seed and on each example's query and positive alone, so sets of the same queries are
    trained on in the same order, and their differences are not those of an order.
    """
    names = random_numbers(examples.queries.astype(np.uint64), examples.positives)
    for epoch in range(epochs):
        seeds = np.full(len(names), ((seed << 16) + epoch) % 2**64, dtype=np.uint64)
        order = np.argsort(random_numbers(seeds, (names >> np.uint64(1)).astype(np.int64)), kind="stable")
        yield from np.split(order, range(size, len(order), size)) if len(order) else ()
