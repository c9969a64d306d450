"""What `hnmine plan` says that a judge costs, against the requests that are written."""

import json
from pathlib import Path
from typing import Any

import pytest

from hnmine.commands.judge.judge import JudgeOptions, export_requests
from hnmine.commands.plan.plan import make_plan
from hnmine.pipeline.run import run
from tests.support import config_for, make_collection

STAGES = ["ingest", "embed", "index", "retrieve", "filter", "emit"]


def test_without_a_judge_nothing_is_said(tmp_path: Path) -> None:
    assert "judge" not in make_plan(config_for(make_collection(tmp_path)))


@pytest.mark.parametrize(
    "judge",
    [{}, {"candidates": 2}, {"template": "grades", "reply_format": "text", "answer_tokens": 40}, {"text_length": 100}],
    ids=["defaults", "two candidates", "grades", "cut texts"],
)
def test_requests_and_tokens_are_those_about_all_negatives(tmp_path: Path, judge: dict[str, Any]) -> None:
    base = make_collection(tmp_path)
    config = config_for(base, judge={"served_model": "judge", **judge}, filter={"rule": "none"})
    run(config, ["ingest"])
    planned = make_plan(config)["judge"]
    run(config, STAGES)
    asked = export_requests(config, tmp_path / "requests.jsonl", JudgeOptions(number=10**9))
    bodies = [json.loads(line)["body"] for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert planned["requests"] == asked["requests"] == len(bodies)
    assert asked["candidates"] <= planned["candidates"]
    size = sum(len(json.dumps(body)) for body in bodies)
    assert size / 4 < planned["prompt_tokens"] < 1.5 * size / 4
    assert sum(body["max_tokens"] for body in bodies) <= planned["answer_tokens"]


def test_random_documents_are_not_asked_about(tmp_path: Path) -> None:
    emit = {"choose": "mixed", "random_share": 1.0}
    config = config_for(make_collection(tmp_path), judge={"model": "http://localhost:9/v1"}, emit=emit)
    assert set(make_plan(config)["judge"].values()) == {0}
