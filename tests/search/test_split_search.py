"""Exact search in parts of the corpus: the same candidates, whatever the parts, the sources, or a kill on the way."""

import json
import signal
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine import run
from hnmine.arrays.topk import NOTHING, merge, pack, unpack, within
from hnmine.commands.plan.plan import make_plan
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, OutputError
from hnmine.search import search_plan, split_search
from hnmine.search.dense_search import ExactSearch
from hnmine.search.split_search import FOLDER, children, even_spans, tree_levels
from hnmine.stages.retrieve import candidate_search
from tests import oracles
from tests.pipeline.forkserver import ForkServer, fork_server
from tests.pipeline.helpers import by_vectors, table
from tests.pipeline.test_resume import kill_at
from tests.strategies import grid
from tests.support import config_for, make_collection, tree, write_jsonl

DOCUMENTS, QUERIES, TOP_K = 700, 530, 7
SEARCH = ["ingest", "embed", "index", "retrieve"]
SHORT = {"kind": "dense", "name": "short", "top_k": 4, "teacher": {"model": "hash", "max_length": 8}}
DENSE, BM25 = {"kind": "dense"}, {"kind": "bm25", "stem": False}
WHERE = [{"field": "lang"}, {"field": "number", "must": "before"}]
WAYS: dict[str, dict[str, Any]] = {
    "a teacher": {"retrieve": {"top_k": TOP_K}},
    "conditions": {"retrieve": {"top_k": TOP_K, "where": WHERE}},
    "several teachers": {"retrieve": {"top_k": TOP_K, "source": [SHORT, BM25, DENSE], "where": WHERE[:1]}},
    "no plain teacher": {"retrieve": {"top_k": TOP_K, "fuse": "rrf", "source": [BM25, SHORT]}},
    "words alone": {"retrieve": {"top_k": TOP_K, "source": [BM25]}},
    "some documents embedded": {
        "embed": {"model": "hash", "documents": "candidates", "sample": 20},
        "retrieve": {"top_k": TOP_K, "background": 16, "source": [BM25, DENSE, SHORT], "where": WHERE[:1]},
    },
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("splits"), DOCUMENTS, QUERIES)
    for side in ("corpus", "queries"):
        lines = [json.loads(line) for line in (folder / f"{side}.jsonl").read_text().splitlines()]
        more = [{"lang": ("en", "de", "fr")[n % 3], "number": n * 7 % 100} for n in range(len(lines))]
        write_jsonl(folder / f"{side}.jsonl", [{**line, **own} for line, own in zip(lines, more, strict=True)])
    return folder


def config(base: Path, out: str, splits: int = 1, **tables: Any) -> Config:
    return config_for(base, out, **{"shard_rows": 256, "index": {"splits": splits}, **tables})


def test_parts_are_merged_in_an_object_store_too(base: Path, whole: Path) -> None:
    stored = config(base, "memory://hnmine-splits/run", 3)
    run(stored, SEARCH)
    found = [path.read_bytes() for path in sorted((stored.out_folder / "retrieve").glob("part-*.parquet"))]
    assert found == [path.read_bytes() for path in sorted((whole / "retrieve").glob("part-*.parquet"))]
    assert not list((stored.out_folder / "retrieve" / FOLDER).rglob("*"))


@pytest.fixture(scope="module")
def whole(base: Path) -> Path:
    run(config(base, "whole"))
    return base / "whole"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every search of a part."""
    calls: list[int] = []

    class Counted(ExactSearch):
        def search(self, *args: Any) -> np.ndarray:
            calls.append(self.corpus.first)  # type: ignore[attr-defined]
            return super().search(*args)

    monkeypatch.setattr(split_search, "ExactSearch", Counted)
    return calls


def stop_at(module: ModuleType, function: str, mining: Config) -> None:
    """Run until a function is called, which fails."""

    def fail(*args: Any) -> Any:
        raise OutputError("the disk is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, function, fail)
        with pytest.raises(OutputError, match="the disk is gone"):
            run(mining)


@pytest.mark.parametrize("way", WAYS)
def test_parts_of_the_corpus_give_the_same_bytes(base: Path, way: str) -> None:
    name = way.replace(" ", "-")
    run(config(base, name, **WAYS[way]), SEARCH)
    for splits in (2, 9) if way == "a teacher" else (3,):
        run(config(base, f"{name}-{splits}", splits, **WAYS[way]), SEARCH)
        assert tree(base / f"{name}-{splits}") == tree(base / name), splits
    assert len(table(base / name / "retrieve")) == QUERIES


def of_vectors(folder: Path, **tables: Any) -> Config:
    """Return a config of vectors that are not normalised and tie often; some queries have more positives than top_k."""
    draw = np.random.default_rng(5)
    documents = draw.integers(-2, 3, (600, 3)).astype(np.float32)
    queries = draw.integers(-3, 4, (300, 3)).astype(np.float32) * draw.choice([0.5, 1.0, 3.0], (300, 1))
    counts = np.where(np.arange(300) % 50 == 0, 30, draw.integers(1, 5, 300))
    positives = [draw.choice(600, count, replace=False).tolist() for count in counts]
    settings = {"embed": {"similarity": "dot"}, "shard_rows": 256, "retrieve": {"top_k": TOP_K}}
    return by_vectors(folder, documents, queries.astype(np.float32), positives, **{**settings, **tables})


@pytest.mark.parametrize(
    "more",
    [
        {"index": {"splits": 2}},
        {"index": {"splits": 5}, "memory": "0"},
        {"index": {"splits": 8, "device": "cpu"}},
        pytest.param({"index": {"splits": 70}}, marks=pytest.mark.slow),
        pytest.param({"index": {"splits": 3}, "workers": 2}, marks=pytest.mark.slow),
    ],
    ids=["two", "no cache", "torch", "three levels", "two workers"],
)
def test_ties_and_many_positives_come_out_the_same(tmp_path: Path, more: dict[str, Any]) -> None:
    run(of_vectors(tmp_path), SEARCH)
    expected = tree(tmp_path / "out")
    scores = table(tmp_path / "out/retrieve").column("scores").to_pylist()
    assert sum(len(set(own)) < len(own) for own in scores) > 250, "hardly any ties"
    run(of_vectors(tmp_path, out="parts", **more), SEARCH)
    assert tree(tmp_path / "parts") == expected


def test_more_parts_than_documents_are_one_a_document(tmp_path: Path) -> None:
    make_collection(tmp_path, 12, 5)
    run(config(tmp_path, "one"), SEARCH)
    run(config(tmp_path, "many", 40), SEARCH)
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


def test_every_stage_after_it_and_finished_runs_are_the_same(base: Path, whole: Path) -> None:
    run(config(base, "all", 4))
    assert tree(base / "all") == tree(whole)
    assert not any(result.ran for result in run(config(base, "all", 1)))
    assert not any(result.ran for result in run(config(base, "all", 7)))


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_approximate_index_cannot_be_split(base: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"index\.splits: only exact search .* '{kind}'"):
        config(base, "out", index={"kind": kind, "splits": 2})
    assert config(base, "out", index={"kind": kind, "splits": 1})


def test_auto_that_takes_an_index_is_refused_before_and_after_it_is_built(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_plan, "cheaper_kind", lambda *sizes: ("ivf", "auto: it may pay"))
    monkeypatch.setattr(search_plan, "speedup", lambda *sizes: 9.0)
    refused = r'index\.kind = "auto" takes ivf here.*set index\.kind = "flat"'
    with pytest.raises(ConfigError, match=refused):
        run(config(base, "auto", 2), SEARCH)
    assert not list((base / "auto/index").glob("index.*"))
    run(config(base, "auto", 1), ["index"])
    with pytest.raises(ConfigError, match=refused):
        run(config(base, "auto", 2), SEARCH)
    assert any("index.splits" in line and "flat" in line for line in make_plan(config(base, "auto", 2))["warnings"])
    assert not any("index.splits" in line for line in make_plan(config(base, "auto", 1))["warnings"])


def test_plan_counts_the_files_of_the_parts(base: Path) -> None:
    one, four = (make_plan(config(base, "planned", splits)) for splits in (1, 4))
    works = [next(s["work"] for s in plan["stages"] if s["stage"] == "retrieve") for plan in (one, four)]
    assert works[1] == f"{works[0]}, in 4 parts of the corpus"
    assert four["disk_bytes"] - one["disk_bytes"] == 5 * 8 * QUERIES * 10


def test_what_was_found_before_a_stop_is_not_searched_again(
    base: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch)
    stop_at(split_search, "_merged", config(base, "stopped", 4))
    assert calls == [start for start in (0, 175, 350, 525) for _ in range(3)], "part by part"
    run(config(base, "stopped", 4))
    assert len(calls) == 12
    assert tree(base / "stopped") == tree(whole)


@pytest.mark.parametrize("after", [1, 2, 5])
def test_another_number_of_parts_goes_on_from_what_is_merged(
    base: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    calls, out = counted(monkeypatch), f"changed-{after}"
    stop_at(candidate_search, "_retrieve", config(base, out, 9))
    left = [path.relative_to(base / out / "retrieve").as_posix() for path in (base / out / "retrieve").rglob("part-*")]
    assert sorted(left) == [f"{FOLDER}/0/0-{DOCUMENTS}/part-0000{n}.parquet" for n in range(3)], "merged files are gone"
    assert len(calls) == 27
    run(config(base, out, after))
    assert len(calls) == 27, "the best of the whole are the same, however it was cut"
    assert tree(base / out) == tree(whole)


def test_files_of_another_number_of_parts_go(base: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(split_search, "_merged", config(base, "fewer", 9))
    calls = counted(monkeypatch)
    stop_at(split_search, "_merged", config(base, "fewer", 2))
    assert {path.name for path in (base / "fewer/retrieve" / FOLDER / "0").iterdir()} == {"0-350", "350-700"}
    assert len(calls) == 6
    run(config(base, "fewer", 1))
    assert tree(base / "fewer") == tree(whole)


def test_one_lost_shard_is_searched_alone(base: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(config(base, "lost", 3))
    (base / "lost/retrieve/_manifest.json").unlink()
    (base / "lost/retrieve/part-00001.parquet").unlink()
    calls = counted(monkeypatch)
    run(config(base, "lost", 3))
    assert len(calls) == 3
    assert tree(base / "lost") == tree(whole)


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[ForkServer]:
    if sys.platform != "linux":
        pytest.skip("looks for the processes of a run in /proc")
    with fork_server(base / "log") as found:
        yield found


@pytest.mark.parametrize(
    ("at", "workers"),
    [
        ("0/0-77/part-00000.parquet", 1),
        ("0/311-388/part-00002.parquet", 1),
        pytest.param("0/622-700/part-00001.parquet", 2, marks=pytest.mark.slow),
        ("0/0-311/part-00001.parquet", 1),
        ("0/0-700/part-00000.parquet", 1),
        pytest.param("../part-00000.parquet", 2, marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_and_run_again_gives_the_same_bytes(
    base: Path, whole: Path, server: ForkServer, at: str, workers: int
) -> None:
    out = f"killed-{at[2:9].replace('/', '-')}"

    def settings(count: int) -> dict[str, Any]:
        made = config(base, out, 9, workers=count)
        return made.model_dump(mode="json", by_alias=True, exclude_unset=True)

    child = server.start(base, **settings(workers))
    kill_at(child, base / out / "retrieve" / FOLDER / at, 0.0, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    server.finish(base, **settings(1))
    assert tree(base / out) == tree(whole)


@st.composite
def any_cut(draw, rows):
    """Consecutive spans over rows, of any sizes, none empty."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, rows - 1)), max_size=9)) - {rows})
    return list(zip([0, *cuts], [*cuts, rows], strict=True))


def rows_of(spans):
    return [row for first, last in spans for row in range(first, last)]


@given(st.integers(1, 300), st.integers(1, 40))
def test_spans_hold_every_row_once_in_order_and_are_even(rows, parts):
    spans = even_spans(rows, parts)
    assert len(spans) == min(rows, parts)
    assert rows_of(spans) == list(range(rows))
    sizes = {last - first for first, last in spans}
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 200).flatmap(any_cut), st.integers(2, 9))
def test_a_tree_has_the_whole_on_top_and_each_node_is_its_children(leaves, fan_in):
    levels = tree_levels(leaves, fan_in)
    assert levels[0] == leaves
    assert levels[-1] == [(0, leaves[-1][1])]
    for below, above in pairwise(levels):
        assert rows_of(below) == rows_of(above)
        assert sum(len(children(parent, below)) for parent in above) == len(below)
        for parent in above:
            mine = children(parent, below)
            assert rows_of(mine) == rows_of([parent])
            assert len(mine) <= fan_in
            assert len(mine) > 1 or fan_in == 2
    lowest = 0
    while fan_in**lowest < len(leaves):
        lowest += 1
    assert len(levels) == lowest + 1


@given(
    st.lists(st.lists(grid, min_size=24, max_size=24), min_size=1, max_size=4),
    any_cut(24),
    st.integers(2, 9),
    st.lists(st.integers(1, 30), min_size=4, max_size=4),
)
def test_any_cut_merged_in_any_tree_is_one_sort_of_the_whole(scores, leaves, fan_in, depths):
    """Each query has a depth of its own, and what lies below it is cut off at every node."""
    depths = np.array(depths[: len(scores)])
    values = np.array(scores, dtype=np.float32)

    def cut(keys):
        return np.where(within(keys, depths), keys, NOTHING)

    found = {}
    for first, last in leaves:
        keys = np.sort(
            pack(values[:, first:last], np.broadcast_to(np.arange(first, last), (len(scores), last - first)))
        )
        found[first, last] = cut(keys)
    levels = tree_levels(leaves, fan_in)
    for below, above in pairwise(levels):
        for parent in above:
            running = np.zeros((len(scores), 0), dtype=np.uint64)
            for child in children(parent, below):
                running = cut(merge(running, found[child], int(depths.max())))
            found[parent] = running
    whole = found[levels[-1][0]]
    for query, own in enumerate(scores):
        _, rows = unpack(whole[query][whole[query] != NOTHING])
        assert rows.tolist() == oracles.topk(own, depths[query])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.data())
def test_within_is_a_double_loop(lengths, data):
    width = max(lengths)
    depths = data.draw(st.lists(st.integers(0, 8), min_size=len(lengths), max_size=len(lengths)))
    keys = np.full((len(lengths), width), NOTHING, dtype=np.uint64)
    for query, length in enumerate(lengths):
        keys[query, :length] = np.arange(length)
    expected = [[p < n and p < d for p in range(width)] for n, d in zip(lengths, depths, strict=True)]
    assert within(keys, np.array(depths)).tolist() == expected


def test_more_parts_than_rows_are_one_a_row_and_no_rows_are_one_empty_span():
    assert even_spans(3, 9) == [(0, 1), (1, 2), (2, 3)]
    assert even_spans(0, 4) == [(0, 0)]


def test_a_tree_of_nine_has_no_node_of_one_child():
    assert tree_levels(even_spans(90, 9), 8) == [
        [(i, i + 10) for i in range(0, 90, 10)],
        [(0, 40), (40, 90)],
        [(0, 90)],
    ]


@pytest.mark.parametrize(("leaves", "fan_in"), [([], 2), ([(0, 3)], 1)])
def test_no_leaf_or_no_fan_is_refused(leaves, fan_in):
    with pytest.raises(ValueError, match="fan-in"):
        tree_levels(leaves, fan_in)


def test_no_part_is_refused():
    with pytest.raises(ValueError, match="0 parts"):
        even_spans(3, 0)
