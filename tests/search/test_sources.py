"""Several sources of candidates over the whole pipeline: what they find, how it is fused, what is wrong with them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.cli.command_tables import draw_explanation
from hnmine.commands.explain import explain_query
from hnmine.commands.plan.plan import make_plan
from hnmine.commands.sweep import sweep
from hnmine.config.retrieve import SourceConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError, StaleOutput
from hnmine.pipeline.run import RunOptions
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.stage import RunContext
from hnmine.search.bm25 import words_of
from hnmine.search.candidate_pool import CandidateLimits
from hnmine.search.sources import build_source
from hnmine.stages.filter.hidden_positives import hide
from hnmine.stages.filter.inputs import FilterInputs
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
    settings = {
        "shard_rows": 256,
        "filter": LOOSE,
        "emit": {"extra_columns": COLUMNS, "num_negatives": 4, "choose": "random"},
        **tables,
    }
    return config_for(base, out, retrieve=retrieve, **settings)


@pytest.fixture(scope="module")
def mined(base: Path) -> Path:
    run(config(base))
    return base / "out"


def found_lists(out: Path) -> list[list[list[int]]]:
    """Return each query's list in each source, out of the ranks that were stored."""
    found = []
    for row in rows(out / "retrieve"):
        ranks = ranks_of(row)
        lists = []
        for source in range(3):
            own = {ranks[place][source]: d for place, d in enumerate(row["doc_rows"]) if ranks[place][source]}
            assert sorted(own) == list(range(1, len(own) + 1))
            lists.append([own[rank] for rank in sorted(own)])
        found.append(lists)
    return found


def ranks_of(row: dict[str, Any]) -> list[list[int]]:
    """Return for each candidate its rank in each source, 0 where there is none."""
    ranks = [rank or 0 for rank in row["source_ranks"]]
    return [ranks[first : first + 3] for first in range(0, len(ranks), 3)]


def scores_of(out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the teacher's and BM25's scores of every (query, document): a matrix product, and the plain formula."""
    split = words_of(SourceConfig(**BM25))
    texts = [split(d["text"]) for d in rows(out / "ingest/corpus")]
    queries = [split(q["text"]) for q in rows(out / "ingest/queries")]
    of_word = {word: np.array(oracles.bm25([word], texts, 0.9, 0.4)) for word in {w for q in queries for w in q}}
    words = np.array([sum((of_word[word] for word in query), np.zeros(len(texts))) for query in queries])
    return vectors(out, "queries") @ vectors(out, "corpus").T, words


def test_every_candidate_has_its_score_and_rank_in_every_source_and_the_teachers_exact_score(mined: Path) -> None:
    by_kind, ids = scores_of(mined), {name: n for n, name in enumerate(doc_ids(mined))}
    alone = np.zeros(3)
    for row, lists in zip(rows(mined / "retrieve"), found_lists(mined), strict=True):
        query, documents = row["query_row"], row["doc_rows"]
        assert row["scores"] == pytest.approx(by_kind[0][query][documents].tolist(), abs=1e-6)
        order = list(zip(row["scores"], documents, strict=True))
        assert order == sorted(order, key=lambda x: (-x[0], x[1]))
        assert row["ranks"] == list(range(1, len(documents) + 1))
        given = np.array(row["source_scores"], dtype=float).reshape(-1, 3)
        ranks = np.array(ranks_of(row))
        assert ((ranks > 0) == ~np.isnan(given)).all()
        assert (ranks > 0).any(axis=1).all()
        for source in range(2):  # what was left out scores no higher than the last that was taken
            own, scores = lists[source], by_kind[source][query]
            others = np.setdiff1d(np.arange(len(scores)), row["positive_rows"])
            found = (scores[others] > 0).sum() if source else DEPTH
            assert sum(d not in row["positive_rows"] for d in own) == min(DEPTH, found)
            stored = {d: given[place, source] for place, d in enumerate(documents)}
            assert [stored[d] for d in own] == pytest.approx(scores[own].tolist(), abs=1e-5)
            assert own == sorted(own, key=lambda d, s=stored: (-s[d], d))
            assert np.delete(scores, own).max() <= scores[own].min() + 1e-5
        named = [ids[f"d{d}"] for d in theirs(int(row["query_id"][1:]))]
        assert lists[2] == oracles.down_to(named, row["positive_rows"], 4)
        alone += ((ranks > 0) & ((ranks > 0).sum(axis=1) == 1)[:, None]).sum(axis=0)
    assert (alone > 100).all(), "each source finds something that no other does"


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
    for row, own, known in zip(rows(base / fuse / "retrieve"), found_lists(mined), positives, strict=True):
        if quota:
            expected = {d for order in own for d in oracles.down_to(order, known, quota)}
        else:
            fused = oracles.reciprocal_ranks(own)
            best = oracles.down_to(sorted(fused, key=lambda d: (-round(fused[d], 14), d)), known, DEPTH)
            expected = {*best, *(set(fused) & set(known))}
        assert set(row["doc_rows"]) == expected


def test_training_rows_the_report_and_explain_say_which_sources_found_a_negative(
    base: Path, mined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = doc_ids(mined)
    found = {}
    for row in rows(mined / "retrieve"):
        for d, own in zip(row["doc_rows"], ranks_of(row), strict=True):
            names = [name for name, rank in zip(("dense", "bm25", "theirs"), own, strict=True) if rank]
            found[row["query_id"], ids[d]] = "+".join(names)
    lines = emitted(mined)
    assert {line["source"] for line in lines} >= {"dense", "bm25", "theirs", "dense+bm25"}
    assert all(line["source"] == found[line["query_id"], line["negative_id"]] for line in lines)
    chosen = report(mined)["sources"]
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
    draw_explanation(explained)
    assert "theirs" in "".join(capsys.readouterr())
    run(config(base, "paged", report={"html": True}), options=RunOptions(source=mined))
    assert "found by theirs" in (base / "paged/report/report.html").read_text()


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
        return build_source(context, item, tick)

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
    measured = found["hidden_positives"]["this_filter"]
    assert (measured["queries"], measured["rate"] is None) == (QUERIES // 2, False)
    settings_swept = sweep(settings)["settings"]
    assert len({json.dumps(row, sort_keys=True) for row in settings_swept}) > 5


@pytest.mark.parametrize(("fuse", "quota"), [("union", None), ("rrf", None), ("quota", 2)])
def test_a_hidden_row_holds_what_a_retrieval_finds_that_knows_one_positive(
    base: Path, tmp_path: Path, fuse: str, quota: int | None
) -> None:
    fused, search = {"fuse": fuse, "quota": quota}, ("ingest", "embed", "index", "retrieve")
    settings = config(base, f"whole-{fuse}", retrieve=fused)
    run(settings, search)
    batch, keys = next(FilterInputs.open(RunContext(settings, settings.out_folder)).batches())
    hidden = hide(batch, keys, CandidateLimits.of(settings.retrieve), 1, 0, np.ones(len(batch), dtype=bool))
    known = dict(zip(hidden.batch.query_rows.tolist(), hidden.batch.positives.values.tolist(), strict=True))
    assert len(known) > 100
    ids, queries = doc_ids(base / f"whole-{fuse}"), rows(base / f"whole-{fuse}/ingest/queries")
    for name in ("corpus.jsonl", "queries.jsonl", "theirs.run"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    lines = [f"{queries[q]['query_id']}\t{ids[d]}\t1" for q, d in known.items()]
    (tmp_path / "qrels.tsv").write_text("\n".join(["query_id\tdoc_id\trelevance", *lines]) + "\n")
    run(config(tmp_path, retrieve=fused), search)
    expected = {row["query_id"]: row["doc_rows"] for row in rows(tmp_path / "out/retrieve")}
    found, longer = hidden.batch.candidates, 0
    for place, q in enumerate(hidden.batch.query_rows):
        own = found.values[found.offsets[place] : found.offsets[place + 1]].tolist()
        assert own == expected[queries[q]["query_id"]]
        longer += int(batch.candidates.lengths[hidden.query[place]]) > len(own)
    assert longer > 10, "positives that were hidden took the places of others"


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
    for part in ("bad.run line 2", "bad.run line 5"):
        assert part in message
    (base / "bad.run").write_text("q1 Q0 d9 1 2.5 x\nq1 Q0 d8 1 3.5 x\nnobody Q0 d1 1 2 x\nq2 Q0 nothing 1 2 x\n")
    with pytest.raises(InputError) as raised:
        run(config(base, "unknown", source=bad))
    for part in ("1 query ids", "'nobody'", "1 document ids", "'nothing'"):
        assert part in str(raised.value)
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
        ({"source": [{"kind": "dense"}, {"kind": "dense", "name": "two"}]}, "so all would search by .embed."),
        ({"source": [{"kind": "run"}]}, r"retrieve.source.0.path: needed"),
        ({"source": [{"kind": "dense", "k1": 1.0}]}, r"retrieve.source.0.k1: only a source of kind 'bm25'"),
        ({"source": [{"kind": "bm25", "name": "random"}]}, "a meaning of its own"),
        ({"source": [{"kind": "bm25", "name": "a+b"}]}, r"retrieve.source.0.name"),
        ({"source": [{"kind": "bm25", "language": "none", "stem": True}]}, "has no stems"),
        ({"source": [{"kind": "splade"}]}, r"retrieve.source.0.kind.*dense"),
        ({"source": [{"kind": "bm25", "k2": 1}]}, r"retrieve.source.0.k2: unknown key; known keys: kind, name"),
        ({"source": [{"kind": "bm25"}], "fuse": "quota"}, "retrieve.quota: needed"),
        ({"source": [{"kind": "bm25"}], "quota": 3}, 'only with retrieve.fuse = "quota"'),
        ({"source": [], "fuse": "rrf"}, "needs sources to fuse"),
        ({"source": [{"kind": "bm25", "top_k": 2}]}, "only 2 candidates are retrieved"),
    ],
)
def test_sources_that_make_no_sense(base: Path, retrieve: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(base, retrieve=retrieve)
