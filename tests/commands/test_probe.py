"""`hnmine probe` and its adapter on made vectors, where it is known what training can learn."""

import json

import numpy as np
import pytest

from hnmine.arrays.ragged import Ragged
from hnmine.cli import _run
from hnmine.commands.probe import LabelledQueries, TooFewQueries, TrainingSet, _batch, probe, quality, train
from hnmine.errors import IncompleteStage
from hnmine.pipeline.run import RunOptions, run
from hnmine.science.adapter import info_nce
from tests.oracles import topk
from tests.pipeline.helpers import by_vectors

TOPICS, DOCS, D = 60, 4, 12


def vectors(seed=2):
    """Half of the numbers say the topic, the other half is noise as large."""
    generator = np.random.default_rng(seed)
    topics = generator.normal(size=(TOPICS, D // 2))

    def around(labels):
        noise = 1.5 * generator.normal(size=(len(labels), D // 2))
        return np.concatenate([topics[labels] + 0.1 * generator.normal(size=noise.shape), noise], 1).astype(np.float32)

    return around(np.repeat(np.arange(TOPICS), DOCS)), around(np.arange(TOPICS))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    documents, queries = vectors()
    positives = [list(range(DOCS * t, DOCS * t + 3)) for t in range(TOPICS)]

    def config(out, **tables):
        tables = {"retrieve": {"top_k": 40}, "filter": {"rule": "none"}} | tables
        return by_vectors(folder, documents, queries, positives, out=str(folder / out), **tables)

    run(config("out"))
    return config


def test_training_on_the_runs_negatives_gains_on_held_out_queries(made):
    found = probe(made("out"), seeds=4)
    assert found["queries"] == TOPICS
    assert found["documents"] == TOPICS * DOCS
    assert found["examples"] == 3 * TOPICS
    gain = found["gain_over_untrained"]
    assert gain["ndcg_at_10"] > 0.02
    assert gain["ndcg_p"] < 0.05
    assert gain["ndcg_at_10"] == pytest.approx(
        found["with_mined"]["ndcg_at_10"] - found["untrained"]["ndcg_at_10"], abs=0.05
    )
    assert 0.25 * TOPICS <= gain["test_queries"] <= TOPICS


def test_the_same_run_gives_the_same_numbers(made):
    assert probe(made("out"), seeds=1) == probe(made("out"), seeds=1)


def test_another_anchor_and_another_runs_stages(made):
    config = made("mean", filter={"rule": "none", "anchor": "mean"})
    source = made("out").out_folder
    run(config, options=RunOptions(source=source))
    found = probe(config, source, seeds=1)
    assert found["examples"] == 3 * TOPICS
    with pytest.raises(IncompleteStage, match="--from"):
        probe(config, seeds=1)


def test_too_few_queries_and_no_run_are_refused_with_what_to_do(made, tmp_path):
    documents, queries = vectors()
    few = by_vectors(tmp_path, documents, queries[:10], [[4 * t] for t in range(10)], filter={"rule": "none"})
    with pytest.raises(IncompleteStage, match="run `hnmine embed` first"):
        probe(few)
    run(few)
    with pytest.raises(TooFewQueries, match="10 queries have a negative"):
        probe(few)


def test_the_command_prints_json_alone(made, capsys, monkeypatch, tmp_path):
    config = made("out")
    folder = config.out_folder.parent
    text = '\n'.join([
        'out = "out"', "[input]", 'corpus = "corpus.jsonl"', 'queries = "queries.jsonl"', 'qrels = "qrels.tsv"',
        "[embed]", 'model = "precomputed"', 'corpus_vectors = "documents.npy"', 'query_vectors = "queries.npy"',
    ])  # fmt: skip
    (folder / "probe.toml").write_text(text)
    monkeypatch.setattr("sys.argv", ["hnmine", "probe", str(folder / "probe.toml"), "--seeds", "1", "--json"])
    with pytest.raises(SystemExit, match="0"):
        _run()
    out = capsys.readouterr().out
    assert set(json.loads(out)) >= {"untrained", "without_mined", "with_mined", "gain_over_untrained"}


DIM, LABELS = 8, 40


def ragged(lists):
    return Ragged.from_lengths(
        np.array([x for row in lists for x in row], dtype=np.int64), np.array([len(row) for row in lists])
    )


@pytest.fixture(scope="module")
def noisy():
    """Half of the numbers say the topic, the other half, as large, are noise that training can learn to leave out."""
    generator = np.random.default_rng(3)
    topics = generator.normal(size=(LABELS, DIM // 2))

    def vectors(labels):
        noise = generator.normal(size=(len(labels), DIM // 2))
        both = np.concatenate([topics[labels] + 0.1 * generator.normal(size=noise.shape), 1.5 * noise], axis=1)
        return (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32)

    corpus = vectors(np.repeat(np.arange(LABELS), 5))
    return corpus, vectors(np.arange(LABELS)), vectors(np.arange(LABELS)), vectors(np.arange(LABELS))


def labelled(queries):
    return LabelledQueries(queries, ragged([range(5 * t, 5 * t + 5) for t in range(len(queries))]))


def training(queries, negatives):
    positives = 5 * np.arange(len(queries))
    return TrainingSet(queries, positives, ragged(negatives), ragged([[p] for p in positives]))


def test_training_on_true_labels_gains_on_queries_it_never_saw(noisy):
    corpus, queries, dev, test = noisy
    generator = np.random.default_rng(0)
    negatives = [[int(x) for x in generator.choice(200, 3) if x // 5 != t] for t in range(LABELS)]
    adapter, curve = train(corpus, training(queries, negatives), labelled(dev), seed=0)
    base = quality(corpus, labelled(test), np.zeros((DIM, DIM), np.float32))["ndcg"].mean()
    assert quality(corpus, labelled(test), adapter)["ndcg"].mean() > base + 0.1
    assert quality(corpus, labelled(dev), adapter)["ndcg"].mean() == pytest.approx(max(curve))


def test_training_against_ones_own_positives_makes_the_loss_grow(noisy):
    """A step against documents of the query's own topic moves the query away from its other positives."""
    corpus, queries, _, _ = noisy
    positives = 5 * np.arange(LABELS)
    found = {}
    for name, shift in (("true", 50), ("false", 1)):
        negatives = np.array([[(5 * t + shift + k) % 200 for k in range(4)] for t in range(LABELS)])
        documents = np.concatenate([positives, negatives.ravel()])
        allowed = np.zeros((LABELS, len(documents)), dtype=bool)
        for t in range(LABELS):
            allowed[t, [t, *range(LABELS + 4 * t, LABELS + 4 * t + 4)]] = True
        _, slope = info_nce(queries, corpus[documents], allowed, np.zeros((DIM, DIM), np.float32), 0.05)
        moved = -0.05 * slope / np.abs(slope).max()
        found[name] = quality(corpus, labelled(queries), moved)["ndcg"].mean()
    assert found["true"] > found["false"]


def test_the_same_seed_gives_the_same_adapter(noisy):
    corpus, queries, dev, _ = noisy
    examples = training(queries, [[(5 * t + 50) % 200] for t in range(LABELS)])
    one, other = (train(corpus, examples, labelled(dev), seed=4)[0] for _ in range(2))
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
    found = quality(corpus, LabelledQueries(queries, ragged(labels)), np.zeros((4, 4), np.float32))
    unit = corpus / np.linalg.norm(corpus, axis=1, keepdims=True)
    for q, row in enumerate(labels):
        order = topk((unit @ queries[q]).tolist(), 10)
        dcg = sum(1 / np.log2(rank + 2) for rank, doc in enumerate(order) if doc in row)
        assert found["ndcg"][q] == pytest.approx(dcg / sum(1 / np.log2(rank + 2) for rank in range(len(row))))
        first = next((1 / (rank + 1) for rank, doc in enumerate(order) if doc in row), 0)
        assert found["mrr"][q] == pytest.approx(first)
