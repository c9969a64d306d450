"""`hnmine probe` over complete runs whose vectors are made, so that it is known what training can learn."""

import json

import numpy as np
import pytest

from hnmine.cli import _run
from hnmine.commands.probe import TooFewQueries, probe
from hnmine.errors import IncompleteStage
from hnmine.pipeline.run import RunOptions, run
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
