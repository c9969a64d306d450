import json

import pytest

from hnmine.commands.export_judgements import ExportOptions, export_judgements
from hnmine.config.file import load_config
from hnmine.errors import ConfigError, GateFailed
from hnmine.pipeline.run import RunOptions, run
from hnmine.stages.report.limits import check_limits, check_names, parse_limits, report_numbers
from hnmine.stages.report.number_names import number_names
from hnmine.storage.store import read_json
from tests.support import ROOT, config_for, make_collection, write_jsonl

SOURCES = [{"kind": "dense"}, {"kind": "bm25", "name": "words"}]
WAYS = {
    "plain": {},
    "batches": {"emit": {"batch_size": 4, "format": ["triplet", "n-tuple", "distillation"], "mixing": 2}},
    "sources": {"retrieve": {"source": SOURCES}},
    "rescore": {
        "rescore": {"model": "hash", "spend": "doubtful"},
        "filter": {"score": "checked", "check_percentile": 0.9},
    },
    "candidates": {"embed": {"documents": "candidates"}, "retrieve": {"source": [{"kind": "bm25"}]}},
    "previous": {"previous": {"run": "plain", "replace": "easy"}},
    "relabel": {"filter": {"rule": "auto"}, "emit": {"relabel": 0.6}},
    "hubs": {"filter": {"rule": "margin", "score": "hub_normalised"}},
    "order and weights": {
        "filter": {"rule": "auto"},
        "emit": {"order": "easy_to_hard", "extra_columns": ["focal_weight", "cluster_weight"]},
    },
    "evaluation": {"input": {"eval_qrels": "eval.tsv"}},
    "judge": {"input": {"judgements": "judge.jsonl"}},
}
NOT_IN_THESE_RUNS = (
    "timings.report", "counts.embed.int8_agreement.", "counts.embed.bfloat16_agreement.",
    "counts.emit.examples_unbatched",
    "hidden_positives.margin_95.calibration_error",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """For each way, the names that its config gives, and the names of its report's numbers."""
    base = make_collection(tmp_path_factory.mktemp("names"))
    (base / "eval.tsv").write_text("query_id\tdoc_id\trelevance\nq3\td3\t1\n")
    said = {"judge": "m", "template": "grades", "request": "r", "judgement": "relevant"}
    write_jsonl(base / "judge.jsonl", [{"query_id": "q0", "doc_id": "d9", **said}])
    configs = {name: config_for(base, name, **way) for name, way in WAYS.items()}
    sample = ROOT / "sample_data/hnmine.toml"
    settings = ("embed.model=hash", "embed.query_prompt=''", "report.html=false")
    configs["sample"] = load_config(sample, settings, base / "sample")
    judged = base / "judged.jsonl"
    configs["judged sample"] = load_config(sample, (*settings, f"report.judged_sample={judged}"), base / "sample")
    further = ("filter.rule=calibrated", "emit.relabel=0.6", f"report.judged_sample={judged}")
    configs["sample of another set"] = load_config(sample, (*settings, *further), base / "another")
    found = {}
    for name, config in configs.items():
        if name == "judged sample":
            export_judgements(configs["sample"], judged, ExportOptions(100, sample=True))
            lines = [json.loads(line) for line in judged.read_text().splitlines()]
            told = [line | {"judgement": place % 7 == 0} for place, line in enumerate(lines)]
            write_jsonl(judged, [*told, *(line | {"judge": "second"} for line in told[:50])])
        run(config, options=RunOptions(overwrite=True))
        numbers = report_numbers(read_json(config.out_folder / "report/report.json"))
        found[name] = number_names(config), {one for one in numbers if not one.endswith("warning")}
    return found


@pytest.mark.parametrize("way", [*WAYS, "sample", "judged sample", "sample of another set"])
def test_every_number_of_a_report_can_have_a_limit(made, way):
    names, numbers = made[way]
    assert numbers <= names


def test_every_name_is_that_of_a_number_of_some_report(made):
    names = set.union(*(one for one, _ in made.values()))
    unseen = names - set.union(*(one for _, one in made.values()))
    assert {
        one
        for one in unseen
        if not one.startswith(NOT_IN_THESE_RUNS) and "verdicts." not in one and not one.endswith("previous.score")
    } == set()


def test_names_that_no_report_has_are_refused_all_at_once(tmp_path):
    names = number_names(config_for(tmp_path))
    for wrong in (
        "ecii",
        "verdicts",
        "conclusion.level",
        "sources.words.share",
        "batches.count",
        "",
        "eci.",
        "warnings",
    ):
        assert wrong not in names
    with pytest.raises(ConfigError) as raised:
        check_names({"--fail-under": ["ecii", "eci"], "report.fail_over": ["xyz"]}, names)
    assert str(raised.value).splitlines() == [
        "--fail-under ecii: no such number in the report; did you mean eci?",
        "report.fail_over xyz: no such number in the report; the numbers of a finished run's report.json have names",
    ]


def test_a_number_that_was_not_measured_is_beyond_its_limit():
    report = {"hidden_positives": {"reason": "too few"}, "eci": 1.0}
    with pytest.raises(
        GateFailed, match=r"hidden_positives.this_filter.rate could not be measured \(too few\), limit 0.1"
    ):
        check_limits(report, {}, {"hidden_positives.this_filter.rate": 0.1}, {"hidden_positives.this_filter.rate"})


@pytest.mark.parametrize("text", ["eci", "eci=", "eci=high", "eci=nan", "eci=inf", "=1"])
def test_a_limit_is_a_name_and_a_finite_number(text):
    with pytest.raises(ConfigError, match="write it as NAME=NUMBER"):
        parse_limits([text], "--fail-under")
