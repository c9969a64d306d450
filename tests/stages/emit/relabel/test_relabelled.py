"""Further positives of a run: which candidates become positives, and that nothing else uses them as negatives."""

import json
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine import run
from hnmine.config.emit import EmitConfig
from hnmine.pipeline.run import RunOptions
from hnmine.stages.emit.relabel.relabelled import relabelled_siblings
from hnmine.stages.filter.verdicts import RULES
from tests.pipeline.forkserver import fork_server
from tests.pipeline.helpers import doc_ids, emitted, rows, table
from tests.pipeline.test_resume import kill_at
from tests.pipeline.test_resume import settings as resumable
from tests.strategies import flat, ragged
from tests.support import config_for, make_collection, tree, write_jsonl

EXTRA = ["query_id", "positive_id", "negative_id", "positive_score", "positive_probability", "positive_weight"]
Pair = tuple[str, str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a collection mined without relabelling into `out`, in two shards."""
    folder = make_collection(tmp_path_factory.mktemp("relabel"), 120, 300)
    run(settings(folder, "out"))
    return folder


def settings(base: Path, out: str, **tables: Any) -> Any:
    emit = {"extra_columns": EXTRA, **tables.pop("emit", {})}
    return config_for(base, out, **{"filter": {"rule": "auto"}, "emit": emit, "shard_rows": 256, **tables})


def mine(base: Path, out: str, **tables: Any) -> Path:
    """Mine into a folder of its own, reading from `out` what fits."""
    run(settings(base, out, **tables), options=RunOptions(source=base / "out"))
    return base / out


def sources(out: Path) -> dict[Pair, str]:
    return {(row["query_id"], row["positive_id"]): row["positive_source"] for row in emitted(out)}


def relabelled(out: Path) -> list[dict[str, Any]]:
    names = doc_ids(out) if (out / "ingest").exists() else doc_ids(out.with_name("out"))
    found = pq.read_table(out / "emit/relabelled/relabelled.parquet").to_pylist()
    return [{**row, "doc_id": names[row["doc_row"]], "query_id": f"q{row['query_row']}"} for row in found]


@pytest.fixture(scope="module")
def out(base: Path) -> Path:
    return mine(base, "probable", emit={"relabel": 0.8})


def lowest(base: Path) -> dict[tuple[int, int], tuple[float, str]]:
    """Return the lowest P(false negative) over the anchors and the first verdict of each (query, candidate)."""
    found = {}
    for row in rows(base / "out/filter"):
        for place, document in enumerate(row["doc_rows"]):
            p = min(own[place] for own in row["probabilities"])
            found[row["query_row"], document] = (p, row["verdicts"][0][place])
    return found


def test_the_most_probable_candidates_of_a_query_become_positives(base: Path, out: Path) -> None:
    expected = defaultdict(list)
    for (query, document), (p, verdict) in lowest(base).items():
        if p >= 0.8 and verdict in ("keep", "outside_ranks", *RULES, "copy_of_negative"):
            expected[query].append((-p, document))
    found = defaultdict(list)
    for row in relabelled(out):
        found[row["query_row"]].append((-row["probability"], row["doc_row"]))
    assert found == {query: sorted(some)[:3] for query, some in expected.items()}
    assert sum(map(len, found.values())) > 100


def test_they_have_rows_with_their_mark_and_are_negatives_of_their_query_nowhere(base: Path, out: Path) -> None:
    found, further = emitted(out), {(row["query_id"], row["doc_id"]): row["probability"] for row in relabelled(out)}
    for row in found:
        pair, p = (row["query_id"], row["positive_id"]), row["positive_probability"]
        assert row["positive_source"] == ("relabelled" if pair in further else "label")
        assert p == further.get(pair)
        assert row["positive_weight"] <= (1 if p is None else p)
        assert (row["query_id"], row["negative_id"]) not in further
    assert len({(row["query_id"], row["positive_id"]) for row in found} & set(further)) > 100
    scores = {(row["query_id"], d): s for row in scored(base) for d, s in row["scores"].items()}
    for row in found:
        assert row["positive_score"] == pytest.approx(scores[row["query_id"], row["positive_id"]])


def scored(base: Path) -> list[dict[str, Any]]:
    names = doc_ids(base / "out")
    return [
        {
            "query_id": row["query_id"],
            "scores": dict(
                zip(
                    [names[d] for d in [*row["doc_rows"], *row["positive_rows"]]],
                    [*row["scores"], *row["positive_scores"]],
                    strict=True,
                )
            ),
        }
        for row in rows(base / "out/filter")
    ]


def test_the_counts_are_those_of_the_table(out: Path) -> None:
    counts, further = json.loads((out / "emit/_manifest.json").read_text())["counts"], relabelled(out)
    assert counts["positives_relabelled"] == len(further)
    assert counts["positives_by_judgement"] == 0
    assert counts["queries_relabelled"] == len({row["query_row"] for row in further})


def test_queries_that_it_does_not_concern_keep_their_rows(base: Path, out: Path) -> None:
    changed = {row["query_id"] for row in relabelled(out)}
    before, now = rows(base / "out/filter"), rows(out / "emit/judged")
    same = [(a, b) for a, b in zip(before, now, strict=True) if a["query_id"] not in changed]
    assert len(same) > 20
    assert all(a == b for a, b in same)
    assert [row["doc_rows"] for row in before] == [row["doc_rows"] for row in now]


def test_a_limit_takes_the_best(base: Path, out: Path) -> None:
    one = mine(base, "one", emit={"relabel": 0.8, "max_relabelled": 1})
    first: dict[str, str] = {}
    for row in relabelled(out):
        first.setdefault(row["query_id"], row["doc_id"])
    assert {row["query_id"]: row["doc_id"] for row in relabelled(one)} == first


@pytest.mark.parametrize("anchor", ["each", "min"])
def test_judgements_become_positives_as_labels_would(tmp_path: Path, anchor: str) -> None:
    # every document is a candidate, so a label more changes no list
    make_collection(tmp_path, 60, 40)
    answers = [
        ("q3", "d40", "relevant"),
        ("q3", "d7", "irrelevant"),
        ("q8", "d1", "relevant"),
        ("q8", "d50", "relevant"),
    ]
    judgements = [{"query_id": q, "doc_id": d, "judgement": j} for q, d, j in answers]
    write_jsonl(tmp_path / "judged.jsonl", judgements)
    found = {}
    for name, labels in (("labels", True), ("relabel", False)):
        emit = {"extra_columns": EXTRA, **({} if labels else {"relabel": "judgements"})}
        config = config_for(
            tmp_path,
            name,
            input={"judgements": "judged.jsonl", "judged_positives": labels},
            retrieve={"top_k": 60},
            filter={"rule": "percent", "anchor": anchor},
            emit=emit,
        )
        run(config)
        found[name] = sorted(
            (row["query_id"], row["positive_id"], row["negative_id"], row["positive_score"])
            for row in emitted(tmp_path / name)
        )
    assert found["relabel"] == found["labels"]
    marked = {pair for pair, source in sources(tmp_path / "relabel").items() if source == "judgement"}
    with_rows = {(query, positive) for query, positive, _, _ in found["labels"]}
    assert marked == {("q3", "d40"), ("q8", "d1"), ("q8", "d50")} & with_rows
    assert len(marked) >= 2
    weights = {row["positive_weight"] for row in emitted(tmp_path / "relabel") if row["positive_source"] == "judgement"}
    assert weights == {1.0}


def test_what_the_cross_encoder_did_not_score_becomes_no_positive(tmp_path: Path) -> None:
    make_collection(tmp_path, 60, 40)
    tables: dict[str, Any] = {"rescore": {"model": "hash", "top_n": 3}, "filter": {"rule": "none", "score": "rescored"}}
    run(config_for(tmp_path, "first", **tables), ["ingest", "embed", "index", "retrieve", "rescore"])
    names, answers, scored = doc_ids(tmp_path / "first"), [], set()
    for row in rows(tmp_path / "first/rescore"):
        known = {f"d{(int(row['query_id'][1:]) + j) % 60}" for j in range(2)}
        pairs = [(names[d], s) for d, s in zip(row["doc_rows"], row["scores"], strict=True) if names[d] not in known]
        best, last = pairs[0], pairs[-1]
        assert (best[1] is None, last[1] is None) == (False, True)
        answers += [{"query_id": row["query_id"], "doc_id": one, "judgement": "relevant"} for one, _ in (best, last)]
        scored.add((row["query_id"], best[0]))
    write_jsonl(tmp_path / "judged.jsonl", answers)
    formats, emit = ["bge", "distillation", "labeled-list"], {"relabel": "judgements", "num_negatives": 1}
    run(config_for(tmp_path, input={"judgements": "judged.jsonl"}, emit={**emit, "format": formats}, **tables))
    further = {(row["query_id"], row["doc_id"]) for row in relabelled(tmp_path / "out")}
    assert further
    assert further <= scored
    assert all(None not in row["scores"] for row in rows(tmp_path / "out/emit/distillation"))


def test_judgements_come_before_probabilities(base: Path, out: Path, tmp_path: Path) -> None:
    query = next(row for row in relabelled(out) if row["probability"] < 1)["query_id"]
    known = {row["doc_id"] for row in relabelled(out) if row["query_id"] == query}
    names = doc_ids(base / "out")
    candidates = next(row for row in rows(base / "out/filter") if row["query_id"] == query)["doc_rows"]
    positives = {f"d{(int(query[1:]) + j) % 120}" for j in range(2)}
    other = next(names[d] for d in reversed(candidates) if names[d] not in known | positives)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    write_jsonl(tmp_path / "judged.jsonl", [{"query_id": query, "doc_id": other, "judgement": "relevant"}])
    run(settings(tmp_path, "out", input={"judgements": "judged.jsonl"}, emit={"relabel": ["judgements", 0.8]}))
    first = next(row for row in relabelled(tmp_path / "out") if row["query_id"] == query)
    assert (first["doc_id"], first["source"], first["probability"]) == (other, "judgement", None)
    assert {row["source"] for row in relabelled(tmp_path / "out")} == {"judgement", "relabelled"}


def test_irrelevant_documents_and_evaluation_sets_are_never_relabelled(base: Path, out: Path, tmp_path: Path) -> None:
    further = [row for row in relabelled(out) if row["probability"] < 1]
    judged, evaluated = further[0], further[-1]
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    write_jsonl(
        tmp_path / "judged.jsonl",
        [{"query_id": judged["query_id"], "doc_id": judged["doc_id"], "judgement": "irrelevant"}],
    )
    (tmp_path / "eval.tsv").write_text(f"query_id\tdoc_id\trelevance\nother\t{evaluated['doc_id']}\t1\n")
    given = {"judgements": "judged.jsonl", "eval_qrels": "eval.tsv", "unknown_ids": "skip"}
    run(settings(tmp_path, "out", input=given, emit={"relabel": 0.51, "max_relabelled": 50}))
    found = {(row["query_id"], row["doc_id"]) for row in relabelled(tmp_path / "out")}
    assert len(found) > 100
    assert (judged["query_id"], judged["doc_id"]) not in found
    assert evaluated["doc_id"] not in {document for _, document in found}


@pytest.mark.parametrize("emit", [{}, {"choose": "mixed", "random_share": 0.5}, {"batch_size": 8}])
def test_queries_with_one_text_share_what_is_relabelled(tmp_path: Path, emit: dict[str, Any]) -> None:
    make_collection(tmp_path, 40, 20)
    corpus = [json.loads(line) for line in (tmp_path / "corpus.jsonl").read_text().splitlines()]
    texts = {row["doc_id"]: row["text"] for row in corpus}
    write_jsonl(tmp_path / "corpus.jsonl", [*corpus, {"doc_id": "copy", "text": texts["d9"].upper()}])
    queries = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text().splitlines()]
    queries[5]["text"] = queries[4]["text"]
    write_jsonl(tmp_path / "queries.jsonl", queries)
    write_jsonl(tmp_path / "judged.jsonl", [{"query_id": "q4", "doc_id": "d9", "judgement": "relevant"}])
    config = config_for(
        tmp_path,
        input={"judgements": "judged.jsonl"},
        retrieve={"top_k": 40},
        filter={"rule": "none", "max_positive_similarity": None},
        emit={"extra_columns": EXTRA, "relabel": "judgements", "num_negatives": 36, "fallback": "random", **emit},
    )
    run(config)
    found = emitted(tmp_path / "out")
    assert ("q4", "d9") in sources(tmp_path / "out")
    assert ("q5", "d9") not in sources(tmp_path / "out")
    assert not {row["negative_id"] for row in found if row["query_id"] in ("q4", "q5")} & {"d9", "copy"}
    assert {"d9", "copy"} & {row["negative_id"] for row in found}
    if "batch_size" in emit:
        barred = {"d9", "copy"}
        batches = {row["batch_id"] for row in found if row["query_id"] in ("q4", "q5")}
        for row in found:
            if row["batch_id"] in batches and row["query_id"] not in ("q4", "q5"):
                assert not {row["positive_id"], row["negative_id"]} & barred


@given(ragged(st.integers(0, 5), max_rows=6), st.data())
def test_siblings_are_those_of_a_double_loop(lists, data):
    queries = np.array([data.draw(st.integers(0, 2)) for _ in lists], dtype=np.uint64)
    documents = np.array([7, 8, 7, 9, 9, 8], dtype=np.uint64)
    more = flat([sorted(set(own)) for own in lists], np.int64)
    found = relabelled_siblings(queries, documents, more)
    for place in range(len(lists)):
        texts = {
            documents[d] for other, own in enumerate(lists) for d in own
            if other != place and queries[other] == queries[place]
        }  # fmt: skip
        expected = [row for row, text in enumerate(documents) if text in texts]
        assert found.values[found.offsets[place] : found.offsets[place + 1]].tolist() == expected


def test_workers_and_shards_change_nothing(base: Path, out: Path) -> None:
    more = {"emit": {"relabel": 0.8, "batch_size": 16, "choose": "random"}}
    one = settings(base, "one-worker", **more)
    run(one)
    run(settings(base, "two-workers", workers=2, **more))
    assert tree(base / "one-worker") == tree(base / "two-workers")
    run(settings(base, "one-shard", **{**more, "shard_rows": 512}))
    assert table(base / "one-shard/emit") == table(base / "one-worker/emit")
    assert table(base / "one-shard/emit/judged") == table(base / "one-worker/emit/judged")


def test_only_emit_and_report_depend_on_it(base: Path) -> None:
    assert not {"relabel", "max_relabelled"} & set(EmitConfig().semantic())
    assert EmitConfig(relabel=0.9).semantic()["relabel"] == [0.9]
    assert EmitConfig(relabel="judgements").semantic() == EmitConfig(relabel=["judgements"]).semantic()
    mine(base, "changed", emit={"relabel": 0.8})
    ran = [one.stage for one in run(settings(base, "changed", emit={"relabel": 0.7}),
                                    options=RunOptions(source=base / "out", overwrite=True)) if one.ran]  # fmt: skip
    assert ran == ["emit", "report"]


WAYS: dict[str, dict[str, Any]] = {
    "guide": {"guide": {"model": "hash", "max_length": 8}, "filter": {"rule": ["percent", "guide", "calibrated"]}},
    "rescored": {"rescore": {"model": "hash"}, "filter": {"rule": "auto", "score": "rescored"}},
    "sources": {"retrieve": {"source": [{"kind": "dense"}, {"kind": "bm25"}]}},
    "candidates only": {"embed": {"documents": "candidates"}, "retrieve": {"source": [{"kind": "bm25"}]}},
    "one anchor": {"filter": {"rule": "auto", "anchor": "mean"}},
    "left out": {"emit": {"bad_positives": "leave_out"}},
    "diverse": {"emit": {"choose": "diverse", "max_per_document": 20}},
    "previous": {"previous": {"run": "earlier", "replace": "easy"}},
}


@pytest.mark.parametrize("way", WAYS)
def test_it_goes_with_other_settings(base: Path, out: Path, way: str) -> None:
    tables = dict(WAYS[way])
    emit = {"relabel": 0.6, **tables.pop("emit", {})}
    here = base / way
    if way == "previous":
        run(settings(base, "earlier", emit={"relabel": 0.8}))
    run(settings(base, way, emit=emit, **tables))
    names = doc_ids(base / "out")
    positives = defaultdict(set)
    for row in rows(here / "emit/judged"):
        positives[row["query_id"]] = {names[d] for d in row["positive_rows"]}
        assert len(row["positive_scores"]) == len(row["positive_rows"]) == len(row["positive_standing"])
        assert len(row["similarities"]) == len(row["doc_rows"]) * len(row["positive_rows"])
        for verdicts in row["verdicts"]:
            for document, verdict in zip(row["doc_rows"], verdicts, strict=True):
                assert (verdict == "positive") == (names[document] in positives[row["query_id"]])
    found, further = emitted(here), {(row["query_id"], row["doc_id"]) for row in relabelled(here)}
    assert not {(row["query_id"], row["negative_id"]) for row in found} & further
    assert all(row["negative_id"] not in positives[row["query_id"]] for row in found)
    marked = {(row["query_id"], row["positive_id"]) for row in found if row["positive_source"] == "relabelled"}
    assert marked <= further
    assert len(marked) > 20
    if way == "previous":
        assert json.loads((here / "emit/_manifest.json").read_text())["counts"]["negatives_previous"] > 100


def test_every_format_has_the_mark(base: Path, out: Path) -> None:
    formats = ["triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list", "bge"]
    here = mine(base, "formats", emit={"relabel": 0.8, "format": formats, "soft_labels": True})
    expected = sources(out)
    for name in formats:
        if name == "bge":
            lines = [
                line for path in sorted((here / "emit/bge").glob("*.jsonl")) for line in path.read_text().splitlines()
            ]
            found = [json.loads(line) for line in lines]
        else:
            found = rows(here / "emit" / name)
        assert {
            (row["query_id"], row["positive_id"]): row["positive_source"] for row in found
        }.items() <= expected.items()
        assert {row["positive_source"] for row in found} == {"label", "relabelled"}
    for row in rows(here / "emit/labeled-list"):
        assert row["labels"][0] == (1 if row["positive_probability"] is None else row["positive_probability"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of a run in /proc")
def test_killed_and_resumed_the_bytes_are_the_same(tmp_path: Path) -> None:
    make_collection(tmp_path, 120, 300)
    tables = {"retrieve": {"top_k": 10}, "filter": {"rule": "auto"}, "guide": {"model": "hash", "max_length": 8}}
    emit = {"num_negatives": 3, "relabel": 0.8, "batch_size": 16}
    with fork_server(tmp_path / "log") as server:
        server.finish(tmp_path, **resumable("whole", emit=emit, **tables))
        for name, file in (("picked", "relabelled/relabelled.parquet"), ("judged", "judged/part-00000.parquet")):
            child = server.start(tmp_path, **resumable(name, emit=emit, **tables))
            kill_at(child, tmp_path / name / "emit" / file, 0.0, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            assert not (tmp_path / name / "emit/_manifest.json").exists()
            server.finish(tmp_path, **resumable(name, emit=emit, **tables))
            assert tree(tmp_path / name) == tree(tmp_path / "whole")
