"""Approximate search by lists in a whole run: what is chosen, what is said of it, and what it may not change."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.plan.plan import make_plan
from hnmine.search import search_plan
from tests.pipeline.helpers import report, rows, table
from tests.support import config_for, make_collection, tree

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
@pytest.mark.timeout(120)
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
