"""Batches: which documents count for which query, against a double loop; and the order of examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.students.batches import batch_rows, make_batch, steps_of
from hnmine.students.task import Examples
from tests.students.tasks import ragged, random_examples


def lists_of(lists):
    return [lists.values[a:b].tolist() for a, b in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)]


@given(st.integers(0, 10_000), st.sampled_from(["batch", "own"]))
def test_what_counts_for_a_query_equals_the_double_loop(seed, loss):
    rng = np.random.default_rng(seed)
    examples, known = random_examples(rng)
    rows = rng.permutation(len(examples.queries))[:5]
    batch = make_batch(examples, known, rows, loss)
    negatives, labelled = lists_of(examples.negatives), lists_of(known)
    documents = [(int(examples.positives[row]), None) for row in rows]
    documents += [(document, at) for at, row in enumerate(rows) for document in negatives[row]]
    assert batch.documents.tolist() == [document for document, _ in documents]
    assert batch.queries.tolist() == examples.queries[rows].tolist()
    for i, row in enumerate(rows):
        own = {*labelled[examples.queries[row]], int(examples.positives[row])}
        for j, (document, whose) in enumerate(documents):
            others = document not in own and (loss == "batch" or whose is None)
            expected = j == i or whose == i or others
            assert batch.allowed[i, j] == expected


def test_each_example_comes_once_an_epoch_in_batches_of_at_most_the_size():
    examples, _ = random_examples(np.random.default_rng(0), rows=23)
    batches = list(batch_rows(examples, 5, 2, seed=1))
    assert len(batches) == steps_of(examples, 5, 2) == 10
    first, second = np.concatenate(batches[:5]), np.concatenate(batches[5:])
    assert sorted(first) == sorted(second) == list(range(23))
    assert first.tolist() != second.tolist()
    assert first.tolist() != np.concatenate(list(batch_rows(examples, 5, 1, seed=2))).tolist()


@pytest.mark.parametrize("seed", [0, 1, 2**60])
def test_a_set_with_fewer_examples_is_trained_on_in_the_same_order(seed):
    queries = np.arange(30)
    whole = Examples(queries, 2 * queries, ragged([[1]] * 30))
    part = Examples(queries[::3], 2 * queries[::3], ragged([[]] * 10))
    order = [int(row) for rows in batch_rows(whole, 4, 1, seed) for row in rows]
    own = [int(queries[::3][row]) for rows in batch_rows(part, 4, 1, seed) for row in rows]
    assert own == [row for row in order if row % 3 == 0]


def test_no_examples_give_no_batch():
    empty = Examples(np.zeros(0, np.int64), np.zeros(0, np.int64), ragged([]))
    assert not list(batch_rows(empty, 4, 3, 0))
    assert steps_of(empty, 4, 3) == 0
