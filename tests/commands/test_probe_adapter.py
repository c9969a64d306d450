"""The probe on made vectors, where it is known which training helps."""

import numpy as np
import pytest

from hnmine.arrays.ragged import Ragged
from hnmine.commands.probe_adapter import Judged, TrainingSet, _batch, quality, train
from hnmine.science.adapter import info_nce
from tests.oracles import topk

D, TOPICS = 8, 40


def ragged(lists):
    return Ragged.from_lengths(
        np.array([x for row in lists for x in row], dtype=np.int64), np.array([len(row) for row in lists])
    )


@pytest.fixture(scope="module")
def noisy():
    """Half of the numbers say the topic, the other half, as large, are noise that training can learn to leave out."""
    generator = np.random.default_rng(3)
    topics = generator.normal(size=(TOPICS, D // 2))

    def vectors(labels):
        noise = generator.normal(size=(len(labels), D // 2))
        both = np.concatenate([topics[labels] + 0.1 * generator.normal(size=noise.shape), 1.5 * noise], axis=1)
        return (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32)

    corpus = vectors(np.repeat(np.arange(TOPICS), 5))
    return corpus, vectors(np.arange(TOPICS)), vectors(np.arange(TOPICS)), vectors(np.arange(TOPICS))


def judged(queries):
    relevant = ragged([range(5 * t, 5 * t + 5) for t in range(len(queries))])
    return Judged(queries, relevant, np.ones(len(relevant.values)))


def training(queries, negatives):
    positives = 5 * np.arange(len(queries))
    return TrainingSet(queries, positives, ragged(negatives), ragged([[p] for p in positives]))


def test_training_on_true_labels_gains_on_queries_it_never_saw(noisy):
    corpus, queries, dev, test = noisy
    generator = np.random.default_rng(0)
    negatives = [[int(x) for x in generator.choice(200, 3) if x // 5 != t] for t in range(TOPICS)]
    adapter, curve = train(corpus, training(queries, negatives), judged(dev), seed=0)
    base = quality(corpus, judged(test), np.zeros((D, D), np.float32))["ndcg"].mean()
    assert quality(corpus, judged(test), adapter)["ndcg"].mean() > base + 0.1
    assert quality(corpus, judged(dev), adapter)["ndcg"].mean() == pytest.approx(max(curve))


def test_training_against_ones_own_positives_makes_the_loss_grow(noisy):
    """A step against documents of the query's own topic moves the query away from its other positives."""
    corpus, queries, _, _ = noisy
    positives = 5 * np.arange(TOPICS)
    found = {}
    for name, shift in (("true", 50), ("false", 1)):
        negatives = np.array([[(5 * t + shift + k) % 200 for k in range(4)] for t in range(TOPICS)])
        documents = np.concatenate([positives, negatives.ravel()])
        allowed = np.zeros((TOPICS, len(documents)), dtype=bool)
        for t in range(TOPICS):
            allowed[t, [t, *range(TOPICS + 4 * t, TOPICS + 4 * t + 4)]] = True
        _, slope = info_nce(queries, corpus[documents], allowed, np.zeros((D, D), np.float32), 0.05)
        moved = -0.05 * slope / np.abs(slope).max()
        found[name] = quality(corpus, judged(queries), moved)["ndcg"].mean()
    assert found["true"] > found["false"]


def test_the_same_seed_gives_the_same_adapter(noisy):
    corpus, queries, dev, _ = noisy
    examples = training(queries, [[(5 * t + 50) % 200] for t in range(TOPICS)])
    one, other = (train(corpus, examples, judged(dev), seed=4)[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_known_positive_never_counts_against_its_query():
    examples = TrainingSet(
        np.eye(3, dtype=np.float32), np.array([4, 5, 4]), ragged([[7, 5], [4], []]), ragged([[4, 5], [5], [4]])
    )
    documents, allowed = _batch(examples, np.array([0, 1, 2]))
    assert documents.tolist() == [4, 5, 4, 7, 5, 4]
    assert allowed.tolist() == [
        [True, False, False, True, False, False],  # 4 is its own; 5 and the other 4 are known positives
        [True, True, True, True, False, True],
        [False, True, True, True, True, False],
    ]


def test_quality_is_that_of_a_double_loop():
    generator = np.random.default_rng(1)
    corpus, queries = (generator.normal(size=(n, 4)).astype(np.float32) for n in (30, 6))
    labels = [[0, 3, 9], [1], [29, 4], [5, 6, 7, 8], [11], [12, 2]]
    gains = np.array([float(1 + x % 3) for row in labels for x in row])
    found = quality(corpus, Judged(queries, ragged(labels), gains), np.zeros((4, 4), np.float32))
    unit = corpus / np.linalg.norm(corpus, axis=1, keepdims=True)
    for q, row in enumerate(labels):
        order = topk((unit @ queries[q]).tolist(), 10)
        dcg = sum((1 + doc % 3) / np.log2(rank + 2) for rank, doc in enumerate(order) if doc in row)
        ideal = sorted((1 + doc % 3 for doc in row), reverse=True)
        assert found["ndcg"][q] == pytest.approx(dcg / sum(g / np.log2(r + 2) for r, g in enumerate(ideal)))
        first = next((1 / (rank + 1) for rank, doc in enumerate(order) if doc in row), 0)
        assert found["mrr"][q] == pytest.approx(first)
