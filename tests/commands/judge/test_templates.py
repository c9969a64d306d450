"""What a judge's answers mean, by each template."""

import json

import pytest

from hnmine.commands.judge.templates import REASON_LENGTH, TEMPLATES
from hnmine.readers.judgements import IRRELEVANT, RELEVANT, UNSURE

TEXT = "Hold the button for five seconds,\nuntil the light flashes “blue”. It takes 2.4 GHz."


@pytest.mark.parametrize(
    ("template", "value", "judgement"),
    [
        ("better-or-worse", "better", RELEVANT),
        ("better-or-worse", " Worse ", IRRELEVANT),
        ("better-or-worse", "unsure", UNSURE),
        ("answers", "five seconds", RELEVANT),
        ("answers", "the LIGHT  flashes blue", RELEVANT),
        ("answers", "Hold the button … takes 2.4 GHz", RELEVANT),
        ("answers", "ten seconds", UNSURE),
        ("answers", "Hold the button ... for ten seconds", UNSURE),
        ("answers", "", IRRELEVANT),
        ("answers", None, IRRELEVANT),
        ("answers", "...", IRRELEVANT),
        ("grades", 5, RELEVANT),
        ("grades", 4.0, RELEVANT),
        ("grades", "4", RELEVANT),
        ("grades", 3, UNSURE),
        ("grades", 2, IRRELEVANT),
        ("grades", 1, IRRELEVANT),
    ],
)
def test_an_answer_is_read_with_its_reason_and_without(template: str, value: object, judgement: str) -> None:
    one = TEMPLATES[template]  # type: ignore[index]
    found = one.answer({"reason": "because\n of this", one.field: value}, TEXT)
    assert found is not None
    assert (found.judgement, found.reason) == (judgement, "because of this")
    alone = one.answer(value, TEXT)
    assert alone is not None
    assert (alone.judgement, alone.reason) == (judgement, "")


@pytest.mark.parametrize(
    ("template", "value"),
    [
        *(("better-or-worse", wrong) for wrong in ("good", "", None, 1, True, ["better"])),
        *(("answers", wrong) for wrong in (3, True, ["five"])),
        *(("grades", wrong) for wrong in (0, 6, 2.5, "five", "", None, True, [4])),
    ],
)
def test_any_other_value_is_no_answer(template: str, value: object) -> None:
    one = TEMPLATES[template]  # type: ignore[index]
    assert one.answer({"reason": "x", one.field: value}, TEXT) is None
    assert one.answer({"reason": "x"}, TEXT) is None


def test_the_schema_of_a_reply_names_each_letter_and_the_instructions_name_the_field() -> None:
    for template in TEMPLATES.values():
        schema = template.schema_of(["A", "B"])
        assert schema["required"] == ["A", "B"]
        assert schema["properties"]["B"]["required"] == ["reason", template.field]
        assert json.loads(json.dumps(schema)) == schema
        assert f"`{template.field}`" in template.instructions


def test_words_of_a_judge_are_cut() -> None:
    found = TEMPLATES["grades"].answer({"reason": "x" * 10_000, "grade": 1}, TEXT)
    assert found is not None
    assert len(found.reason) == REASON_LENGTH
