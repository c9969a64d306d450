"""Replies of a judge: well-formed ones in any form, and malformed ones of every kind."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.commands.judge.judgements import judgement_lines
from hnmine.commands.judge.questions import Candidate, Question
from hnmine.commands.judge.replies import (
    DOUBLED,
    EXTRA,
    MALFORMED,
    MISSING,
    NO_REPLY,
    NOT_ALLOWED,
    OTHER,
    REPEATED,
    UNREADABLE,
    Answers,
    Exchange,
    Findings,
    Reply,
    as_reply,
    named_findings,
    read_answers,
    read_replies,
)  # fmt: skip
from hnmine.readers.judgements import IRRELEVANT, RELEVANT
from hnmine.storage.input_files import find_sources
from tests.commands.judge.fakes import batch_line, completion

CANDIDATES = tuple(Candidate(f"d{number}", "some words", {}, f"key{number}") for number in range(2))
ASKED = Question("id1", "q1", "m", "grades", CANDIDATES, {})
GOOD = '{"A": {"reason": "r", "grade": 5}, "B": {"reason": "r", "grade": 1}}'


def answers_of(reply: Reply) -> Answers:
    return Answers([Exchange.of(ASKED, reply)])


def said(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the judgement or the fault of each candidate, and what was noted."""
    findings = Findings()
    found = read_answers(ASKED, answers_of(Reply(text, "")), findings)
    return [one.answer.judgement if one.answer else one.fault for one in found], dict(findings.places)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Here is my judgement:\n\n{GOOD}\n\nI hope that helps {{}}!",
        f"<think>\nA could be {{\"A\": {{\"grade\": 1}}}} ...\n</think>\n{GOOD}",
        f'{{"judgements": {GOOD}}}',
        '{"A": 5, "B": "1"}',
        '{"a ": {"grade": 5}, "b": {"grade": 1}}',
        json.dumps(json.loads(GOOD), indent=2),
    ],
)  # fmt: skip
def test_a_reply_is_found_in_what_models_put_around_it(text: str) -> None:
    assert said(text) == ([RELEVANT, IRRELEVANT], {})


@pytest.mark.parametrize(
    ("text", "expected", "noted"),
    [
        ("", [MALFORMED] * 2, {MALFORMED: ["q1"]}),
        ("I cannot judge this.", [MALFORMED] * 2, {MALFORMED: ["q1"]}),
        ("[1, 2]", [MALFORMED] * 2, {MALFORMED: ["q1"]}),
        ('{"C": {"grade": 5}}', [MALFORMED] * 2, {MALFORMED: ["q1"]}),
        (GOOD[:40], [MALFORMED] * 2, {MALFORMED: ["q1"]}),
        ("{" * 5000, [MALFORMED] * 2, {MALFORMED: ["q1"]}),
        ('{"A":' * 5000, [MALFORMED] * 2, {MALFORMED: ["q1"]}),
        ('{"A": {"grade": 5}}', [RELEVANT, MISSING], {MISSING: ["q1"]}),
        ('{"A": {"grade": 5}, "B": {"grade": 1}, "C": {"grade": 1}}', [RELEVANT, IRRELEVANT], {EXTRA: ["q1"]}),
        ('{"A": {"grade": 5}, "A": {"grade": 1}, "B": {"grade": 1}}', [DOUBLED, IRRELEVANT], {DOUBLED: ["q1"]}),
        ('{"A": {"grade": 9}, "B": {"grade": 1}}', [NOT_ALLOWED, IRRELEVANT], {NOT_ALLOWED: ["q1"]}),
        ('{"A": {"verdict": "better"}, "B": null}', [NOT_ALLOWED] * 2, {NOT_ALLOWED: ["q1"]}),
        ('{"A": [5], "B": {"grade": {"grade": 1}}}', [NOT_ALLOWED] * 2, {NOT_ALLOWED: ["q1"]}),
    ],
)  # fmt: skip
def test_what_is_malformed_is_named_by_query_and_takes_no_other_answer_away(
    text: str, expected: list[str], noted: dict[str, list[str]]
) -> None:
    assert said(text) == (expected, noted)


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["A", "B", "C", "grade", ""]), inner),
).map(json.dumps))  # fmt: skip
def test_nothing_that_a_model_writes_is_an_error(text: str) -> None:
    found, _ = said(text)
    assert len(found) == 2


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["response", "body", "choices", "message", "content", "refusal", "error", "usage", "prompt_tokens", "text"]
    ), inner, max_size=4),
))  # fmt: skip
def test_nothing_that_a_server_writes_is_an_error(record: Any) -> None:
    reply = as_reply(record if isinstance(record, dict) else {"response": record})
    assert reply.text is None or isinstance(reply.text, str)


def test_refusals_parts_and_cut_replies() -> None:
    refusal = completion("")
    refusal["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "No."}
    assert as_reply({"response": {"body": refusal}}) == Reply("", "refused: No.", (100, 10))
    parts = completion("")
    parts["choices"][0]["message"]["content"] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert as_reply({"response": {"body": parts}}).text == "ab"
    findings = Findings()
    cut = as_reply(batch_line("id1", GOOD[:40], finish="length"))
    assert [one.fault for one in read_answers(ASKED, answers_of(cut), findings)] == [MALFORMED] * 2
    assert findings.places[MALFORMED] == ["q1 (the reply was cut off; raise judge.answer_tokens)"]
    whole = as_reply(batch_line("id1", GOOD, finish="length", usage=False))
    assert whole.tokens == (None, None)
    assert all(one.answer for one in read_answers(ASKED, answers_of(whole), Findings()))


def test_half_a_character_as_cut_json_has_it_takes_no_answer_away() -> None:
    half, told = "\ud83d", '{"A": {"reason": "so \\ud83d", "grade": 5}, "B": {"grade": 1}}'
    one, other = read_answers(ASKED, answers_of(Reply(told, "")), Findings())
    assert one.answer is not None
    assert other.answer is not None
    assert (one.answer.judgement, one.answer.reason) == (RELEVANT, "so ?")
    assert as_reply(batch_line("id1", f"so {half}")).text == "so ?"
    refusal = completion("")
    refusal["choices"][0]["message"] = {"refusal": f"no {half}"}
    assert as_reply({"response": {"body": refusal}}).fault == "refused: no ?"
    assert as_reply({"error": {"message": f"no {half}"}}).fault == "no ?"


def test_half_of_an_emoji_becomes_a_question_mark_that_a_file_can_hold() -> None:
    half = "\\ud83d"  # as JSON writes it where a reply is cut within an emoji
    question = replace(ASKED, template="answers")
    reply = as_reply(batch_line("id1", f'{{"A": {{"reason": "x {half}", "quote": "some{half}"}}, "B": ""}}'))
    findings = Findings()
    lines = judgement_lines([question], answers_of(reply), findings)
    assert lines["q1", "d0"]["reason"] == "x ?"
    assert lines["q1", "d0"]["grade"] == "some?"
    findings.add(OTHER, "id\ud83d")
    json.dumps([*lines.values(), named_findings(findings)], ensure_ascii=False).encode()


def test_files_in_any_order_with_errors_other_requests_and_repeats(tmp_path: Path) -> None:
    second = Question("id2", "q2", "m", "grades", CANDIDATES, {})
    third = Question("id3", "q3", "m", "grades", CANDIDATES, {})
    failed = {"custom_id": "id1", "response": None, "error": {"code": "batch_expired", "message": "It\nexpired."}}
    refused = {"custom_id": "id3", "response": {"status_code": 400, "body": {"error": {"message": "too long"}}}}
    lines = [
        [json.dumps(failed), "not JSON", json.dumps(batch_line("id2", GOOD)), "", '"text"', "{}"],
        [json.dumps(batch_line("id2", "other")), json.dumps(batch_line("id9", GOOD)), json.dumps(refused)],
        [json.dumps(batch_line("id1", GOOD))],
    ]
    for number, own in enumerate(lines):
        (tmp_path / f"{number}.jsonl").write_text("\n".join(own))
    asked, findings = {one.custom_id: one for one in (ASKED, second, third)}, Findings()
    sources = find_sources([f"{number}.jsonl" for number in range(3)], tmp_path, "--replies", (".jsonl",))
    found = read_replies(sources, asked, findings)
    assert {name: reply.text for name, reply in found.items()} == {"id1": GOOD, "id2": GOOD, "id3": None}
    assert findings.places == {
        UNREADABLE: ["0.jsonl line 2", "0.jsonl line 5", "0.jsonl line 6"], REPEATED: ["q2"], OTHER: ["id9"],
    }  # fmt: skip
    answers = Answers([Exchange.of(third, found["id3"])])
    assert [one.fault for one in read_answers(third, answers, findings)] == [NO_REPLY] * 2
    named = named_findings(findings)
    assert named[NO_REPLY]["first"] == ["q3 (too long)"]
    assert named[UNREADABLE]["count"] == 3
