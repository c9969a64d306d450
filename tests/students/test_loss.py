"""The contrastive loss against a double loop and against sentence-transformers' own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnmine.students.batches import make_batch
from hnmine.students.loss import contrastive_loss
from hnmine.students.task import Examples
from tests.pipeline.tiny import part_of_sentence_transformers
from tests.students.tasks import ragged, random_examples


def double_loop(queries, documents, allowed, scale):
    def cosine(a, b):
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    losses = []
    for i, query in enumerate(queries):
        total = sum(
            math.exp(scale * cosine(query, d)) for d, counts in zip(documents, allowed[i], strict=True) if counts
        )
        losses.append(math.log(total) - scale * cosine(query, documents[i]))
    return sum(losses) / len(losses)


@given(st.integers(0, 10_000), st.sampled_from(["batch", "own"]))
def test_the_loss_equals_the_double_loop(seed, loss):
    rng = np.random.default_rng(seed)
    examples, known = random_examples(rng)
    batch = make_batch(examples, known, np.arange(len(examples.queries)), loss)
    queries, documents = rng.normal(size=(len(batch.queries), 4)), rng.normal(size=(len(batch.documents), 4))
    found = contrastive_loss(*map(torch.from_numpy, (queries, documents, batch.allowed)), 20.0)
    assert float(found) == pytest.approx(double_loop(queries, documents, batch.allowed, 20.0), rel=1e-9, abs=1e-9)


def test_the_loss_is_that_of_sentence_transformers():
    losses = part_of_sentence_transformers("losses")
    rng = np.random.default_rng(0)
    queries, positives, first, second = (torch.from_numpy(rng.normal(size=(5, 8)).astype(np.float32)) for _ in range(4))
    loss = losses.MultipleNegativesRankingLoss(model=None, scale=20.0)
    theirs = loss.compute_loss_from_embeddings([queries, positives, first, second], labels=None)
    rows = np.arange(5)
    negatives = ragged([[5 + i, 10 + i] for i in range(5)])
    batch = make_batch(Examples(rows, rows, negatives), ragged([[i] for i in range(5)]), rows, "batch")
    texts = torch.cat([positives, first, second])
    ours = contrastive_loss(queries, texts[torch.from_numpy(batch.documents)], torch.from_numpy(batch.allowed), 20.0)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_a_query_alone_and_a_zero_vector_are_no_error():
    one = torch.tensor([[True]])
    assert float(contrastive_loss(torch.ones(1, 3), torch.ones(1, 3), one, 20.0)) == 0
    assert math.isfinite(float(contrastive_loss(torch.zeros(1, 3), torch.ones(2, 3), torch.ones(1, 2).bool(), 20.0)))
