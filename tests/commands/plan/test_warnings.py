"""A plan warns of a setting of [filter] exactly where changing it changes nothing that the rules see."""

from pathlib import Path

import pytest

from hnmine.commands.plan.warnings import warnings_of
from hnmine.config.auto import resolve_auto
from hnmine.config.filter import FilterConfig
from tests.support import config_for

OTHER = {
    "percent": 0.5, "easiest": 0.4, "margin": 0.3, "adaptive": 0.2, "two_sided": 2.0, "guide_margin": 0.1,
    "multi_similarity": 0.2,
}  # fmt: skip


def warned(tmp_path: Path, **tables: object) -> str:
    return " ".join(warnings_of(config_for(tmp_path, **tables), 1000, "flat"))


@pytest.mark.parametrize("name", ["percent", "easiest"])
def test_auto_takes_its_own_percent_and_easiest_and_says_so(tmp_path: Path, name: str) -> None:
    assert resolve_auto(FilterConfig(rule="auto", **{name: OTHER[name]})) == resolve_auto(FilterConfig(rule="auto"))
    found = warned(tmp_path, filter={"rule": "auto", name: OTHER[name]})
    assert f"filter.{name} is set, but filter.rule is 'auto', which always takes" in found


def test_auto_looks_at_the_rate_to_tolerate_and_is_not_warned_of_it(tmp_path: Path) -> None:
    rated = FilterConfig(rule="auto", max_false_negative_rate=0.01)
    assert resolve_auto(rated) != resolve_auto(FilterConfig(rule="auto"))
    assert "max_false_negative_rate" not in warned(tmp_path, filter={"rule": "auto", "max_false_negative_rate": 0.01})


@pytest.mark.parametrize(
    ("rule", "used"),
    [
        ("percent", ["percent", "easiest"]), ("margin", ["margin", "easiest"]), ("adaptive", ["adaptive", "easiest"]),
        ("two_sided", ["two_sided"]), ("calibrated", []), ("multi_similarity", ["multi_similarity"]),
        (["percent", "two_sided"], ["percent", "easiest", "two_sided"]),
    ],
    ids=str,
)  # fmt: skip
def test_each_rule_is_warned_of_the_settings_of_the_others(tmp_path: Path, rule: str, used: list[str]) -> None:
    found = warned(tmp_path, filter={"rule": rule, **OTHER})
    assert {name for name in OTHER if f"filter.{name} is set" in found} == OTHER.keys() - set(used)


def test_multi_similarity_without_a_rule_against_false_negatives_is_named(tmp_path: Path) -> None:
    assert "keeps likely false ones" in warned(tmp_path, filter={"rule": "multi_similarity"})
    assert "keeps likely false ones" not in warned(tmp_path, filter={"rule": ["multi_similarity", "percent"]})


def test_more_strata_than_negatives_are_named(tmp_path: Path) -> None:
    emit = {"choose": "stratified", "num_negatives": 5}
    found = warned(tmp_path, emit=emit | {"strata": 8})
    assert "emit.strata is 8, but 5 negatives are wanted, so there are 5 strata" in found
    assert "strata" not in warned(tmp_path, emit=emit) + warned(tmp_path, emit=emit | {"strata": 5})


def test_batches_look_at_two_sided_under_any_rule(tmp_path: Path) -> None:
    assert "two_sided" not in warned(tmp_path, filter={"rule": "percent", "two_sided": 1.0}, emit={"batch_size": 8})


def test_a_quantile_without_the_anchor_that_takes_it_is_named(tmp_path: Path) -> None:
    assert "filter.anchor_quantile is set" in warned(tmp_path, filter={"anchor_quantile": 0.1})
    assert "anchor_quantile" not in warned(tmp_path, filter={"anchor": "quantile", "anchor_quantile": 0.1})


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ({"filter": {"rule": "none"}}, "filter.rule is 'none'"),
        ({"filter": {"ranks": [1, 50]}}, "filter.ranks ends within top_k"),
        ({"retrieve": {"source": [{"kind": "dense"}, {"kind": "bm25"}]}}, "retrieve.source is given"),
        ({"rescore": {"model": "hash"}, "filter": {"score": "rescored"}}, "filter.score is 'rescored'"),
    ],
)
def test_a_bound_of_a_deeper_search_that_there_is_not_is_named(
    tmp_path: Path, tables: dict[str, dict[str, object]], why: str
) -> None:
    deep = {"top_k": 100, "max_top_k": 500}
    given = tables | {"retrieve": tables.get("retrieve", {}) | deep}
    assert f"retrieve.max_top_k is set, but {why} and does not use it" in warned(tmp_path, **given)
    assert "max_top_k" not in warned(tmp_path, **(given | {"retrieve": given["retrieve"] | {"max_top_k": 100}}))
    assert "max_top_k" not in warned(tmp_path, filter={"rule": "percent"}, retrieve=deep)


def test_a_random_share_that_the_automatic_choice_overrides_is_named(tmp_path: Path) -> None:
    name, rule = "emit.random_share is set, but emit.choose is 'auto'", {"rule": "auto"}
    share = {"random_share": 0.7, "num_negatives": 5}
    assert name in warned(tmp_path, filter=rule, emit=share)
    assert name not in warned(tmp_path, filter=rule, emit={**share, "choose": "mixed"})
    assert name not in warned(tmp_path, filter=rule, emit={"num_negatives": 5})


def test_settings_of_another_way_of_rescoring_are_named(tmp_path: Path) -> None:
    rescore = {"model": "hash", "top_n": 5, "pairs": 3}
    top = warned(tmp_path, rescore=rescore, filter={"check_percentile": 0.2})
    assert "rescore.pairs is set, but rescore.spend is 'top' and does not use it" in top
    assert "filter.check_percentile is set, but filter.score is 'teacher' and does not use it" in top
    assert "rescore.top_n" not in top
    doubtful = warned(
        tmp_path, rescore=rescore | {"spend": "doubtful"}, filter={"score": "checked", "check_percentile": 0.2}
    )
    assert "rescore.top_n is set, but rescore.spend is 'doubtful' and does not use it" in doubtful
    assert "rescore.pairs" not in doubtful
    assert "check_percentile" not in doubtful


def test_too_few_pairs_for_the_negatives_wanted_are_named(tmp_path: Path) -> None:
    checked = {"filter": {"score": "checked"}, "emit": {"num_negatives": 9, "choose": "top"}}
    for pairs in (8, 9):
        found = warned(tmp_path, rescore={"model": "hash", "spend": "doubtful", "pairs": pairs}, **checked)
        assert ("rescore.pairs is 8, and 9 negatives are wanted" in found) == (pairs == 8)


def test_a_corpus_no_larger_than_the_lists_has_no_random_negatives(tmp_path: Path) -> None:
    line = "retrieve.top_k = 1000, but there are only 1,000 documents"
    assert f"{line}; all are candidates, so there are no random negatives" in warned(
        tmp_path, retrieve={"top_k": 1000}, filter={"rule": "auto"}, emit={"num_negatives": 5}
    )
    without = warned(tmp_path, retrieve={"top_k": 1000}, filter={"rule": "percent"})
    assert line in without
    assert "random" not in without
