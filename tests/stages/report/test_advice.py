"""Each suggestion of a report, applied to the config and run, improves the number that it is for."""

from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from hnmine.config.file import load_config
from hnmine.config.section import toml_value
from hnmine.pipeline.run import RunOptions, run
from hnmine.stages.report.advice import LEAST, suggestions
from hnmine.stages.report.changes import candidates
from hnmine.stages.report.false_negatives import outcome
from hnmine.stages.report.headline import NUMBERS, OTHER_NUMBERS, conclude
from tests.pipeline.helpers import by_vectors, plane, report
from tests.stages.filter.test_bad_positives import labelled
from tests.stages.report.html.test_page import several_positives
from tests.support import config_for

LIMITS = {number.name: number for number in NUMBERS} | OTHER_NUMBERS
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("false_negative_rate", {"filter": {"rule": "none"}}),
    "strict": ("hardness", {"filter": {"rule": "percent", "percent": 0.4}}),
    "two-sided": ("coverage", {"filter": {"rule": "two_sided", "two_sided": -3.0}}),
    "ranks": ("hardness", {"filter": {"rule": "none", "ranks": [30, 40]}}),
    "last": ("fill", {"filter": {"rule": "none", "ranks": [49, 50]}}),
    "many": ("hardness", {"filter": {"rule": "percent"}, "emit": {"num_negatives": 40}}),
    "filled up": (
        "sources.random.share",
        {"filter": {"rule": "none", "ranks": [2, 4]}, "emit": {"num_negatives": 10, "fallback": "random"}},
    ),
    "loose": ("false_negative_rate", {"filter": {"rule": "percent", "percent": 1.0}}),
    "cap": ("fill", {"emit": {"max_per_document": 1}}),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = several_positives(tmp_path_factory.mktemp("advice"), 60)
    run(config_for(folder, "source", retrieve={"top_k": 50}), ["ingest", "embed", "index", "retrieve"])
    return folder


def mine(base: Path, out: str, tables: dict[str, Any], change: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a config, with a change given as `--set` takes it, and return the report."""
    tables = {"retrieve": {"top_k": 50}} | tables
    raw = config_for(base, out, **tables).model_dump(mode="json", exclude_unset=True)
    lines = [f"{key} = {toml_value(value)}" for key, value in raw.items() if not isinstance(value, dict)]
    for name, table in raw.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    path = base / f"{out}.toml"
    path.write_text("\n".join(lines) + "\n")
    settings = [f"{key}={toml_value(value)}" for key, value in (change or {}).items()]
    run(load_config(path, settings), options=RunOptions(source=base / "source"))
    return report(base / out)


def value_of(found: dict[str, Any], path: str) -> float:
    value: float = reduce(getitem, path.split("."), found)  # type: ignore[arg-type]
    return value


@pytest.mark.parametrize("case", CASES)
def test_each_suggestion_does_what_it_says(base: Path, case: str) -> None:
    wrong, tables = CASES[case]
    before = mine(base, case, tables)
    suggested = [one for reason in before["conclusion"]["reasons"] for one in reason.get("suggestions", [])]
    assert wrong in {one["number"] for one in suggested}
    for number, one in enumerate(suggested):
        after, path = mine(base, f"{case}-{number}", tables, one["settings"]), one["number"]
        assert value_of(before, path) == pytest.approx(one["before"], abs=0.01 if case == "filled up" else 1e-6)
        sign = 1 if LIMITS[path].low_is_bad else -1
        assert sign * (value_of(after, path) - value_of(before, path)) >= LEAST
        assert value_of(after, path) == pytest.approx(one["after"], abs=0.02)
        crossed = {r["number"] for r in conclude(after)["reasons"]} - {r["number"] for r in conclude(before)["reasons"]}
        assert not crossed - {"difference in length", "difference in shared words", "warning"}
        named = next(r for r in before["conclusion"]["reasons"] if one in r.get("suggestions", []))
        assert all(f"{key} = {toml_value(value)}" in named["change"] for key, value in one["settings"].items())


@pytest.mark.parametrize("number", [*LIMITS, "no number"])
def test_no_change_sets_what_auto_ignores_or_what_holds(tmp_path: Path, number: str) -> None:
    several_positives(tmp_path, 4)
    ignored = {"filter.percent", "filter.easiest", "filter.margin", "filter.adaptive", "filter.two_sided"}
    auto = config_for(tmp_path, filter={"rule": "auto"}, emit={"choose": "top"})
    for change in candidates(number, auto):
        assert ignored.isdisjoint(change) or change["filter.rule"] == ["percent", "calibrated"]
    for tables in (t for _, t in CASES.values()):
        config = config_for(tmp_path, **({"retrieve": {"top_k": 50}} | tables))
        for change in candidates(number, config):
            assert any(getattr(getattr(config, k.split(".")[0]), k.split(".")[1]) != v for k, v in change.items())


class Made:
    """Trials with made numbers."""

    def __init__(self, config: Any, rates: dict[str, float]) -> None:
        self.config, self.rates = config, rates

    def numbers(self, change: dict[str, Any]) -> dict[str, float]:
        return {"false_negative_rate": self.rates[str(change)]}

    def number(self, change: dict[str, Any], name: str) -> float:
        return self.numbers(change)[name]


def test_a_setting_is_within_a_tolerated_rate_if_it_keeps_to_that_and_not_to_the_usual_limit(tmp_path: Path) -> None:
    several_positives(tmp_path, 4)
    config = config_for(tmp_path, filter={"rule": "calibrated", "max_false_negative_rate": 0.02})
    lower, other = {"filter.max_false_negative_rate": 0.01}, {"filter.rule": "auto"}
    trials: Any = Made(config, {"{}": 0.05, str(lower): 0.035, str(other): 0.015})
    found = suggestions("false_negative_rate", trials, [lower, other])
    assert [(one.change, one.within) for one in found] == [(other, True)]
    found = suggestions("false_negative_rate", trials, [lower])
    assert [(one.change, one.within) for one in found] == [(lower, False)]


def test_the_rate_is_measured_only_of_changes_that_improve_a_number(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[dict[str, Any]] = []

    def counted(*args: Any, **kwargs: Any) -> dict[str, Any]:
        measured.append(outcome(*args, **kwargs))
        return measured[-1]

    monkeypatch.setattr("hnmine.stages.report.trials.outcome", counted)
    found = mine(base, "measured", {"filter": {"rule": "percent", "percent": 0.9, "ranks": [30, 40]}})
    conclusion = found["conclusion"]["reasons"]
    settings = {reason["number"]: reason["tried"]["settings"] for reason in conclusion if "tried" in reason}
    assert settings["hardness"] > 0
    assert 0 < len(measured) <= max(settings.values())


def test_where_no_setting_helps_the_report_says_so(tmp_path: Path) -> None:
    """Every candidate is much nearer to the query than its positive is."""
    documents, queries = plane(88, *range(1, 40)), plane(0)
    run(by_vectors(tmp_path, documents, queries, [[0]], filter={"rule": "none", "max_query_similarity": None}))
    reasons = {reason["number"]: reason for reason in report(tmp_path / "out")["conclusion"]["reasons"]}
    safety = reasons["safety"]
    assert safety["suggestions"] == []
    assert safety["change"] == (
        f"none of {safety['tried']['settings']} settings that were tried improves it and keeps the others within their "
        "limits"
    )


@pytest.mark.parametrize(("far", "named"), [(20, True), (0, False)])
def test_a_deeper_search_is_named_only_where_the_corpus_has_more(tmp_path: Path, far: int, named: bool) -> None:
    """The twelve nearest documents are near-copies of the positive; with `far` there are others beyond the list."""
    documents = plane(0, *(number / 3 for number in range(1, 13)), *range(200, 200 + far))
    run(by_vectors(tmp_path, documents, plane(40), [[0]], filter={"rule": "none"}, retrieve={"top_k": 10}))
    found = report(tmp_path / "out")["conclusion"]["reasons"]
    (text,) = [reason["change"] for reason in found if reason["number"] == "coverage"]
    assert ("retrieve.top_k = 20 (not tried: 1 of 1 rows" in text) == named, text


def test_suspected_positives_may_be_left_out_or_weighted_down(tmp_path: Path) -> None:
    before = report(labelled(tmp_path, 20))
    (reason,) = [one for one in before["conclusion"]["reasons"] if one["number"] == "suspected bad positives"]
    ways = {one["settings"]["emit.bad_positives"] for one in reason["suggestions"]}
    assert "down_weight" in ways
    for one in reason["suggestions"]:
        emit = {key.removeprefix("emit."): value for key, value in one["settings"].items()}
        after = report(labelled(tmp_path, 20, emit=emit))
        for found, value in ((before, one["before"]), (after, one["after"])):
            assert found["suspected_bad_positives"]["untreated_share"] == value
        assert after["coverage"] >= min(0.95, before["coverage"] - LEAST)
