"""A random sample of the negatives, out to be judged and back: what is drawn, and the rate that the report gives."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine import run
from hnmine.commands.export_judgements import ExportOptions, distinct_negatives, draw_negatives, export_judgements
from hnmine.commands.judging_sample import Pairs, draw, strata_of
from hnmine.config.tables import Config
from hnmine.errors import InputError
from hnmine.pipeline.run import RunOptions
from hnmine.runtime.stage import RunContext
from hnmine.science.propensity import propensity
from hnmine.science.survey import stratified_share
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.negative_pairs import negative_pairs
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards, read_json
from tests.commands.sample_runs import sample_config, sample_truth
from tests.pipeline.helpers import emitted
from tests.support import write_jsonl

DRAW = ExportOptions(number=150, sample=True)


def config_at(out: Path, **tables: Any) -> Config:
    """Return a config of the sample collection with the hash encoder and the rule `percent`."""
    rule = {"rule": "percent", "probabilities": True}
    return sample_config(out, **{**tables, "filter": {**rule, **tables.get("filter", {})}})


@pytest.fixture(scope="module")
def truth() -> dict[str, set[str]]:
    return sample_truth()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished run, `first`."""
    folder = tmp_path_factory.mktemp("sampled")
    run(config_at(folder / "first"))
    return folder


def exported(folder: Path, options: ExportOptions = DRAW) -> list[dict[str, Any]]:
    path = folder / f"drawn-{options.number}-{options.seed}.jsonl"
    export_judgements(config_at(folder / "first"), path, options._replace(replace=True))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judged(lines: list[dict[str, Any]], truth: dict[str, set[str]]) -> list[dict[str, Any]]:
    """Return lines that are judged by truth."""
    return [line | {"judgement": line["doc_id"] in truth[line["query_id"]]} for line in lines]


@pytest.fixture(scope="module")
def filled(folder: Path, truth: dict[str, set[str]]) -> Path:
    return write_jsonl(folder / "filled.jsonl", judged(exported(folder), truth))


def report_of(out: Path, *files: Path, **tables: Any) -> dict[str, Any]:
    """Return the report of a run with files of a judged sample, overwriting an earlier report."""
    config = config_at(out, report={"judged_sample": [str(file) for file in files]}, **tables)
    run(config, options=RunOptions(overwrite=True))
    return read_json(out / "report/report.json")


def true_rate(out: Path, truth: dict[str, set[str]]) -> float:
    pairs = {(row["query_id"], row["negative_id"]) for row in emitted(out)}
    return float(np.mean([document in truth[query] for query, document in pairs]))


def test_what_is_drawn_are_emitted_negatives_with_the_probability_of_their_stratum(folder: Path) -> None:
    lines = exported(folder)
    pairs = [(line["query_id"], line["doc_id"]) for line in lines]
    emitted_pairs = {(row["query_id"], row["negative_id"]) for row in emitted(folder / "first")}
    assert len(set(pairs)) == len(pairs) == 150
    assert set(pairs) <= emitted_pairs
    sizes = {line["stratum"]: line["stratum_size"] for line in lines}
    assert sum(sizes.values()) == len(emitted_pairs)
    for stratum, size in sizes.items():
        own = [line for line in lines if line["stratum"] == stratum]
        assert {line["inclusion_probability"] for line in own} == {len(own) / size}
    risks = [np.mean([line["p_false_negative"] for line in lines if line["stratum"] == s]) for s in sorted(sizes)]
    assert risks == sorted(risks)  # the last stratum is the riskiest
    assert sum(1 / line["inclusion_probability"] for line in lines) == pytest.approx(len(emitted_pairs))
    assert exported(folder) == lines
    assert {(x["query_id"], x["doc_id"]) for x in exported(folder, DRAW._replace(seed=1))} != set(pairs)


def test_the_report_gives_the_rate_of_the_set_and_changes_no_row(
    folder: Path, filled: Path, truth: dict[str, set[str]]
) -> None:
    before = read_json(folder / "first/emit/_manifest.json")
    report = report_of(folder / "first", filled)
    assert read_json(folder / "first/emit/_manifest.json") == before
    found, lines = report["judged_sample"], [json.loads(line) for line in filled.read_text().splitlines()]
    weights = np.array([1 / line["inclusion_probability"] for line in lines])
    hits = np.array([line["judgement"] for line in lines])
    assert found["rate"] == pytest.approx(weights @ hits / weights.sum())
    assert found["interval"][0] <= true_rate(folder / "first", truth) <= found["interval"][1]
    assert found["drawn"]["rate"] == found["rate"]
    assert (found["judged"], found["relevant"], found["kappa"]) == (150, hits.sum(), None)
    own = report["hidden_positives"]["this_filter"]
    estimated = report["estimated_from_sample"]
    assert estimated["propensity"] == pytest.approx(propensity(own["rate"], found["rate"]))
    assert estimated["interval"][0] < estimated["propensity"] < estimated["interval"][1]
    assert estimated["settings"][0]["rate"] == pytest.approx(found["rate"])  # the run's own setting


def test_intervals_cover_the_truth_in_about_95_of_100_draws(folder: Path, truth: dict[str, set[str]]) -> None:
    config, covered, shares, draws = config_at(folder / "first"), 0, [], 200
    context = RunContext(config, config.out_folder)
    documents = _names(context, "corpus", "doc_id")
    queries = _names(context, "queries", "query_id")
    negatives, expected = distinct_negatives(context), true_rate(folder / "first", truth)
    pairs = zip(negatives["query"], negatives["document"], strict=True)
    false = np.array([documents[document] in truth[queries[query]] for query, document in pairs])
    assert false.mean() == pytest.approx(expected)
    for seed in range(draws):
        drawn = draw_negatives(negatives, 100, seed)
        every = np.ones(len(drawn.places), dtype=bool)
        share = stratified_share(false[drawn.places], every, drawn.strata, drawn.sizes)
        assert share is not None
        covered += share.low <= expected <= share.high
        shares.append(share.value)
    assert 0.92 <= covered / draws <= 0.99
    assert np.mean(shares) == pytest.approx(expected, abs=3 * np.std(shares) / np.sqrt(draws))


def _names(context: RunContext, table: str, column: str) -> list[str]:
    schema = CORPUS if table == "corpus" else QUERIES
    names: list[str] = Shards(context.reading("ingest") / table, schema).column(column).to_pylist()
    return names


def test_a_sample_of_another_set_gives_the_rate_of_what_both_have(folder: Path, filled: Path) -> None:
    found = report_of(folder / "other", filled, filter={"percent": 0.8})["judged_sample"]
    assert found["rate"] is None
    assert "drawn from another set" in found["reason"]
    assert 0 < found["shared"]["share"] < 1
    assert 0 < found["shared"]["judged"] < 150
    present = {(row["query_id"], row["negative_id"]) for row in emitted(folder / "other")}
    drawn = {(row["query_id"], row["negative_id"]) for row in emitted(folder / "first")}
    assert found["shared"]["share"] == pytest.approx(len(present & drawn) / len(drawn), abs=0.15)
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    both = [line for line in lines if (line["query_id"], line["doc_id"]) in present]
    weights = np.array([1 / line["inclusion_probability"] for line in both])
    assert found["shared"]["rate"] == pytest.approx(weights @ [line["judgement"] for line in both] / weights.sum())
    assert "estimated_from_sample" not in read_json(folder / "other/report/report.json")


def test_false_negatives_that_the_sample_took_out_still_count(folder: Path, filled: Path) -> None:
    config = config_at(folder / "corrected", input={"judgements": str(filled)})
    run(config)
    report = read_json(folder / "corrected/report/report.json")
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    relevant = {(line["query_id"], line["doc_id"]) for line in lines if line["judgement"]}
    assert not relevant & {(row["query_id"], row["negative_id"]) for row in emitted(folder / "corrected")}
    found = report["judged_sample"]
    assert found["rate"] is None
    assert found["shared"]["rate"] > 0
    assert found["drawn"]["rate"] == pytest.approx(found["shared"]["rate"], abs=0.02)


def test_two_judges_agree_by_kappa_and_each_counts_half(folder: Path, filled: Path) -> None:
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    twice = sorted(lines, key=lambda line: not line["judgement"])[:60]  # all relevant ones among them
    other = [line | {"judgement": line["judgement"] or not place % 10} for place, line in enumerate(twice)]
    second = write_jsonl(folder / "second.jsonl", [line | {"judge": "z"} for line in other])
    one = report_of(folder / "first", filled)["judged_sample"]
    found = report_of(folder / "first", filled, second)["judged_sample"]
    assert (found["judged"], found["judged_twice"]) == (150, 60)
    assert 0 < found["kappa"] < 1
    assert found["relevant"] == one["relevant"] + sum(
        (a["judgement"] != b["judgement"]) / 2 for a, b in zip(twice, other, strict=True)
    )


def test_lines_that_are_open_or_unsure_are_left_out_and_counted(folder: Path, filled: Path) -> None:
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    for line in lines[100:]:
        line["judgement"] = ""
    lines[0]["judgement"] = "unsure"
    partly = write_jsonl(folder / "partly.jsonl", lines)
    found = report_of(folder / "first", partly)["judged_sample"]
    assert (found["judged"], found["unsure"], found["open"]) == (99, 1, 50)
    assert found["rate"] is not None
    none = write_jsonl(folder / "none.jsonl", [line | {"judgement": None} for line in lines])
    found = report_of(folder / "first", none)["judged_sample"]
    assert found["rate"] is None
    assert "is judged yet" in found["reason"]


def test_all_that_is_wrong_with_a_file_is_said_at_once(folder: Path, filled: Path) -> None:
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    wrong = write_jsonl(
        folder / "wrong.jsonl",
        [
            lines[0] | {"stratum": "x"},
            lines[1] | {"judgement": "perhaps"},
            lines[2] | {"sample": "other-1-0"},
            lines[3],
        ],
    )
    with pytest.raises(InputError) as raised:
        report_of(folder / "first", wrong)
    message = str(raised.value)
    assert "line 1: stratum" in message
    assert "line 2: judgement" in message
    assert "lines of 2 samples" in message
    queue = folder / "queue.jsonl"
    export_judgements(config_at(folder / "first"), queue, ExportOptions(replace=True))
    with pytest.raises(InputError, match="--sample random"):
        report_of(folder / "first", queue)
    contradicting = write_jsonl(folder / "sizes.jsonl", [*lines, lines[0] | {"stratum_size": 7}])
    with pytest.raises(InputError, match="contradicts"):
        report_of(folder / "first", contradicting)


def test_lines_that_do_not_fit_together_are_all_named(folder: Path, filled: Path) -> None:
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    moved = lines[0] | {"stratum": lines[0]["stratum"] % 5 + 1}
    turned = lines[1] | {"judgement": not lines[1]["judgement"]}
    unknown = lines[2] | {"query_id": "no such query"}
    wrong = write_jsonl(folder / "unfit.jsonl", [*lines, moved, turned, unknown])
    with pytest.raises(InputError) as raised:
        report_of(folder / "first", wrong)
    message = str(raised.value)
    assert re.search(r"line 151: stratum \d of \d+ contradicts \S+ line 1, where it is stratum", message)
    assert "line 152" in message
    assert "by the same judge" in message
    assert "is no negative of query 'no such query'" in message
    small = write_jsonl(folder / "small.jsonl", [line | {"stratum_size": 3} for line in lines])
    with pytest.raises(InputError, match=r"stratum 1 has 3 pairs, and there are lines of \d+"):
        report_of(folder / "first", small)


def test_the_same_line_twice_is_one_judge(folder: Path, filled: Path) -> None:
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    twice = write_jsonl(folder / "twice.jsonl", [*lines, *lines[:20]])
    assert report_of(folder / "first", twice)["judged_sample"] == report_of(folder / "first", filled)["judged_sample"]


def test_a_sample_without_the_lines_of_a_stratum_gives_no_rate(folder: Path, filled: Path) -> None:
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    for number in (1, max(line["stratum"] for line in lines)):
        left = write_jsonl(folder / f"without-{number}.jsonl", [one for one in lines if one["stratum"] != number])
        found = report_of(folder / "first", left)["judged_sample"]
        assert found["rate"] is None
        assert "no line of some strata" in found["reason"]


def test_random_documents_are_a_stratum_of_their_own(folder: Path) -> None:
    config = config_at(folder / "mixed", emit={"choose": "mixed"})
    run(config)
    path = folder / "mixed.jsonl"
    export_judgements(config, path, ExportOptions(number=60, sample=True))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    own = [line for line in lines if line["rank"] is None]
    assert {line["stratum"] for line in own} == {max(line["stratum"] for line in lines)}
    assert all("no candidate" in line["why"] for line in own)
    assert len(own) >= 2
    query, _ = negative_pairs(read_chosen(folder / "mixed/emit"))
    assert sum({line["stratum"]: line["stratum_size"] for line in lines}.values()) == len(query)


def test_the_labelled_share_is_estimated_from_retrieved_negatives_alone(
    folder: Path, truth: dict[str, set[str]]
) -> None:
    mixed = {"choose": "mixed", "random_share": 0.6}
    out, path = folder / "random", folder / "random.jsonl"
    run(config_at(out, emit=mixed))
    export_judgements(config_at(out, emit=mixed), path, ExportOptions(number=100_000, sample=True))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    report = report_of(out, write_jsonl(folder / "all.jsonl", judged(lines, truth)), emit=mixed)
    found, retrieved = report["judged_sample"], [line for line in lines if line["rank"] is not None]
    rate = float(np.mean([line["doc_id"] in truth[line["query_id"]] for line in retrieved]))
    assert found["retrieved"]["judged"] == len(retrieved) < found["judged"]
    assert found["retrieved"]["rate"] == pytest.approx(rate)
    assert found["rate"] == pytest.approx(true_rate(out, truth))
    assert found["rate"] < rate
    own = report["hidden_positives"]["this_filter"]
    assert report["estimated_from_sample"]["propensity"] == pytest.approx(propensity(own["rate"], rate))


def test_strata_are_quantiles_and_the_first_lines_are_a_sample_of_all() -> None:
    risk = np.concatenate([np.linspace(0, 1, 103), np.full(7, np.nan)])
    strata = strata_of(risk, 200)
    assert list(np.bincount(strata)) == [21, 21, 20, 21, 20, 7]
    assert list(np.bincount(strata_of(risk, 20))) == [52, 51, 7]
    assert list(np.bincount(strata_of(risk[103:], 20))) == [7]
    pairs = Pairs(np.arange(110), np.arange(110), risk)
    found = draw(pairs, 40, 0, calibrated=True)
    assert found.numbers.sum() == len(found.places) == 40
    assert (found.strata == strata_of(risk, 40)[found.places]).all()
    assert sorted(draw(pairs, 1000, 0, calibrated=False).places) == list(range(110))
    counts = np.zeros(110)
    for seed in range(300):
        counts[draw(pairs, 40, seed, calibrated=False).places] += 1
    for stratum in range(len(found.sizes)):  # every pair of a stratum is drawn about equally often
        own = counts[strata_of(risk, 40) == stratum]
        assert own.std() < 3 * np.sqrt(own.mean())
