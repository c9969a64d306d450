"""Several sources of candidates over the whole pipeline: what they find, how it is fused, and what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.bm25 import words_of
from hnmine.cli import show
from hnmine.config import Config
from hnmine.configsources import SourceConfig
from hnmine.errors import ConfigError, InputError, StaleOutput
from hnmine.explaining import explain_query
from hnmine.planning import make_plan
from hnmine.sources import prepare
from hnmine.sweeping import sweep
from tests import oracles
from tests.pipeline.helpers import doc_ids, emitted, report, rows, vectors
from tests.support import config_for, make_collection, tree

DOCUMENTS, QUERIES, DEPTH = 300, 280, 6
BM25 = {"kind": "bm25", "stem": False, "k1": 0.9, "b": 0.4}
ALL = [{"kind": "dense"}, BM25, {"kind": "run", "name": "theirs", "path": "theirs.run", "top_k": 4}]
LOOSE = {"rule": "none", "max_positive_similarity": None, "max_query_similarity": None}
COLUMNS = ["query_id", "positive_id", "negative_id", "negative_score", "rank", "source"]


def theirs(query: int) -> list[int]:
    """Return what another retriever finds: nothing for every seventh query."""
    return [] if query % 7 == 0 else [(query * 37 + step * 11) % DOCUMENTS for step in range(8)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("sources"), DOCUMENTS, QUERIES)
    lines = [
        f"q{q} Q0 d{d} {rank} {10 - rank / 2} theirs"
        for q in range(QUERIES)
        for rank, d in enumerate(theirs(q), start=1)
    ]
    (folder / "theirs.run").write_text("\n".join(lines) + "\n")
    return folder


def config(base: Path, out: str = "out", source: Any = None, **tables: Any) -> Config:
    retrieve = {"top_k": DEPTH, "source": ALL if source is None else source, **tables.pop("retrieve", {})}
    settings = {"shard_rows": 256, "filter": LOOSE, "emit": {"extra_columns": COLUMNS, "num_negatives": 4}, **tables}
    return config_for(base, out, retrieve=retrieve, **settings)


@pytest.fixture(scope="module")
def mined(base: Path) -> Path:
    run(config(base))
    return base / "out"


def expected_lists(out: Path) -> tuple[list[list[list[int]]], np.ndarray]:
    """Return each query's list in each source, cut to its depth, and the teacher's scores of all pairs."""
    scores = vectors(out, "queries") @ vectors(out, "corpus").T
    corpus, queries = rows(out / "ingest/corpus"), rows(out / "ingest/queries")
    ids = {d["doc_id"]: n for n, d in enumerate(corpus)}
    split = words_of(SourceConfig(**BM25))
    texts, found = [split(d["text"]) for d in corpus], []
    for number, query in enumerate(queries):
        words = oracles_bm25(split(query["text"]), texts)
        lists = [
            sorted(range(len(corpus)), key=lambda d, own=scores[number]: (-own[d], d)),
            sorted((d for d in range(len(corpus)) if words[d] > 0), key=lambda d, own=words: (-own[d], d)),
            [ids[f"d{d}"] for d in theirs(int(query["query_id"][1:]))],
        ]
        depths = (DEPTH, DEPTH, 4)
        found.append([oracles.down_to(x, query["positive_rows"], k) for x, k in zip(lists, depths, strict=True)])
    return found, scores


def oracles_bm25(query: list[str], texts: list[list[str]]) -> np.ndarray:
    """Return the scores in float32, summed word by word as the index holds them, so that ties are ties."""
    total = np.zeros(len(texts), dtype=np.float32)
    for word in query:
        key = (word, id(texts))
        if key not in _ONE_WORD:
            _ONE_WORD[key] = np.array(oracles.bm25([word], texts, 0.9, 0.4), dtype=np.float32)
        total += _ONE_WORD[key]
    return total


_ONE_WORD: dict[tuple[str, int], np.ndarray] = {}


def test_every_candidate_has_its_rank_in_every_source_and_the_teachers_exact_score(mined: Path) -> None:
    lists, scores = expected_lists(mined)
    alone = [0, 0, 0]
    for row, own in zip(rows(mined / "retrieve"), lists, strict=True):
        documents = row["doc_rows"]
        assert set(documents) == {d for order in own for d in order}
        assert row["scores"] == pytest.approx(scores[row["query_row"]][documents].tolist(), abs=1e-6)
        order = list(zip(row["scores"], documents, strict=True))
        assert order == sorted(order, key=lambda x: (-x[0], x[1]))
        assert row["ranks"] == list(range(1, len(documents) + 1))
        ranks = np.array(row["source_ranks"], dtype=object).reshape(-1, 3)
        for place, d in enumerate(documents):
            assert ranks[place].tolist() == [o.index(d) + 1 if d in o else None for o in own]
            assert [s is None for s in row["source_scores"][3 * place : 3 * place + 3]] == [
                r is None for r in ranks[place]
            ]
            found = [source for source in range(3) if ranks[place][source]]
            alone[found[0]] += len(found) == 1
    assert all(count > 100 for count in alone), "each source finds something that no other does"


def test_the_dense_source_finds_what_the_teacher_alone_finds(base: Path, mined: Path) -> None:
    run(config(base, "plain", source=[]))
    run(config(base, "dense", source=[{"kind": "dense"}]))
    for row, own, three in zip(*(rows(base / name / "retrieve") for name in ("plain", "dense", "out")), strict=True):
        assert row["source_ranks"] == row["source_scores"] == []
        assert own["source_ranks"] == own["ranks"]
        assert own["source_scores"] == own["scores"]
        for name in set(row) - {"source_ranks", "source_scores"}:
            assert own[name] == row[name]
        teacher = dict(zip(row["doc_rows"], row["scores"], strict=True))
        assert teacher.items() <= dict(zip(three["doc_rows"], three["scores"], strict=True)).items()
    assert not (base / "plain/retrieve/sources.parquet").exists()
    assert pq.read_table(mined / "retrieve/sources.parquet").to_pylist()[2] == {
        "name": "theirs", "kind": "run", "depth": 4,
    }  # fmt: skip


@pytest.mark.parametrize(("fuse", "quota"), [("rrf", None), ("quota", 2)])
def test_fused_lists(base: Path, mined: Path, fuse: str, quota: int | None) -> None:
    run(config(base, fuse, retrieve={"fuse": fuse, "quota": quota}))
    positives = [query["positive_rows"] for query in rows(mined / "ingest/queries")]
    for row, own, known in zip(rows(base / fuse / "retrieve"), expected_lists(mined)[0], positives, strict=True):
        if quota:
            expected = {d for order in own for d in oracles.down_to(order, known, quota)}
        else:
            fused = oracles.reciprocal_rank_fusion(own)
            best = oracles.down_to(sorted(fused, key=lambda d: (-round(fused[d], 14), d)), known, DEPTH)
            expected = {*best, *(set(fused) & set(known))}
        assert set(row["doc_rows"]) == expected


def test_training_rows_the_report_and_explain_say_which_sources_found_a_negative(
    base: Path, mined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = doc_ids(mined)
    found = {}
    for row in rows(mined / "retrieve"):
        ranks = np.array(row["source_ranks"], dtype=object).reshape(-1, 3)
        for d, own in zip(row["doc_rows"], ranks, strict=True):
            names = [name for name, rank in zip(("dense", "bm25", "theirs"), own, strict=True) if rank]
            found[row["query_id"], ids[d]] = "+".join(names)
    lines = emitted(mined)
    assert {line["source"] for line in lines} >= {"dense", "bm25", "theirs", "dense+bm25"}
    assert all(line["source"] == found[line["query_id"], line["negative_id"]] for line in lines)
    chosen = report(mined)["sources"]
    pairs = rows(mined / "emit/chosen") if (mined / "emit/chosen/part-00000.parquet").exists() else None
    assert pairs is None
    table = pq.read_table(mined / "emit/chosen/chosen.parquet")
    total = sum(len(x) for x in table.column("doc_rows").to_pylist())
    asked = table.column("query_row").to_pylist()
    said = [
        found[f"q{q}", ids[d]].split("+")
        for q, own in zip(asked, table.column("doc_rows").to_pylist(), strict=True)
        for d in own
    ]
    for name in ("dense", "bm25", "theirs"):
        count = sum(name in one for one in said)
        assert (chosen[name]["negatives"], chosen[name]["alone"]) == (count, sum(one == [name] for one in said))
        assert chosen[name]["share"] == pytest.approx(count / total)
    explained = explain_query(config(base), "q3")
    for candidate in explained["anchors"][0]["candidates"]:
        names = [name for name, rank in candidate["source_ranks"].items() if rank]
        assert "+".join(names) == found["q3", candidate["doc_id"]]
    show.explanation(explained)
    assert "theirs" in "".join(capsys.readouterr())
    assert "found by theirs" in (mined / "report/report.html").read_text()


def test_random_documents_are_said_to_be_random(base: Path) -> None:
    emit = {"extra_columns": COLUMNS, "choose": "mixed", "random_share": 0.5, "num_negatives": 4}
    run(config(base, "mixed", emit=emit))
    lines = emitted(base / "mixed")
    assert all((line["source"] == "random") == (line["rank"] is None) for line in lines)
    assert 0 < report(base / "mixed")["sources"]["bm25"]["share"] < 0.6


def test_the_same_bytes_whatever_the_shards_and_workers(base: Path, tmp_path: Path) -> None:
    where = make_collection(tmp_path, DOCUMENTS, QUERIES)
    (where / "theirs.run").write_bytes((base / "theirs.run").read_bytes())
    run(config(where, "one", shard_rows=512, filter={"rule": "auto"}))
    run(config(where, "two", workers=2, filter={"rule": "auto"}))
    for stage in ("retrieve", "filter", "emit"):
        assert rows(where / "one" / stage) == rows(where / "two" / stage)
    for path in sorted((where / "one/index").rglob("*.npy")):
        assert path.read_bytes() == (where / "two/index" / path.relative_to(where / "one/index")).read_bytes()
    assert report(where / "one") == report(where / "two")


def test_a_run_that_is_killed_goes_on_where_it_was(base: Path, mined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(base, "killed")
    calls = []

    def dies(context: Any, item: Any, tick: Any) -> pa.Table:
        calls.append(item.output.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return prepare(context, item, tick)

    import dataclasses

    from hnmine.stages import STAGES

    stage = STAGES["index"]
    steps = tuple(dataclasses.replace(s, process=dies) if s.name == "sources" else s for s in stage.steps)
    with monkeypatch.context() as patched:
        patched.setitem(STAGES, "index", dataclasses.replace(stage, steps=steps))
        with pytest.raises(KeyboardInterrupt):
            run(settings)
        assert calls == ["bm25.parquet", "theirs.parquet"]
        run(settings)
        assert calls[2:] == ["theirs.parquet"], "the index of words was done"
    assert tree(base / "killed") == tree(mined)


def test_keys_cover_the_sources_and_no_more(base: Path, mined: Path) -> None:
    assert [stage["state"] for stage in make_plan(config(base))["stages"]] == ["done"] * 7
    moved = [ALL[0], {**BM25, "b": 0.5}, ALL[2]]
    with pytest.raises(StaleOutput, match=r"index: sources.bm25.b was 0.4, now 0.5"):
        run(config(base, source=moved))
    deeper = {
        s["stage"]: s["state"] for s in make_plan(config(base, source=[*ALL[:2], {**ALL[2], "top_k": 5}]))["stages"]
    }
    assert deeper["index"] == "done"
    assert deeper["retrieve"].startswith("stale")


def test_calibration_sweep_and_the_protocol_work_on_the_union(base: Path) -> None:
    settings = config(base, "auto", filter={"rule": "auto", "max_positive_similarity": None})
    run(settings)
    found = report(base / "auto")
    assert found["hidden_positives"]["this_filter"]["false_negative_rate"] is not None
    settings_swept = sweep(settings)["settings"]
    assert len({json.dumps(row, sort_keys=True) for row in settings_swept}) > 5


def test_a_table_of_results_is_read_as_a_run_file_is(base: Path, mined: Path) -> None:
    lines = [(f"q{q}", f"d{d}", 10 - rank / 2) for q in range(QUERIES) for rank, d in enumerate(theirs(q), start=1)]
    lines.reverse()  # the order of the lines is no matter
    table = pa.table(dict(zip(("query_id", "doc_id", "score"), map(list, zip(*lines, strict=True)), strict=True)))
    pq.write_table(table, base / "theirs.parquet")
    run(config(base, "table", source=[*ALL[:2], {**ALL[2], "path": "theirs.parquet"}]))
    assert rows(base / "table/retrieve") == rows(mined / "retrieve")


def test_what_is_wrong_with_a_run_is_said_at_once(base: Path) -> None:
    (base / "bad.run").write_text(
        "q1 Q0 d1 1 2.5 x\nq1 d2 3\nnobody Q0 d1 1 2 x\nq2 Q0 nothing 1 2 x\nq3 Q0 d3 1 nan x\n"
    )
    bad = [{"kind": "run", "path": "bad.run"}]
    with pytest.raises(InputError) as raised:
        run(config(base, "bad", source=bad))
    message = str(raised.value)
    for part in ("bad.run line 2", "bad.run line 5", "1 query ids", "'nobody'", "1 document ids", "'nothing'"):
        assert part in message
    (base / "bad.run").write_text("q1 Q0 d9 1 2.5 x\nq1 Q0 d8 1 3.5 x\nnobody Q0 d1 1 2 x\nq2 Q0 nothing 1 2 x\n")
    run(config(base, "skipped", source=bad, input={"unknown_ids": "skip"}))
    found = {row["query_id"]: row for row in rows(base / "skipped/retrieve")}
    assert sorted(found["q1"]["source_ranks"]) == [1, 2]
    assert found["q2"]["doc_rows"] == []
    for path, said in (("none.run", "no such file"), ("empty.run", "no result")):
        (base / "empty.run").write_text("")
        with pytest.raises(InputError, match=said):
            run(config(base, "nothing", source=[{"kind": "run", "path": path}]))


@pytest.mark.parametrize(
    ("retrieve", "said"),
    [
        ({"source": [{"kind": "bm25"}, {"kind": "bm25", "k1": 2.0}]}, "2 sources are called 'bm25'"),
        ({"source": [{"kind": "dense"}, {"kind": "dense", "name": "two"}]}, "there is one teacher"),
        ({"source": [{"kind": "run"}]}, r"retrieve.source.0.path: needed"),
        ({"source": [{"kind": "dense", "k1": 1.0}]}, r"retrieve.source.0.k1: only a source of kind 'bm25'"),
        ({"source": [{"kind": "bm25", "name": "random"}]}, "a meaning of its own"),
        ({"source": [{"kind": "bm25", "name": "a+b"}]}, r"retrieve.source.0.name"),
        ({"source": [{"kind": "bm25", "language": "none", "stem": True}]}, "has no stems"),
        ({"source": [{"kind": "splade"}]}, r"retrieve.source.0.kind.*dense"),
        ({"source": [{"kind": "bm25", "k2": 1}]}, r"retrieve.source.0.k2: unknown key; did you mean k1"),
        ({"source": [{"kind": "bm25"}], "fuse": "quota"}, "retrieve.quota: needed"),
        ({"source": [{"kind": "bm25"}], "quota": 3}, 'only fuse = "quota"'),
        ({"source": [], "fuse": "rrf"}, "needs sources to fuse"),
        ({"source": [{"kind": "bm25", "top_k": 2}]}, "only 2 candidates are retrieved"),
    ],
)
def test_sources_that_make_no_sense(base: Path, retrieve: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(base, retrieve=retrieve)
