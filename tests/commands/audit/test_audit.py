"""A clean file has no fault, and each planted one is found, by its name and in its number, and no other."""

import gzip
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine.commands.audit.audit import Request, audit
from hnmine.science.statistics import cohens_d
from hnmine.stages.report.limits import report_numbers
from tests.commands.audit import made


def run(path: Path, **means: Any) -> dict[str, Any]:
    report = audit(Request((str(path),), **{"model": "hash", **means}))
    made.dump(report)
    return report


def faults(report: dict[str, Any]) -> set[str]:
    found = {name for name, entry in report["findings"].items() if entry["fault"]}
    assert report["faults"] == len(found)
    return found


@pytest.mark.parametrize("shape", made.WRITERS)
def test_a_clean_file_has_no_fault(tmp_path: Path, shape: str) -> None:
    report = run(made.WRITERS[shape](made.clean(), tmp_path / "mined"))
    assert faults(report) == set()
    needs = {"positive_by_qrels", "negatives_at_or_above_positive", "scores_not_finite", "scores_contradict_model"}
    assert {name for name, entry in report["findings"].items() if entry["count"] is None} == needs
    counted = {name for name, entry in report["findings"].items() if entry["count"]}
    assert counted <= {"length_bias", "overlap_bias", "random_padding"}
    assert report["findings"]["random_padding"]["share"] < 0.02
    assert report["shape"] == shape
    assert report["counts"] == {
        "rows": made.QUERIES * (1 if shape == "bge" else made.NEGATIVES), "examples": made.QUERIES,
        "queries": made.QUERIES, "positives": made.QUERIES, "negatives": made.QUERIES * made.NEGATIVES,
        "documents": made.QUERIES * (1 + made.NEGATIVES), "usual_negatives": made.NEGATIVES,
    }  # fmt: skip


def test_every_shape_gives_the_same_numbers(tmp_path: Path) -> None:
    reports = [run(write(made.clean(), tmp_path / "mined")) for write in made.WRITERS.values()]
    for name in ("coverage", "capacity", "hardness", "safety", "eci", "distributions", "biases", "hubs"):
        assert reports[0][name] == reports[1][name] == reports[2][name], name
    assert reports[0]["capacity"] == pytest.approx(math.log(1 + made.NEGATIVES))
    assert 0.2 < reports[0]["hardness"] < 0.9


@pytest.mark.parametrize("shape", ["bge", "triplet"])
@pytest.mark.parametrize("name", made.PLANTED)
def test_a_planted_fault_is_found_and_no_other(tmp_path: Path, name: str, shape: str) -> None:
    rows = made.clean()
    count = made.PLANTED[name](rows)
    report = run(made.WRITERS[shape](rows, tmp_path / "mined"))
    assert faults(report) == {name}
    entry = report["findings"][name]
    if name in ("random_padding", "model_at_or_above_positive"):  # words drawn by chance decide some
        assert 0.8 * count < entry["count"] < 1.3 * count
    elif count:
        assert entry["count"] == count
        assert len(entry["examples"]) == min(count, 10)


def test_an_example_says_where_it_stands(tmp_path: Path) -> None:
    rows = made.clean()
    made.positive_as_negative(rows)
    (shown,) = run(made.as_bge(rows, tmp_path / "mined"))["findings"]["positive_as_negative"]["examples"]
    assert shown["row"] == 4
    assert shown["query"] == rows[3]["query"]
    assert shown["negative"] == shown["positive"] == rows[3]["pos"][0]
    (shown,) = run(made.as_triplets(rows, tmp_path / "mined"))["findings"]["positive_as_negative"]["examples"]
    assert shown["row"] == 3 * made.NEGATIVES + 2


@pytest.mark.parametrize("shape", made.WRITERS)
def test_duplicate_rows(tmp_path: Path, shape: str) -> None:
    rows = made.clean()
    rows.append(rows[2])
    report = run(made.WRITERS[shape](rows, tmp_path / "mined"))
    assert faults(report) == {"duplicate_row"}
    assert report["findings"]["duplicate_row"]["count"] == (1 if shape == "bge" else made.NEGATIVES)
    assert report["counts"]["examples"] == made.QUERIES


def test_information_is_no_fault(tmp_path: Path) -> None:
    rows = made.clean()
    rows[0]["neg"][0] = rows[1]["pos"][0]
    again = {"query": rows[5]["query"], "pos": [made.positive(5)], "neg": rows[5]["neg"][:1]}
    report = run(
        made.as_bge([*rows, again | {"neg": again["neg"] + [made.negative(5) for _ in range(3)]}], tmp_path / "m")
    )
    assert faults(report) == set()
    assert report["findings"]["positive_elsewhere"]["count"] == 1
    assert report["findings"]["negative_of_other_rows"]["count"] == 1


@pytest.mark.parametrize("shape", ["bge", "triplet"])
def test_scores(tmp_path: Path, shape: str) -> None:
    write = made.WRITERS[shape]
    report = run(write(made.scored(), tmp_path / "good"))
    assert faults(report) == set()
    for name in ("scores_not_finite", "scores_contradict_model", "negatives_at_or_above_positive"):
        assert report["findings"][name]["count"] == 0
    assert report["file_scores"]["negative_score"]["mean"] == pytest.approx(
        report["distributions"]["negative_score"]["mean"], abs=1e-6
    )
    rows = made.scored()
    for place, score in enumerate((math.nan, math.inf, -math.inf)):
        rows[place]["neg_scores"][1] = score
    bad = run(write(rows, tmp_path / "bad"))
    assert faults(bad) == {"scores_not_finite"}
    assert bad["findings"]["scores_not_finite"]["count"] == 3
    assert {e["score"] for e in bad["findings"]["scores_not_finite"]["examples"]} == {"nan", "inf", "-inf"}


def test_scores_that_belong_to_another_row(tmp_path: Path) -> None:
    rows = made.scored()
    rows[7]["neg_scores"][2] -= 0.2
    report = run(made.as_bge(rows, tmp_path / "m"))
    assert faults(report) == {"scores_contradict_model"}
    assert report["findings"]["scores_contradict_model"]["count"] == 1


def test_scores_of_another_model_are_compared_by_order_alone(tmp_path: Path) -> None:
    rows = made.scored()
    for row in rows:
        row["pos_scores"] = [10 * s + 1 for s in row["pos_scores"]]
        row["neg_scores"] = [10 * s + 1 for s in row["neg_scores"]]
    report = run(made.as_bge(rows, tmp_path / "m"))
    assert report["findings"]["scores_contradict_model"]["count"] == 0
    for row in rows:
        row["pos_scores"] = [-s for s in row["pos_scores"]]
        row["neg_scores"] = [-s for s in row["neg_scores"]]
    report = run(made.as_bge(rows, tmp_path / "m"))
    assert faults(report) == {"scores_contradict_model", "negatives_at_or_above_positive"}
    assert report["findings"]["scores_contradict_model"]["count"] == made.QUERIES * made.NEGATIVES


def test_negatives_that_the_files_scores_put_above_the_positive(tmp_path: Path) -> None:
    rows = made.scored()
    for row in rows:
        row["neg_scores"][:2] = row["pos_scores"] * 2
    half = run(made.as_bge(rows, tmp_path / "half"), model=None)
    assert half["findings"]["negatives_at_or_above_positive"]["share"] == 0.5
    assert faults(half) == set()
    rows[0]["neg_scores"][2] = rows[0]["pos_scores"][0]
    more = run(made.as_bge(rows, tmp_path / "more"), model=None)
    assert faults(more) == {"negatives_at_or_above_positive"}
    assert more["findings"]["negatives_at_or_above_positive"]["count"] == 2 * made.QUERIES + 1


def test_qrels_know_false_negatives_that_the_file_does_not(tmp_path: Path) -> None:
    known = [(row["query"], row["pos"][0]) for row in made.CLEAN]
    labels = made.write_labels(tmp_path, [*known, (made.CLEAN[3]["query"], made.CLEAN[3]["neg"][2])])
    report = run(made.as_bge(made.clean(), tmp_path / "m"), **labels)
    assert faults(report) == {"positive_by_qrels"}
    assert report["findings"]["positive_by_qrels"]["count"] == 1
    assert report["collection"] == {"documents_in_corpus": 400, "queries_in_qrels": 80}
    assert report["warnings"] == [w for w in report["warnings"] if "hash" in w]
    strange = [{**row, "query": f"else {row['query']}", "neg": [f"else {t}" for t in row["neg"]]} for row in made.CLEAN]
    report = run(made.as_bge(strange, tmp_path / "m"), model=None, **labels)
    assert [w.partition(":")[0] for w in report["warnings"]] == [
        "only 80 of 400 documents are in the corpus", "only 0 of 80 queries are in the qrels",
    ]  # fmt: skip


@pytest.mark.parametrize("header", [True, False])
def test_triples_of_ids(tmp_path: Path, header: bool) -> None:
    labels = made.write_labels(tmp_path, [(row["query"], row["pos"][0]) for row in made.CLEAN])
    step = made.NEGATIVES + 1
    lines = [f"q{i}\td{i * step}\td{i * step + 1 + k}" for i in range(made.QUERIES) for k in range(made.NEGATIVES)]
    path = tmp_path / "ids.tsv"
    path.write_text("\n".join((["query_id\tpositive_id\tnegative_id"] if header else []) + lines) + "\n")
    report = run(path, **labels)
    assert report["ids"]
    texts = run(made.as_bge(made.clean(), tmp_path / "m"), **labels)
    for name in ("eci", "hardness", "safety", "distributions", "biases"):
        assert report[name] == texts[name]


def test_without_a_model_nothing_is_scored(tmp_path: Path) -> None:
    report = run(made.as_bge(made.clean(), tmp_path / "m"), model=None)
    assert report["eci"] is report["hardness"] is None
    assert "--model" in report["eci_reason"]
    assert report["findings"]["random_padding"]["reason"] == "no model was given"
    assert report["capacity"] == pytest.approx(math.log(5))


def test_folders_globs_and_compressed_files(tmp_path: Path) -> None:
    rows, folder = made.clean(), tmp_path / "all"
    folder.mkdir()
    made.as_bge(rows[:30], folder / "a")
    second = made.as_bge(rows[30:], folder / "b")
    with gzip.open(folder / "b.jsonl.gz", "wb") as packed, second.open("rb") as plain:
        shutil.copyfileobj(plain, packed)
    second.unlink()
    whole = run(made.as_bge(rows, tmp_path / "whole"))
    for given in (folder, f"{folder}/*", f"file://{folder}"):
        report = audit(Request((str(given),), model="hash"))
        assert [entry["rows"] for entry in report["files"]] == [30, 50]
        assert report_numbers(report) == report_numbers(whole)


def test_biases_are_cohens_d_of_negatives_against_positives(tmp_path: Path) -> None:
    rows = made.clean()
    made.length_bias(rows)
    report = run(made.as_bge(rows, tmp_path / "m"), model=None)
    lengths = [[math.log1p(len(text)) for row in rows for text in row[side]] for side in ("neg", "pos")]
    expected = cohens_d(*map(np.array, lengths))
    entry = report["findings"]["length_bias"]
    assert report["biases"]["length"]["effect"] == entry["effect"] == pytest.approx(expected)
    assert entry["effect"] > entry["limit"] == 0.8
    assert 0 < entry["share"] <= 1
