"""Hub-normalised scores against a double loop, whatever the shards, workers and stops; and who reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.explain import explain_query
from hnmine.commands.plan.plan import make_plan
from hnmine.commands.sweep import sweep
from hnmine.config.filter import FilterConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, IncompleteStage
from hnmine.pipeline.run import RunOptions
from hnmine.runtime import stage as stages_runtime
from hnmine.stages.hubs import step
from hnmine.stages.hubs.step import bank_of
from tests import oracles
from tests.pipeline.helpers import vectors
from tests.support import config_for, make_collection, tree

BETA, BANK, QUERIES = 5.0, 40, 300
SCORE: dict[str, Any] = {"rule": "percent", "score": "hub_normalised", "hub_beta": BETA, "hub_queries": BANK}


def config(base: Path, out: str, filter_: dict[str, Any] | None = None, **more: Any) -> Config:
    return config_for(base, out, filter={**SCORE, **(filter_ or {})}, **{"shard_rows": 256, **more})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("hubs"), 400, QUERIES)
    run(config(folder, "out"))
    return folder


def table(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*"))]).to_pylist()


def test_scores_are_those_of_a_double_loop_over_the_bank(base: Path) -> None:
    corpus, asked = (vectors(base / "out", side).astype(np.float64) for side in ("corpus", "queries"))
    bank = bank_of(QUERIES, FilterConfig(**SCORE), 0).tolist()
    assert len(bank) == BANK
    expected: dict[tuple[int, int], float] = {}

    def score(query: int, document: int) -> float:
        if (query, document) not in expected:
            others = [float(asked[other] @ corpus[document]) for other in bank if other != query]
            expected[query, document] = oracles.hub_normalised(float(asked[query] @ corpus[document]), others, BETA)
        return expected[query, document]

    in_bank = 0
    for row in table(base / "out/filter")[::9]:
        query = row["query_row"]
        in_bank += query in bank
        found = [score(query, document) for document in row["doc_rows"]]
        assert row["scores"] == pytest.approx(found, abs=2e-5)
        assert row["positive_scores"] == pytest.approx([score(query, d) for d in row["positive_rows"]], abs=2e-5)
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert row["anchor_scores"] == row["positive_scores"]
    assert in_bank
    # candidates are the teacher's, in another order
    plain = {row["query_row"]: row for row in table(base / "out/retrieve")}
    moved = 0
    for row in table(base / "out/filter"):
        assert sorted(row["doc_rows"]) == sorted(plain[row["query_row"]]["doc_rows"])
        moved += row["doc_rows"] != plain[row["query_row"]]["doc_rows"]
    assert moved


def test_the_background_is_that_of_the_normalised_scores(base: Path) -> None:
    corpus, asked = (vectors(base / "out", side).astype(np.float64) for side in ("corpus", "queries"))
    bank = bank_of(QUERIES, FilterConfig(**SCORE), 0).tolist()
    from hnmine.arrays.random_numbers import sample_rows

    sample = sample_rows(400, 256, 0).tolist()
    for row in table(base / "out/filter")[5::70]:
        query, scores = row["query_row"], []
        for document in sample:
            if document not in row["positive_rows"]:
                others = [float(asked[other] @ corpus[document]) for other in bank if other != query]
                scores.append(oracles.hub_normalised(float(asked[query] @ corpus[document]), others, BETA))
        mean, std = oracles.background(scores, [False] * len(scores))
        assert row["background_mean"] == pytest.approx(mean, abs=2e-5)
        assert row["background_std"] == pytest.approx(std, abs=2e-5)


def test_shards_workers_and_a_stop_change_nothing(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(base / "out/hubs")
    monkeypatch.setattr(step, "_SCORES", 7 * BANK)  # seven documents at a time
    run(config(base, "wide", shard_rows=1024))
    assert table(base / "wide/hubs") == rows
    assert table(base / "wide/emit") == table(base / "out/emit")
    write, written = stages_runtime.write_table, []

    def stop(made: pa.Table, output: Path, key: str, **options: Any) -> None:
        if "hubs" in output.parts and len(written) == 2:
            raise KeyboardInterrupt
        written.extend([output] if "hubs" in output.parts else [])
        write(made, output, key, **options)

    monkeypatch.setattr(stages_runtime, "write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        run(config(base, "killed"))
    monkeypatch.undo()
    run(config(base, "killed", workers=2), ("ingest", "embed", "index", "retrieve", "hubs"))
    run(config(base, "killed"))
    for folder in ("hubs", "filter", "emit"):
        assert tree(base / "killed" / folder) == tree(base / "out" / folder)


def test_only_a_filter_that_uses_them_has_the_stage_and_its_settings(base: Path) -> None:
    plain = config_for(base, "plain", filter={"rule": "percent", "hub_beta": 3.0, "hub_queries": 7})
    assert plain.filter.semantic() == config_for(base, "plain", filter={"rule": "percent"}).filter.semantic()
    assert "hubs" not in [result.stage for result in run(plain)]
    again = run(config(base, "out", {"hub_beta": 7.0}), options=RunOptions(overwrite=True))
    assert [one.stage for one in again if one.ran] == ["hubs", "filter", "emit", "report"]
    run(config(base, "out"), options=RunOptions(overwrite=True))


@pytest.mark.parametrize("rule", ["auto", "two_sided", "adaptive"])
def test_other_rules_and_choices_take_them(base: Path, rule: str) -> None:
    made = config(base, f"rule-{rule}", {"rule": rule, "probabilities": True}, emit={"batch_size": 4})
    run(made, options=RunOptions(source=base / "out"))
    assert table(base / f"rule-{rule}/emit")


def test_commands_show_them(base: Path) -> None:
    made = config(base, "out")
    shown = explain_query(made, "q7", top=None)["anchors"][0]["candidates"]
    scores = {row["query_id"]: row["scores"] for row in table(base / "out/filter")}["q7"]
    assert [one["score"] for one in shown] == pytest.approx(scores)
    assert sweep(made)["settings"]
    planned = make_plan(made)
    work = {one["stage"]: one["work"] for one in planned["stages"]}
    assert work["hubs"] == "about 400 documents over 40 queries"
    assert planned["disk_of_stages"]["hubs"] > 0
    report = json.loads((base / "out/report/report.json").read_text())
    assert report["counts"]["hubs"]["bank"] == BANK


def test_a_sweep_without_the_stage_says_what_to_run(base: Path) -> None:
    run(config_for(base, "bare", filter={"rule": "percent"}))
    with pytest.raises(IncompleteStage, match="run `hnmine hubs` first"):
        sweep(config(base, "bare"))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"previous": {"run": "out"}}, r'filter\.score is "hub_normalised"'),
        ({"emit": {"format": "distillation", "fallback": "random"}}, "hub-normalised scores"),
        ({"emit": {"relabel": 0.9, "batch_size": 4}, "filter": {**SCORE, "rule": "auto"}}, "the normalised one"),
    ],
    ids=["previous", "distillation", "relabel"],
)
def test_what_needs_the_teachers_scores_is_refused(base: Path, tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_for(base, "no", **{"filter": SCORE, **tables})
