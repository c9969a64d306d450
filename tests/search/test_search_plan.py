"""The choice between exact search and lists: what is chosen, its reason, and what it may not change in a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.plan.plan import make_plan
from hnmine.config.retrieve import IndexConfig
from hnmine.search import search_plan
from hnmine.search.ivf import (
    MeasuredRecall,
)
from hnmine.search.search_plan import cheaper_kind, choose_lists, speedup
from tests.pipeline.helpers import report, rows, table
from tests.support import config_for, make_collection, tree

SIZE = (1_000_000, 384)
MEASURED = MeasuredRecall(np.array([0.5, 0.97, 0.995, 1]), np.array([0.05, 0.1, 0.2, 1]), 100, 256)


def test_auto_takes_as_many_lists_as_the_recall_asked_for_takes():
    chosen = choose_lists(IndexConfig(), "auto: why", MEASURED, SIZE)
    assert (chosen["kind"], chosen["probe"], chosen["recall"]) == ("ivf", 3, 0.995)
    assert "3 of 4 lists a query, 20.0% of the documents, hold 0.9950 of the exact top 100" in chosen["reason"]
    assert choose_lists(IndexConfig(ivf_probe=2), "", MEASURED, SIZE)["probe"] == 3
    assert choose_lists(IndexConfig(min_recall=0.9), "", MEASURED, SIZE)["probe"] == 2


def test_auto_falls_back_to_exact_search_where_recall_takes_too_many_documents():
    chosen = choose_lists(IndexConfig(min_recall=0.999), "auto: why", MEASURED, SIZE)
    assert (chosen["kind"], chosen["probe"], chosen["recall"]) == ("flat", 4, 1)
    assert chosen["reason"].endswith("about 0.6 times as fast, less than 1.25: exact search it is")


def test_lists_that_are_asked_for_are_used_and_a_low_recall_is_said():
    chosen = choose_lists(IndexConfig(kind="ivf", ivf_probe=2), "asked for", MEASURED, SIZE)
    assert (chosen["kind"], chosen["probe"], chosen["recall"]) == ("ivf", 2, 0.97)
    assert chosen["reason"].endswith("less than index.min_recall = 0.99")
    assert choose_lists(IndexConfig(kind="ivf", min_recall=1), "", MEASURED, SIZE)["probe"] == 4
    assert choose_lists(IndexConfig(kind="ivf", ivf_probe=99), "", MEASURED, SIZE)["probe"] == 4


def test_without_queries_nothing_is_known_and_auto_searches_exactly():
    unknown = replace(MEASURED, recall=np.full(4, np.nan), share=np.ones(4), queries=0)
    for kind, expected in (("auto", "flat"), ("ivf", "ivf")):
        chosen = choose_lists(IndexConfig(kind=kind), "", unknown, SIZE)
        assert (chosen["kind"], chosen["recall"]) == (expected, None)


def test_lists_are_tried_where_exact_search_costs_several_times_their_making():
    assert cheaper_kind(10_000, 1_000, 384)[0] == "flat"
    assert cheaper_kind(92_000, 2_000, 384)[0] == "flat"
    assert cheaper_kind(92_000, 20_000, 384)[0] == "ivf"
    assert cheaper_kind(1_000_000, 100_000, 384)[0] == "ivf"
    assert cheaper_kind(0, 0, 384)[0] == "flat"
    reason = cheaper_kind(1_000_000, 100_000, 384)[1]
    assert reason.startswith("auto: about 1,024 s of exact search against ")


def test_lists_pay_the_more_the_larger_the_corpus_and_the_smaller_the_share():
    assert speedup(0.01, 10_000, 384) < 1
    assert speedup(0.2, 92_000, 384) == pytest.approx(1.5, abs=0.1)
    assert speedup(0.2, 92_000, 384) < speedup(0.2, 1_000_000, 384) < speedup(0.1, 1_000_000, 384)


FOUND = ("ingest", "embed", "index", "retrieve")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("lists"), 1100, 600)


def mine(base: Path, out: str, stages: Any = FOUND, **tables: Any) -> dict[str, Any]:
    results = run(config_for(base, out, **{"shard_rows": 256, **tables}), stages)
    choice: dict[str, Any] = pq.read_table(base / out / "index/choice.parquet").to_pylist()[0]
    counts = next(dict(r.counts) for r in results if r.stage == "index")
    low = choice["kind"] == "ivf" and choice["recall"] < 0.9
    assert ("less than" in counts.pop("warning", "")) == low
    assert counts == choice
    return choice


@pytest.fixture
def paying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let approximate search pay in a collection that is small enough for a test."""
    monkeypatch.setattr(search_plan, "PAYS_FROM", 0.0)
    monkeypatch.setattr(search_plan, "FASTER", 0.0)


def test_all_lists_looked_at_are_exact_search(base: Path) -> None:
    mine(base, "flat", index={"kind": "flat"})
    choice = mine(base, "all", index={"kind": "ivf", "ivf_lists": 20, "ivf_probe": 20})
    assert (choice["probe"], choice["lists"], choice["recall"], choice["share"]) == (20, 20, 1, pytest.approx(1))
    assert table(base / "all/retrieve").equals(table(base / "flat/retrieve"))


def test_auto_chooses_lists_that_find_what_is_asked_and_says_so(base: Path, paying: None) -> None:
    mine(base, "flat", index={"kind": "flat"})
    index = {"min_recall": 0.9, "recall_depth": 10, "recall_sample": 600}
    choice = mine(base, "auto", (*FOUND, "filter", "emit", "report"), index=index, report={"html": True})
    assert choice["kind"] == "ivf"
    assert 0.9 <= choice["recall"] < 1
    assert (choice["recall_depth"], choice["recall_sample"]) == (10, 600)
    assert f"hold {choice['recall']:.4f} of the exact top 10 of 600 queries" in choice["reason"]
    assert report(base / "auto")["counts"]["index"] == choice
    assert f"Approximate search: ivf ({choice['reason']})" in (base / "auto/report/report.html").read_text()
    exact = [set(row["doc_rows"]) for row in rows(base / "flat/retrieve")]
    found = [set(row["doc_rows"]) for row in rows(base / "auto/retrieve")]
    assert sum(len(a & b) for a, b in zip(exact, found, strict=True)) < sum(map(len, exact))


def test_auto_drops_lists_that_make_nothing_faster(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_plan, "PAYS_FROM", 0.0)
    choice = mine(base, "dropped", index={"min_recall": 1.0})
    assert (choice["kind"], choice["file"], choice["recall"]) == ("flat", "", 1)
    assert "exact search it is" in choice["reason"]
    assert [path.name for path in (base / "dropped/index").glob("*.npy")] == []
    mine(base, "flat", index={"kind": "flat"})
    assert table(base / "dropped/retrieve").equals(table(base / "flat/retrieve"))


def test_a_probe_that_is_asked_for_is_obeyed_and_its_recall_said(base: Path) -> None:
    choice = mine(base, "one", index={"kind": "ivf", "ivf_lists": 30, "ivf_probe": 1})
    assert (choice["kind"], choice["probe"]) == ("ivf", 1)
    assert choice["recall"] < 0.9
    assert choice["reason"].endswith("less than index.min_recall = 0.99")


@pytest.mark.slow
def test_lists_give_the_same_whatever_workers_and_shards(base: Path) -> None:
    index = {"kind": "ivf", "ivf_probe": 2}
    for name, tables in {"a": {}, "b": {"workers": 2}, "c": {"shard_rows": 512}, "d": {"memory": "0"}}.items():
        mine(base, name, index=index, **tables)
    assert tree(base / "a") == tree(base / "b") == tree(base / "d")
    for name in ("choice.parquet", "ivf.vectors.npy", "ivf.places.npy", "ivf.centroids.npy"):
        same = [(base / out / "index" / name).read_bytes() for out in ("a", "c")]
        assert name == "choice.parquet" or same[0] == same[1]
    assert table(base / "a/retrieve").equals(table(base / "c/retrieve"))


def test_a_plan_says_what_it_depends_on(base: Path, paying: None) -> None:
    plan = make_plan(config_for(base, "planned", retrieve={"top_k": 300}))
    work = next(stage["work"] for stage in plan["stages"] if stage["stage"] == "index")
    assert work.startswith("ivf (auto: about ")
    assert any("index.recall_depth is 100" in warning for warning in plan["warnings"])
    quiet = make_plan(config_for(base, "planned", retrieve={"top_k": 300}, index={"kind": "flat"}))
    assert not any("index.recall_depth" in warning for warning in quiet["warnings"])
