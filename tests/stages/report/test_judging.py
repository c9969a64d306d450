"""The report's section on language models as judges, from files alone."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from hnmine.stages.report.judging import judging
from tests.support import config_for, make_collection, write_jsonl


def line(judgement: str, request: str) -> dict[str, Any]:
    more = {"template": "grades", "prompt_tokens": 3, "completion_tokens": 2, "chosen": True, "value": 0.1}
    fault = {} if judgement else {"fault": "malformed"}
    return {"query_id": "q0", "doc_id": "d9", "judgement": judgement, "judge": "m", "request": request, **more, **fault}


@pytest.mark.parametrize("order", list(itertools.permutations(["answered", "empty"])))
def test_a_pair_that_one_file_answers_counts_as_answered(tmp_path: Path, order: tuple[str, ...]) -> None:
    base = make_collection(tmp_path, 20, 6)
    write_jsonl(base / "answered.jsonl", [line("relevant", "r1")])
    write_jsonl(base / "empty.jsonl", [line("", "r2")])
    found = judging(config_for(base, input={"judgements": [f"{name}.jsonl" for name in order]}))["judging"]
    assert (found["pairs"], found["relevant"], found["unanswered"]) == (1, 1, 0)
