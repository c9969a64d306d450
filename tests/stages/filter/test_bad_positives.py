"""Suspected bad positives: listed in full, and kept, left out or weighted down by emit, never silently."""

import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.config.emit import FormatName
from hnmine.config.filter import AnchorName
from hnmine.pipeline.run import RunOptions
from hnmine.stages.emit.chosen import read_chosen
from tests.pipeline.helpers import by_vectors, doc_ids, emitted, plane, report, rows, table
from tests.support import config_for, make_collection, tree

OVERWRITE = RunOptions(overwrite=True)
EXTRA = ["query_id", "positive_id", "negative_id", "positive_weight"]
FILTER = {"rule": "margin", "margin": 0.01, "max_positive_similarity": None, "max_query_similarity": None}

# q0 at 0 degrees has a good positive (10) and a bad one (85); q1 at 180 has a bad one only (30); q2 at 90 is fine
DOCUMENTS = plane(10, 85, *range(30, 71, 5), 95, 120, 150, 180, 210, 240, 270)
QUERIES = plane(0, 180, 90)
POSITIVES = [[0, 1], [2], [1, 11]]
COUNTS = ("positives_left_out", "queries_left_out", "positives_down_weighted")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    run(settings(folder, "out"))
    return folder


def settings(base: Path, out: str, **tables: Any) -> Any:
    rules = {**FILTER, **tables.pop("filter", {})}
    emit = {"extra_columns": EXTRA, **tables.pop("emit", {})}
    tables = {"retrieve": {"max_top_k": 1}, **tables}
    return by_vectors(base, DOCUMENTS, QUERIES, POSITIVES, out=out, filter=rules, emit=emit, **tables)


def mine(base: Path, out: str, **tables: Any) -> Path:
    run(settings(base, out, **tables))
    return base / out


def counts(out: Path) -> dict[str, int]:
    found = report(out)["counts"]["emit"]
    return {name: found[name] for name in COUNTS}


def pairs(out: Path) -> set[tuple[str, str]]:
    return {(row["query_id"], row["positive_id"]) for row in emitted(out)}


def test_standings_are_stored_and_the_suspected_listed_in_full(base: Path) -> None:
    out, names = base / "out", doc_ids(base / "out")
    expected = []
    for row in rows(out / "filter"):
        others = [s for d, s in zip(row["doc_rows"], row["scores"], strict=True) if d not in row["positive_rows"]]
        shares = [np.float32(sum(s < own for s in others) / len(others)) for own in row["positive_scores"]]
        assert row["positive_standing"] == shares
        for document, score, share in zip(row["positive_rows"], row["positive_scores"], shares, strict=True):
            if share < 0.5:
                expected.append(
                    {"query_id": row["query_id"], "doc_id": names[document], "score": score, "standing": share}
                )
    expected.sort(key=lambda row: (row["standing"], row["score"]))
    assert {(row["query_id"], row["doc_id"]) for row in expected} == {("q0", "d1"), ("q1", "d2")}
    assert pq.read_table(out / "report/bad_positives.parquet").to_pylist() == expected
    found = report(out)["suspected_bad_positives"]
    assert found["worst"] == expected
    assert (found["count"], found["share"], found["quantile"]) == (2, 2 / 5, 0.5)


def test_by_default_they_have_rows_as_any_other(base: Path) -> None:
    assert ("q0", "d0") in pairs(base / "out")
    assert counts(base / "out") == dict.fromkeys(COUNTS, 0)
    assert report(base / "out")["suspected_bad_positives"]["treatment"] == "keep"
    assert {key: set(found) for key, found in weights(base / "out").items()} == {
        ("q0", "d0"): {1.0}, ("q0", "d1"): {float(np.float32(0.2))}, ("q2", "d1"): {1.0}, ("q2", "d11"): {1.0},
    }  # fmt: skip


def weights(out: Path) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {}
    for row in emitted(out):
        found.setdefault((row["query_id"], row["positive_id"]), []).append(row["positive_weight"])
    return found


WAYS = [("triplet", anchor) for anchor in get_args(AnchorName)]
WAYS += [(name, "each") for name in get_args(FormatName) if name not in ("triplet", "bge")]


@pytest.mark.parametrize(("name", "anchor"), WAYS)
def test_left_out_positives_have_no_rows_and_the_others_the_same_as_ever(base: Path, name: str, anchor: str) -> None:
    rules = {"rule": "none", "anchor": anchor}
    tables = {"filter": rules, "emit": {"format": name, "num_negatives": 2}}
    all_rows = mine(base, f"all-{name}-{anchor}", **tables)
    tables["emit"] = {**tables["emit"], "bad_positives": "leave_out"}
    out = mine(base, f"left-{name}-{anchor}", **tables)
    bad = {("q0", "d1"), ("q1", "d2")}
    assert pairs(all_rows) == {("q0", "d0"), ("q2", "d1"), ("q2", "d11")} | bad
    assert emitted(out) == [r for r in emitted(all_rows) if (r["query_id"], r["positive_id"]) not in bad]
    assert counts(out) == {"positives_left_out": 2, "queries_left_out": 1, "positives_down_weighted": 0}


def test_what_is_left_out_counts_nowhere_as_short_and_its_query_as_uncovered(base: Path) -> None:
    tables = {"filter": {"rule": "none"}, "emit": {"num_negatives": 2, "bad_positives": "leave_out"}}
    out = mine(base, "counted", **tables)
    found = report(out)
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["fill"] == 1
    assert found["shortage"] == {
        "examples": 3, "examples_full": 3, "examples_short": 0, "examples_without_negatives": 0,
        "examples_filled_up": 0, "negatives_filled_up": 0, "negatives_random": 0,
    }  # fmt: skip
    suspected = found["suspected_bad_positives"]
    assert (suspected["treatment"], suspected["left_out"], suspected["queries_left_out"]) == ("leave_out", 2, 1)
    by_query = {row["query_id"]: row for row in rows(out / "report/queries")}
    assert by_query["q0"]["chosen"] == 2
    assert by_query["q0"]["capacity"] == pytest.approx(np.log(3))
    assert (by_query["q1"]["chosen"], by_query["q1"]["eci"], by_query["q1"]["capacity"]) == (0, 0, 0)
    assert by_query["q1"]["hardness"] is None
    chosen = read_chosen(out / "emit").to_pylist()
    assert [(row["query_row"], row["anchor"], row["wanted"], len(row["positions"])) for row in chosen] == [
        (0, 0, 2, 2), (0, 1, 0, 0), (1, 0, 0, 0), (2, 0, 2, 2), (2, 1, 2, 2),
    ]  # fmt: skip
    card = (out / "emit/README.md").read_text()
    assert "| suspected positives left out | 2 |" in card
    assert "| queries left without a positive as a result | 1 |" in card


def test_a_left_out_positive_uses_up_no_documents_cap(base: Path) -> None:
    emit = {"num_negatives": 10, "max_per_document": 1}
    tables = {"filter": {"rule": "none"}, "emit": emit}
    both = mine(base, "cap-all", **tables)
    tables["emit"] = {**emit, "bad_positives": "leave_out"}
    left = mine(base, "cap-left", **tables)
    served = {row["negative_id"] for row in emitted(left) if row["query_id"] == "q2"}
    before = {row["negative_id"] for row in emitted(both) if row["query_id"] == "q2"}
    assert before < served


def test_weights_fall_with_the_standing(base: Path) -> None:
    tables = {"filter": {"rule": "none"}, "emit": {"bad_positives": "down_weight"}}
    out = mine(base, "down", **tables)
    standing = {(r["query_id"], r["doc_id"]): r["standing"] for r in report(out)["suspected_bad_positives"]["worst"]}
    found = weights(out)
    assert len(found) == 5
    for key, values in found.items():
        assert values == [pytest.approx(min(1, standing.get(key, 1) / 0.5))] * len(values)
    assert min(found[key][0] for key in standing) < 1
    assert counts(out) == {"positives_left_out": 0, "queries_left_out": 0, "positives_down_weighted": 2}


@pytest.mark.parametrize(("quantile", "count"), [(0.0, 0), (0.5, 2), (1.0, 5)])
def test_the_quantile_decides_who_is_suspected(base: Path, quantile: float, count: int) -> None:
    tables = {"filter": {"rule": "none", "bad_positive_quantile": quantile}, "emit": {"bad_positives": "leave_out"}}
    out = mine(base, f"quantile-{quantile}", **tables)
    found = report(out)["suspected_bad_positives"]
    assert found["count"] == found["left_out"]
    assert found["count"] <= count
    assert (found["count"] == 0) == (quantile == 0)


def test_everything_may_be_left_out(base: Path) -> None:
    far = plane(10, 20, 30, 170)
    config = by_vectors(
        base / "none", far, plane(0), [[3]], filter={"rule": "none"}, emit={"bad_positives": "leave_out"}
    )
    run(config)
    out = base / "none/out"
    assert emitted(out) == []
    assert report(out)["coverage"] == 0
    assert report(out)["fill"] == 0
    assert report(out)["eci"] == 0


def test_shards_and_workers_change_nothing(tmp_path: Path) -> None:
    make_collection(tmp_path, 120, 300)
    tables = {"emit": {"extra_columns": EXTRA, "bad_positives": "leave_out"}, "filter": {"bad_positive_quantile": 1.0}}
    run(config_for(tmp_path, "one", shard_rows=512, **tables))
    run(config_for(tmp_path, "two", shard_rows=256, **tables))
    assert report(tmp_path / "one")["suspected_bad_positives"]["left_out"] > 3
    assert report(tmp_path / "one") == report(tmp_path / "two")
    assert table(tmp_path / "one/emit").equals(table(tmp_path / "two/emit"))
    lists = [pq.read_table(tmp_path / name / "report/bad_positives.parquet") for name in ("one", "two")]
    assert lists[0].equals(lists[1])
    assert lists[0].schema.field("standing").type == pa.float32()
    shutil.copytree(tmp_path / "two", tmp_path / "again")
    for name in ("emit", "report"):
        shutil.rmtree(tmp_path / "again" / name)
    run(config_for(tmp_path, "again", shard_rows=256, workers=2, **tables), ["emit", "report"])
    assert tree(tmp_path / "again") == tree(tmp_path / "two")


def test_another_treatment_needs_no_other_filter(base: Path) -> None:
    config = settings(base, "next", emit={"bad_positives": "leave_out"})
    results = run(config, options=RunOptions(source=base / "out"))
    assert [result.stage for result in results if result.ran] == ["emit", "report"]


def labelled(folder: Path, wrong: int, **tables: Any) -> Path:
    """Mine 100 queries near one document each, `wrong` of them labelled with a random document instead."""
    draw = np.random.default_rng(5)
    documents = draw.normal(size=(300, 16)).astype(np.float32)
    queries = documents[:100] + 0.5 * draw.normal(size=(100, 16)).astype(np.float32)
    positives = [[i + 150 if i < wrong else i] for i in range(100)]
    run(by_vectors(folder, documents, queries, positives, retrieve={"top_k": 50}, **tables), options=OVERWRITE)
    return folder / "out"


def bad_positives_are_a_flaw(out: Path) -> bool:
    return "suspected bad positives" in [reason["number"] for reason in report(out)["conclusion"]["reasons"]]


@pytest.mark.parametrize(("wrong", "flaw"), [(0, False), (10, True), (20, True), (30, True)])
def test_wrong_labels_are_a_flaw_and_right_ones_are_not(tmp_path: Path, wrong: int, flaw: bool) -> None:
    out = labelled(tmp_path, wrong)
    found = report(out)["suspected_bad_positives"]
    assert 0.7 * wrong <= found["count"] <= wrong
    assert found["untreated_share"] == found["share"] == found["count"] / 100
    assert bad_positives_are_a_flaw(out) == flaw


@pytest.mark.parametrize("treatment", ["leave_out", "down_weight"])
def test_the_flaw_clears_once_they_are_treated(tmp_path: Path, treatment: str) -> None:
    out = labelled(tmp_path, 20, emit={"bad_positives": treatment, "extra_columns": EXTRA})
    assert report(out)["suspected_bad_positives"]["count"] > 10
    assert report(out)["suspected_bad_positives"]["untreated_share"] == 0
    assert not bad_positives_are_a_flaw(out)


def test_a_low_standing_alone_is_not_suspected(tmp_path: Path) -> None:
    """Most candidates outscore the positive at 60 degrees, but it is far above what random documents reach."""
    documents = plane(60, *range(10, 50, 4), *range(100, 260, 4))
    run(by_vectors(tmp_path, documents, plane(0), [[0]], filter={"rule": "none"}))
    (row,) = rows(tmp_path / "out/filter")
    assert row["positive_standing"][0] < 0.5
    assert report(tmp_path / "out")["suspected_bad_positives"]["count"] == 0
