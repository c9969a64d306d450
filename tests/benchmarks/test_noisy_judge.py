"""The simulated judges of the benchmark: whose answers count, and that two ask no more than one."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.noisy_judge import Said, judgements

PAIRS = [(f"q{at}", f"d{at}") for at in range(200)]


def true(query: str, document: str) -> bool:
    return int(query[1:]) % 4 == 0


def said_in(path: Path) -> dict[str, bool]:
    lines = map(json.loads, path.read_text().splitlines())
    return {line["query_id"]: line["judgement"] == "relevant" for line in lines}


def test_a_judge_without_errors_says_the_truth_of_every_pair(tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"
    assert judgements(PAIRS, true, (0.0,), 0, path) == Said(200, 50, 0)
    assert said_in(path) == {query: true(query, document) for query, document in PAIRS}


@pytest.mark.parametrize("draw", range(5))
def test_two_judges_ask_as_much_as_one_and_call_relevant_what_both_do(tmp_path: Path, draw: int) -> None:
    alone, both = tmp_path / "alone.jsonl", tmp_path / "both.jsonl"
    one, two = (judgements(PAIRS, true, noises, draw, path) for noises, path in (((0.3,), alone), ((0.3, 0.1), both)))
    first, second = said_in(alone), said_in(both)
    assert list(second) == list(first)[: two.judged]
    questions = two.judged + sum(first[query] for query in second)
    assert len(PAIRS) - 1 <= questions <= len(PAIRS)
    assert all(first[query] for query, relevant in second.items() if relevant)
    assert two.wrong < one.wrong
    assert two.wrong == sum(relevant and not true(query, "") for query, relevant in second.items())
