"""A run without a training row ends with an exit code of its own, after its report."""

import json
from pathlib import Path

import pytest

from hnmine.cli.run_stages import missing_random
from hnmine.config.file import check_config
from tests.cli.support import hnmine
from tests.support import make_collection

CONFIG = """
out = "out"
[input]
corpus = "corpus.jsonl"
queries = "queries.jsonl"
qrels = "qrels.tsv"
[embed]
model = "hash"
[retrieve]
top_k = 10
[filter]
rule = "two_sided"
two_sided = -9.0
[report]
html = false
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("empty"))
    (folder / "mine.toml").write_text(CONFIG)
    done = hnmine("run", folder / "mine.toml")
    assert done.returncode == 10
    assert done.stdout.strip() == str(folder / "out")
    assert "no training row came out" in done.stderr
    assert "ingest: started\ningest: done in " in done.stderr
    assert "coverage" in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "out/report/report.json").exists()
    return folder


@pytest.mark.parametrize("stage", ["run", "emit", "report"])
def test_a_finished_run_without_rows_ends_in_the_same_way(empty: Path, stage: str) -> None:
    done = hnmine(stage, empty / "mine.toml", "--json")
    assert done.returncode == 10
    assert not any(one["ran"] for one in json.loads(done.stdout)["stages"])
    assert 'filter.rule = "auto", emit.choose = "top": ' in done.stderr


def test_stages_before_emit_and_runs_with_rows_end_with_0(empty: Path) -> None:
    assert hnmine("filter", empty / "mine.toml").returncode == 0
    changed = ("--set", 'filter.rule="auto"', "--out", empty / "rows")
    assert hnmine("run", empty / "mine.toml", *changed).returncode == 0


def test_a_setting_that_the_rule_does_not_use_is_named_before_the_run(empty: Path) -> None:
    changed = ("--set", 'filter.rule="auto"', "--set", "filter.margin=0.2", "--out", empty / "unused")
    text = "warning: filter.margin is set, but filter.rule is 'auto' and does not use it\n"
    before, after = hnmine("run", empty / "mine.toml", *changed).stderr.split("ingest: started\n")
    assert text in before
    assert "filter.margin" not in after
    assert text in hnmine("filter", empty / "mine.toml", *changed).stderr
    assert text not in hnmine("embed", empty / "mine.toml", *changed).stderr


@pytest.mark.parametrize(
    ("documents", "drawn", "filled_up", "rule", "said"),
    [
        (98, 0, 0, "auto", "only 0 of 240 random negatives were drawn"),
        (98, 245, 20, "auto", "only 225 of 240"),
        (98, 240, 0, "auto", ""),
        (98, 0, 0, "percent", ""),  # which draws none
        (5000, 0, 0, "auto", ""),  # not for want of documents
    ],
)
def test_a_corpus_too_small_for_random_negatives_is_named(
    tmp_path: Path, documents: int, drawn: int, filled_up: int, rule: str, said: str
) -> None:
    config = check_config({"input": {"pairs": "pairs.jsonl"}, "filter": {"rule": rule}}, "mine.toml", tmp_path)
    emit = {"examples": 120, "negatives_random": drawn, "negatives_filled_up": filled_up}
    line = missing_random(config, {"ingest": {"documents": documents}, "emit": emit})
    assert line.startswith(said)
    assert bool(line) == bool(said)
    assert missing_random(config, {"emit": emit}) == missing_random(config, {"ingest": {"documents": documents}}) == ""
    for other in ({"emit": {"max_per_document": 5}}, {"retrieve": {"where": [{"field": "lang"}]}}):
        assert not missing_random(config.changed(other), {"ingest": {"documents": documents}, "emit": emit})
