"""A mined set as examples, and the task on which students that train on such sets are compared."""

from typing import NamedTuple

import numpy as np

from hnmine.arrays.ragged import Ragged


class Examples(NamedTuple):
    """A mined set.

    Attributes:
        queries: int64, shape (n,), index of each example's query in the task's `query_texts`.
        positives: int64, shape (n,), index of its positive in the task's `document_texts`.
        negatives: n lists of indices into `document_texts`; where all are empty, a student learns from the other
            examples of a batch alone.
    """

    queries: np.ndarray
    positives: np.ndarray
    negatives: Ragged


class TestQueries(NamedTuple):
    """Queries to test a student on.

    Attributes:
        queries: int64, shape (m,), indices into the task's `query_texts`; none of them may be trained on.
        relevant: for each, the indices of all documents that are labelled as relevant. The ranked pool is every
            document of the task.
    """

    queries: np.ndarray
    relevant: Ragged


class Task(NamedTuple):
    """Texts, labels and test queries that all mined sets of a comparison share.

    Attributes:
        query_texts: with their prompts.
        document_texts: with their prompts.
        known: labelled positives of every query, which never count as its negatives within a batch.
        test: the queries to test on.
    """

    query_texts: list[str]
    document_texts: list[str]
    known: Ragged
    test: TestQueries
