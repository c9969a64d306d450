"""Made-up tasks: topics with words of their own, and documents that share some of them."""

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.students.student import GivenVectors
from hnmine.students.task import Examples, Task
from hnmine.students.task import TestQueries as HeldOut  # pytest collects classes called Test...
from tests.support import WORDS


def ragged(lists) -> Ragged:
    lengths = np.array([len(row) for row in lists], dtype=np.int64)
    return Ragged.from_lengths(np.array([x for row in lists for x in row], dtype=np.int64), lengths)


def random_examples(rng, queries=6, documents=20, rows=9, most=3):
    """Return examples with 0 to `most` negatives each, and the known positives of every query."""
    known = [sorted(rng.choice(documents, rng.integers(1, 4), replace=False).tolist()) for _ in range(queries)]
    query = rng.integers(0, queries, rows)
    positive = np.array([rng.choice(known[q]) for q in query])
    negatives = [rng.choice(documents, rng.integers(0, most + 1), replace=False).tolist() for _ in range(rows)]
    return Examples(query, positive, ragged(negatives)), ragged(known)


def small_task(rng, queries=24, documents=60, words=WORDS):
    """Return a task of random texts; query i and documents 2 i and 2 i + 1 share three words. Half test."""
    texts = [" ".join(rng.choice(words, 6)) for _ in range(documents)]
    asked = []
    for i in range(queries):
        shared = rng.choice(words, 3)
        texts[2 * i] += " " + " ".join(shared)
        texts[2 * i + 1] += " " + " ".join(shared)
        asked.append(" ".join(shared))
    known = ragged([[2 * i, 2 * i + 1] for i in range(queries)])
    test = np.arange(queries // 2, queries)
    return Task(asked, texts, known, HeldOut(test, known.take(test)))


def small_examples(rng, task, most=3):
    """Return one example for each training query, with up to `most` random negatives."""
    queries = np.setdiff1d(np.arange(len(task.query_texts)), task.test.queries)
    others = np.arange(2 * len(queries), len(task.document_texts))
    negatives = [rng.choice(others, rng.integers(0, most + 1), replace=False).tolist() for _ in queries]
    return Examples(queries, 2 * queries, ragged(negatives))


def vectors_of(task, rng, d=8):
    return GivenVectors(
        rng.normal(size=(len(task.query_texts), d)).astype(np.float32),
        rng.normal(size=(len(task.document_texts), d)).astype(np.float32),
    )
