"""Limits that fit a config: what its settings ask for is no flaw, and everything else keeps its limit."""

from pathlib import Path
from typing import Any

import pytest

from hnmine.pipeline.run import run
from hnmine.stages.report.expected import numbers_of
from hnmine.stages.report.headline import ALL_NUMBERS
from tests.pipeline.helpers import report
from tests.stages.report.html.test_page import several_positives
from tests.stages.report.test_changes import CASES, of_case
from tests.support import config_for

HARDNESS = {
    "random in a window": None, "simans": None, "stratified": None, "distillation": None, "all kept, distilled": None,
    "auto": 0.24, "relabelled": 0.2667, "mixed": 0.24, "random documents": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_hardness_has_the_limit_that_the_choice_of_negatives_allows(tmp_path: Path, case: str) -> None:
    found = numbers_of(of_case(tmp_path, case))
    assert found.keys() == ALL_NUMBERS.keys()
    assert found["hardness"].flaw == HARDNESS.get(case, 0.4)
    others = {name for name in ALL_NUMBERS if found[name] != ALL_NUMBERS[name]} - {"hardness"}
    expected = {
        "all kept, distilled": {"fill"}, "sources": {"biases.query_overlap.effect"},
        "two-sided, calibrated": {"false_negative_rate"}, "random documents": {"sources.random.share"},
    }  # fmt: skip
    assert others == expected.get(case, set())


@pytest.mark.parametrize(("share", "limit"), [(0.4, 0.5), (0.5, 0.5), (0.6, None), (1.0, None)])
def test_as_many_random_documents_as_are_asked_for_are_no_flaw(
    tmp_path: Path, share: float, limit: float | None
) -> None:
    emit = {"choose": "mixed", "random_share": share, "num_negatives": 10}
    assert numbers_of(config_for(tmp_path, emit=emit))["sources.random.share"].flaw == limit


def test_sources_of_words_are_named_where_negatives_share_words(tmp_path: Path) -> None:
    text = numbers_of(of_case(tmp_path, "sources"))["biases.query_overlap.effect"].change
    assert "(bm25)" in text
    assert "another teacher" not in text


@pytest.mark.parametrize(
    "tables",
    [
        {"emit": {"choose": "stratified", "num_negatives": 8}},
        {"emit": {"choose": "random"}, "filter": {"rule": "none", "ranks": [20, 50]}},
        {"emit": {"choose": "stratified", "format": "distillation", "num_negatives": 16}},
    ],
    ids=["stratified", "random", "distillation"],
)
def test_a_set_that_is_easy_on_purpose_is_not_told_to_be_harder(tmp_path: Path, tables: dict[str, Any]) -> None:
    folder = several_positives(tmp_path, 60)
    run(config_for(folder, **{"retrieve": {"top_k": 50}} | tables))
    found = report(folder / "out")
    assert found["hardness"] < 0.4
    reasons = {reason["number"]: reason["change"] for reason in found["conclusion"]["reasons"]}
    assert "hardness" not in reasons
    assert "emit.choose" not in " ".join(reasons.values())
