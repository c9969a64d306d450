"""The static student on made-up texts."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from hnmine.errors import ModelError
from hnmine.students.static import StaticStudent
from hnmine.students.student import DEFAULTS, load_student
from hnmine.students.task import Examples, Task
from hnmine.students.task import TestQueries as HeldOut  # pytest collects classes called Test...
from hnmine.students.token_table import TokenTable
from tests.students.tasks import ragged, small_examples, small_task, vectors_of


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    task = small_task(rng)
    return load_student("static", None, task, vectors=vectors_of(task, rng)), small_examples(rng, task)


def test_the_same_examples_and_seed_give_the_same_bits_in_any_thread(made):
    student, examples = made
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    before = student.untrained()
    first = student.train(examples, 3)
    with ThreadPoolExecutor(2) as pool:
        others = list(pool.map(lambda seed: student.train(examples, seed), [3, 4, 3]))
    np.testing.assert_array_equal(first, others[0])
    np.testing.assert_array_equal(first, others[2])
    np.testing.assert_array_equal(before, student.untrained())
    assert first.shape == (12,)
    assert first.dtype == np.float64
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_examples_change_nothing(made):
    student, examples = made
    none = Examples(examples.queries[:0], examples.positives[:0], ragged([]))
    np.testing.assert_array_equal(student.train(none, 0), student.untrained())


def test_tokens_of_no_example_may_be_left_out_of_training(made):
    """AdamW without weight decay leaves a vector that never has a gradient as it is."""
    student, examples = made
    counted = []
    task, table = student.task, student.table
    extra = TokenTable(table.tokens, np.concatenate([table.vectors, np.ones((5, table.vectors.shape[1]), np.float32)]))
    other = StaticStudent(task, extra, student.training, counted.append)
    np.testing.assert_array_equal(other.train(examples, 1), student.train(examples, 1))
    assert sum(counted) == DEFAULTS["static"].epochs * len(examples.queries)


def test_without_model_and_vectors_there_is_no_student(made):
    with pytest.raises(ModelError, match="vectors"):
        load_student("static", "hash", made[0].task)


def planted(false_share, topics=80, copies=6, seed=0):
    """Return a student and examples, a share of whose negatives are relevant documents that nobody labelled.

    Each topic has four words; its documents and queries hold two of them each, and two words of other topics.
    """
    rng = np.random.default_rng(seed)
    words = np.array([[f"t{topic}w{i}" for i in range(4)] for topic in range(topics)])

    def text(topic):
        return " ".join([*rng.choice(words[topic], 2, replace=False), *rng.choice(words.ravel(), 2)])

    documents = [text(topic) for topic in range(topics) for _ in range(copies)]
    owner = np.repeat(np.arange(topics), copies)
    queries = [text(topic) for topic in range(topics) for _ in range(4)]
    asked = np.repeat(np.arange(topics), 4)
    relevant = ragged([np.flatnonzero(owner == topic).tolist() for topic in asked])
    train = np.flatnonzero(np.arange(len(queries)) % 4 < 2)
    test = np.setdiff1d(np.arange(len(queries)), train)
    positives = np.array([copies * asked[q] for q in train])
    safe = [rng.choice(np.flatnonzero(owner != asked[q]), 4, replace=False) for q in train]
    false = [copies * asked[q] + 1 + np.arange(4) for q in train]
    count = round(4 * false_share)
    negatives = ragged([[*f[:count].tolist(), *s[count:].tolist()] for f, s in zip(false, safe, strict=True)])
    known = [[] for _ in queries]
    for q, d in zip(train, positives, strict=True):
        known[q] = [int(d)]
    task = Task(queries, documents, ragged(known), HeldOut(test, relevant.take(test)))
    vocabulary = {word: i for i, word in enumerate(words.ravel())}
    tokens = ragged([[vocabulary[word] for word in text.split()] for text in queries + documents])
    table = TokenTable(tokens, np.random.default_rng(1).normal(0, 0.06, (words.size, 32)).astype(np.float32))
    how = replace(DEFAULTS["static"], loss="own")
    return StaticStudent(task, table, how, lambda rows: None), Examples(train, positives, negatives)


def test_a_set_with_half_its_negatives_false_gains_less_than_a_safe_one():
    gains: dict[float, list[float]] = {0.0: [], 0.5: []}
    for seed in range(2):
        for share, found in gains.items():
            student, examples = planted(share, seed=seed)
            found.append(float((student.train(examples, 0) - student.untrained()).mean()))
    assert min(gains[0.0]) > 0.02
    assert np.mean(gains[0.5]) < np.mean(gains[0.0]) - 0.01, gains
