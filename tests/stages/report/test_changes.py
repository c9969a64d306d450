"""Changes that the report tries: settings that exist and are accepted, and none against docs/mining.md."""

from pathlib import Path
from typing import Any

import pytest

from hnmine.config.checks import contradictions
from hnmine.config.tables import Config
from hnmine.stages.report.changes import candidates, changed, setting
from hnmine.stages.report.headline import ALL_NUMBERS
from tests.support import config_for

WORDS = [{"kind": "dense"}, {"kind": "bm25"}]
CROSS = {"model": "hash"}
CASES: dict[str, dict[str, Any]] = {
    "auto": {"filter": {"rule": "auto"}, "emit": {"num_negatives": 5}},
    "auto, one negative": {"filter": {"rule": "auto"}, "emit": {"num_negatives": 1}},
    "none": {"filter": {"rule": "none"}},
    "unfiltered by score": {"filter": {"rule": "absolute", "min_score": 0.2, "max_score": 0.5}},
    "margin": {"filter": {"rule": ["margin", "absolute"], "max_score": 0.9, "easiest": 0.3}},
    "two-sided, calibrated": {"filter": {"rule": ["two_sided", "calibrated"], "max_false_negative_rate": 0.15}},
    "adaptive": {"filter": {"rule": "adaptive", "anchor": "min", "max_positive_similarity": 0.8}},
    "guide": {"guide": {"model": "hash", "query_prompt": "q"}, "filter": {"rule": ["percent", "guide"]}},
    "guide alone": {"guide": {"model": "hash", "query_prompt": "q"}, "filter": {"rule": "guide", "guide_margin": 0.1}},
    "multi_similarity": {"filter": {"rule": "multi_similarity"}},
    "multi_similarity beside percent": {"filter": {"rule": ["percent", "multi_similarity"]}},
    "ranks": {"filter": {"rule": "percent", "ranks": [3, 8]}},
    "random in a window": {"filter": {"rule": "none", "ranks": [2, 9]}, "emit": {"choose": "random"}},
    "simans": {"emit": {"choose": "simans"}},
    "stratified": {"emit": {"choose": "stratified", "num_negatives": 8}},
    "distillation": {"emit": {"choose": "stratified", "format": "distillation", "num_negatives": 8}},
    "all kept, distilled": {"filter": {"rule": "none"}, "emit": {"format": "distillation", "num_negatives": 10}},
    "diverse": {"emit": {"choose": "diverse", "diversity": 0.5}},
    "mixed": {"emit": {"choose": "mixed", "random_share": 0.4, "num_negatives": 5}},
    "random documents": {"emit": {"choose": "mixed", "random_share": 1.0}},
    "filled up": {"emit": {"fallback": "random", "format": "n-tuple"}},
    "order and weights": {
        "filter": {"probabilities": True},
        "emit": {
            "format": "n-tuple", "order": "easy_to_hard", "extra_columns": ["weight", "focal_weight", "cluster_weight"],
        },
    },
    "soft labels": {"filter": {"rule": "calibrated"}, "emit": {"format": "labeled-pair", "soft_labels": True}},
    "relabelled": {"filter": {"rule": "auto"}, "emit": {"relabel": 0.9, "batch_size": 4}},
    "mixing": {"emit": {"num_negatives": 40, "mixing": 4, "max_per_document": 3}, "retrieve": {"top_k": 60}},
    "sources": {"retrieve": {"source": WORDS}, "emit": {"ensemble": "intra"}},
    "rescored": {"rescore": CROSS, "filter": {"score": "rescored", "rule": "auto"}},
    "checked": {"rescore": CROSS | {"spend": "doubtful"}, "filter": {"score": "checked", "check_percentile": 0.3}},
    "hub-normalised": {"filter": {"score": "hub_normalised", "rule": "two_sided"}},
    "judged": {"judge": {"model": "http://localhost:1/v1"}, "filter": {"judged_negatives": "keep"}},
    "bad positives": {"emit": {"bad_positives": "down_weight", "extra_columns": ["positive_weight"]}},
}  # fmt: skip
DELIBERATE = ("emit.choose", "emit.order", "emit.format", "emit.ensemble", "emit.fallback", "filter.score")


def of_case(folder: Path, case: str) -> Config:
    return config_for(folder, **CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_accepted_and_undoes_nothing_that_is_meant(tmp_path: Path, case: str) -> None:
    config = of_case(tmp_path, case)
    for change in (change for number in ALL_NUMBERS for change in candidates(number, config)):
        new = changed(config, change)
        assert not list(contradictions(new)), change
        assert any(setting(new, key) != setting(config, key) for key in change), change
        for key in DELIBERATE:
            assert setting(new, key) == setting(config, key), change
        if "guide" in config.filter.rules and "filter.rule" in change:
            assert "guide" in new.filter.rules


@pytest.mark.parametrize("case", CASES)
def test_no_change_is_one_that_the_docs_advise_against(tmp_path: Path, case: str) -> None:
    config = of_case(tmp_path, case)
    for number, change in ((name, change) for name in ALL_NUMBERS for change in candidates(name, config)):
        rules = change.get("filter.rule", "auto")
        assert {"none", "multi_similarity"}.isdisjoint([rules] if isinstance(rules, str) else rules)
        assert change.get("filter.max_positive_similarity", 0.95) in (0.95, 0.98)
        assert change.get("filter.max_query_similarity", 0.98) == 0.98
        rate = change.get("filter.max_false_negative_rate", 0.0)
        assert rate <= max(0.1, config.filter.max_false_negative_rate or 0.0)
        if "filter.percent" in change and config.filter.score == "hub_normalised":
            assert "percent" in config.filter.rules
        if number == "hardness":
            assert change.get("emit.num_negatives", 5) >= 5
            assert "emit.random_share" not in change or "filter.rule" in change  # then it stays what auto makes it


def test_fewer_negatives_fill_only_shapes_that_leave_short_examples_out(tmp_path: Path) -> None:
    fewer = {
        name: [
            one
            for one in candidates("fill", config_for(tmp_path, emit={"format": name}))
            if "emit.num_negatives" in one
        ]
        for name in ("triplet", "n-tuple", "distillation")
    }
    assert [bool(found) for found in fewer.values()] == [False, True, False]


def test_a_rule_that_is_left_out_leaves_others(tmp_path: Path) -> None:
    both = config_for(tmp_path, filter={"rule": ["percent", "multi_similarity"]})
    alone = config_for(tmp_path, filter={"rule": "multi_similarity"})
    for number in ("fill", "false_negative_rate"):
        rules = [[one.get("filter.rule") for one in candidates(number, config)] for config in (both, alone)]
        assert "percent" in rules[0]
    assert "percent" in rules[1]  # in place of multi_similarity, which has no rule beside it


def test_hub_normalised_scores_get_a_margin_and_no_share_of_the_score(tmp_path: Path) -> None:
    named = [one.get("filter.rule") for one in candidates("safety", of_case(tmp_path, "hub-normalised"))]
    assert ["two_sided", "margin"] in named
    assert ["two_sided", "percent"] not in named
