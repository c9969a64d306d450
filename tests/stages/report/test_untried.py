"""Advice that is not tried: settings that exist, named where they can help and nowhere else."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hnmine.config.checks import contradictions
from hnmine.pipeline.run import run
from hnmine.stages.report.changes import changed
from hnmine.stages.report.headline import ALL_NUMBERS, RATE
from hnmine.stages.report.untried import list_end, untried
from tests.pipeline.helpers import report
from tests.stages.report.html.test_page import several_positives
from tests.stages.report.test_changes import CASES, CROSS, WORDS, of_case
from tests.support import config_for


@pytest.mark.parametrize("case", CASES)
def test_weights_are_named_where_false_negatives_are_many_and_a_loss_can_take_them(tmp_path: Path, case: str) -> None:
    config = of_case(tmp_path, case)
    assert not [text for path in ALL_NUMBERS for text in untried(path, config) if path != RATE]
    texts = list(untried(RATE, config))
    weights = [text for text in texts if '"weight"' in text]
    has = "weight" in config.emit.extra_columns
    rejected_by_it = config.filter.rule == "auto" or "calibrated" in config.filter.rules
    assert len(weights) == (not has and not rejected_by_it and config.emit.formats != ["distillation"])
    assert [("filter.probabilities" in text) for text in weights] == [
        not config.filter.gives_probabilities for _ in weights
    ]
    assert any("hnmine judge" in text for text in texts) == (config.judge.model is not None)
    assert any("filter.score" in text for text in texts) == (config.filter.score == "hub_normalised")
    for text in texts:
        given = re.sub(r", (?=\w+\.\w+ = )", "\n", text.split(" (not tried")[0])
        tables = {} if given.startswith("`") else tomllib.loads(given)
        change = {f"{table}.{key}": value for table, own in tables.items() for key, value in own.items()}
        assert not list(contradictions(changed(config, change)))


def test_a_report_with_many_false_negatives_names_weights(tmp_path: Path) -> None:
    several_positives(tmp_path, 60)
    run(config_for(tmp_path, filter={"rule": "none"}, retrieve={"top_k": 50}))
    changes = {reason["number"]: reason["change"] for reason in report(tmp_path / "out")["conclusion"]["reasons"]}
    assert 'filter.probabilities = true, emit.extra_columns = ["weight"] (not tried' in changes[RATE]


DEEP, WIDE = {"kind": "dense", "top_k": 7}, {"kind": "bm25", "top_k": 9}


@pytest.mark.parametrize(
    ("tables", "setting", "limit"),
    [
        ({}, "retrieve.max_top_k", 1000),
        ({"filter": {"rule": "none"}}, "retrieve.top_k", 10),
        ({"retrieve": {"max_top_k": 5}}, "retrieve.top_k", 10),
        ({"retrieve": {"source": WORDS}}, "retrieve.top_k", 10),
        ({"retrieve": {"source": WORDS, "fuse": "rrf"}}, "retrieve.top_k", 10),
        ({"retrieve": {"source": WORDS, "fuse": "quota", "quota": 4}}, "retrieve.quota", 4),
        ({"retrieve": {"source": [DEEP, {"kind": "bm25"}]}}, "retrieve.top_k", 10),
        ({"retrieve": {"source": [DEEP, WIDE]}}, "top_k of [[retrieve.source]]", 9),
        ({"rescore": CROSS | {"top_n": 5}, "filter": {"score": "rescored"}}, "rescore.top_n", 5),
        ({"rescore": CROSS | {"top_n": 50}, "filter": {"score": "rescored"}}, "retrieve.top_k", 10),
        ({"filter": {"rule": "percent", "ranks": [20, 2000]}, "retrieve": {"top_k": 50}}, "retrieve.max_top_k", 1000),
    ],
)
def test_the_setting_that_ends_the_lists_is_named(
    tmp_path: Path, tables: dict[str, Any], setting: str, limit: int
) -> None:
    end = list_end(config_for(tmp_path, **tables))
    assert end is not None
    assert (end.setting, end.limit) == (setting, limit)


@pytest.mark.parametrize(
    "filter_",
    [
        {"rule": "none", "ranks": [2, 10]}, {"rule": "percent", "ranks": [2, 30]},
        {"rule": ["percent", "multi_similarity"]}, {"rule": "absolute", "min_score": 0.3},
    ],
)  # fmt: skip
def test_longer_lists_are_not_named_where_all_further_down_is_rejected(tmp_path: Path, filter_: dict[str, Any]) -> None:
    assert list_end(config_for(tmp_path, filter=filter_)) is None
