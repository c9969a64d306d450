"""`hnmine probe` on made-up texts, where it is known what a student can learn."""

import json

import numpy as np
import pytest

from hnmine.cli import _run
from hnmine.commands.probe import probe as module
from hnmine.commands.probe.probe import Options, probe
from hnmine.errors import ConfigError, IncompleteStage, InputError, ModelError, TooFewQueries
from hnmine.pipeline.run import RunOptions, run
from hnmine.students.static import StaticStudent
from tests.support import config_for, write_collection

TOPICS, DOCS = 60, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Each topic has five words; its documents and its query hold three of them, and three words of other topics."""
    rng = np.random.default_rng(0)
    words = np.array([[f"t{topic}w{i}" for i in range(5)] for topic in range(TOPICS)])

    def text(topic):
        return " ".join([*rng.choice(words[topic], 3, replace=False), *rng.choice(words.ravel(), 3)])

    corpus = {f"d{topic}-{i}": text(topic) for topic in range(TOPICS) for i in range(DOCS)}
    queries = {f"q{topic}": text(topic) for topic in range(TOPICS)}
    qrels = [(f"q{topic}", f"d{topic}-{i}", 1) for topic in range(TOPICS) for i in range(DOCS - 1)]
    found = write_collection(tmp_path_factory.mktemp("probe"), corpus, queries, qrels)
    run(config(found, "out"))
    return found


def config(folder, out, **tables):
    defaults = {"retrieve": {"top_k": 40, "max_top_k": 40}, "filter": {"rule": "none"}}
    return config_for(folder, out=str(folder / out), **(defaults | tables))


def gain(found, name, over):
    return next(one for one in found["gains"] if (one["set"], one["over"]) == (name, over))


def test_a_run_alone_is_compared_with_no_negatives_and_random_documents(folder):
    found = probe(config(folder, "out"), options=Options(seeds=2))
    assert found["queries"] == TOPICS
    assert found["documents"] == TOPICS * DOCS
    assert list(found["sets"]) == ["in_batch", "random", "mined"]
    assert {one["examples"] for one in found["sets"].values()} == {TOPICS * (DOCS - 1)}
    assert found["sets"]["in_batch"]["negatives"] == 0
    assert found["sets"]["random"]["negatives"] == found["sets"]["mined"]["negatives"] > 0
    assert [(one["set"], one["over"]) for one in found["gains"]] == [
        ("mined", "untrained"), ("mined", "in_batch"), ("mined", "random"),
    ]  # fmt: skip
    for one in found["gains"]:
        base = found["untrained"] if one["over"] == "untrained" else found["sets"][one["over"]]["ndcg_at_10"]
        assert one["ndcg_at_10"] == pytest.approx(found["sets"]["mined"]["ndcg_at_10"] - base, abs=1e-9)
        assert one["interval"][0] <= one["ndcg_at_10"] <= one["interval"][1]
        assert 0 < one["p"] <= 1
    assert TOPICS * 0.3 <= found["tested"] <= TOPICS
    assert json.loads((folder / "out" / "probe.json").read_text())["result"]["gains"] == found["gains"]


def test_the_same_run_gives_the_same_numbers_and_a_set_equals_itself(folder):
    first = probe(config(folder, "out"), other=str(folder / "out"), options=Options(seeds=1))
    assert first == probe(config(folder, "out"), other=str(folder / "out"), options=Options(seeds=1))
    same = gain(first, "other", "mined")
    assert (same["ndcg_at_10"], same["interval"], same["p"]) == (0.0, [0.0, 0.0], 1.0)
    assert first["sets"]["other"] == first["sets"]["mined"]


def test_another_run_is_named_by_its_config_or_its_folder(folder):
    other = config(folder, "other", filter={"rule": "none", "ranks": (21, 40)}, emit={"format": "n-tuple"})
    run(other, options=RunOptions(source=folder / "out"))
    text = (
        'out = "other"\n[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'
        '[embed]\nmodel = "hash"\n[emit]\nnum_negatives = 3\nformat = "n-tuple"\n'
    )
    (folder / "other.toml").write_text(text)
    by_folder = probe(config(folder, "out"), other=str(folder / "other"), options=Options(seeds=1))
    by_config = probe(config(folder, "out"), other=str(folder / "other.toml"), options=Options(seeds=1))
    assert by_folder["gains"] == by_config["gains"]
    assert gain(by_folder, "other", "mined")["ndcg_at_10"] != 0
    assert len(by_folder["gains"]) == 7


def test_a_file_of_another_tool_is_matched_by_text(folder, tmp_path):
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    corpus = {row["doc_id"]: row["text"] for row in map(json.loads, (folder / "corpus.jsonl").read_text().splitlines())}
    rows = [
        {"anchor": row["text"].upper() + "!", "positive": corpus[f"d{i}-0"], "negative": f"nowhere {i % 7}"}
        for i, row in enumerate(queries)
    ]
    rows.append({"anchor": "a query of no run", "positive": corpus["d0-0"], "negative": corpus["d1-0"]})
    path = tmp_path / "theirs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = probe(config(folder, "out"), other=str(path), options=Options(seeds=1))
    assert found["sets"]["other"]["left_out"] == 1
    assert found["sets"]["other"]["examples"] == found["sets"]["other"]["negatives"] == TOPICS
    assert found["documents"] == TOPICS * DOCS + 7


def test_nothing_of_a_test_query_is_trained_on(folder, monkeypatch):
    """Neither its text nor any labelled positive of it is in an example as query or positive."""
    seen = []

    def train(self, examples, seed):
        trained = {self.task.query_texts[i] for i in examples.queries}
        relevant = {tuple(self.task.known.values[a:b]) for a, b in
                    zip(self.task.known.offsets[:-1], self.task.known.offsets[1:], strict=True)}  # fmt: skip
        assert len(relevant) == TOPICS
        seen.append((trained, set(examples.positives.tolist())))
        return self.untrained()

    real = module._gains

    def gains(after, seed):
        (tested,) = (np.flatnonzero(~np.isnan(part)) for part in after["untrained"])
        texts = [json.loads(line)["text"] for line in (folder / "queries.jsonl").read_text().splitlines()]
        for trained, positives in seen:
            assert not trained & {texts[i] for i in tested}
            assert not positives & {DOCS * i + j for i in tested.tolist() for j in range(DOCS)}
        return real(after, seed)

    monkeypatch.setattr(StaticStudent, "train", train)
    monkeypatch.setattr(module, "_gains", gains)
    probe(config(folder, "out"), options=Options(seeds=1))
    assert len(seen) == 3


def test_too_few_queries_and_no_run_are_refused_with_what_to_do(folder, tmp_path):
    corpus, queries = {f"d{i}": f"word{i} again" for i in range(30)}, {f"q{i}": f"word{i}" for i in range(10)}
    few = write_collection(tmp_path, corpus, queries, [(f"q{i}", f"d{i}", 1) for i in range(10)])
    with pytest.raises(IncompleteStage, match="run `hnmine ingest` first"):
        probe(config(few, "few"))
    run(config(few, "few"))
    with pytest.raises(TooFewQueries, match=r"needs 40 queries with a training row.*10 take part"):
        probe(config(few, "few"))


def test_what_cannot_be_compared_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)no such student.*no such loss"):
        probe(config(folder, "out"), options=Options(student="statik", loss="all"))
    with pytest.raises(ModelError, match="names no model that can be trained"):
        probe(config(folder, "out"), options=Options(student="full"))
    with pytest.raises(InputError, match="gone"):
        probe(config(folder, "out"), other=str(tmp_path / "gone.jsonl"))
    strange = tmp_path / "strange.jsonl"
    strange.write_text('{"anchor": "of no run", "positive": "a", "negative": "b"}\n' * 3)
    with pytest.raises(InputError, match=r"none of its .* has a query of the run"):
        probe(config(folder, "out"), other=str(strange))


def test_the_command_prints_json_alone_or_tables(folder, capsys, monkeypatch):
    text = (
        'out = "out"\n[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'
        '[embed]\nmodel = "hash"\n'
    )
    (folder / "probe.toml").write_text(text)
    for more in (["--json"], []):
        monkeypatch.setattr("sys.argv", ["hnmine", "probe", str(folder / "probe.toml"), "--seeds", "1", *more])
        with pytest.raises(SystemExit, match="0"):
            _run()
        out = capsys.readouterr().out
        if more:
            assert set(json.loads(out)) >= {"untrained", "sets", "gains", "other_settings"}
        else:
            assert "random documents, equal number" in out
            assert "the run's negatives" in out
