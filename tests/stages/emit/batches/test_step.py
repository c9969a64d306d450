"""Batches of a run: their rules, their column, and the same bytes after a kill, with other workers and shards."""

import signal
import sys
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.config.emit import EmitConfig
from hnmine.errors import EmptySet
from hnmine.runtime.stage import RunContext
from hnmine.stages.report.empty_set import why_empty
from tests.pipeline.forkserver import fork_server
from tests.pipeline.helpers import emitted, report, table
from tests.pipeline.test_resume import kill_at, settings
from tests.support import config_for, make_collection, tree, write_jsonl


def batched(out: str, **more: Any) -> dict[str, Any]:
    emit = {"num_negatives": 3, "batch_size": 16}
    filter_ = {"rule": ["percent", "calibrated"]}
    return settings(out, **({"emit": emit, "filter": filter_} | more))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of a run in /proc")
def test_killed_and_resumed_the_bytes_are_the_same(tmp_path):
    make_collection(tmp_path, 1000, 520)
    with fork_server(tmp_path / "log") as server:
        server.finish(tmp_path, **batched("whole"))
        for name, file in (("before", "chosen/chosen.parquet"), ("after", "batches/batches.parquet")):
            child = server.start(tmp_path, **batched(name))
            kill_at(child, tmp_path / name / "emit" / file, 0.0, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            assert not (tmp_path / name / "emit/_manifest.json").exists()
            server.finish(tmp_path, **batched(name))
            assert tree(tmp_path / name) == tree(tmp_path / "whole")
        server.finish(tmp_path, **batched("wide", shard_rows=1024, workers=2))
    assert table(tmp_path / "wide/emit") == table(tmp_path / "whole/emit")
    assert table(tmp_path / "whole/emit").num_rows > 500


def test_without_batches_neither_keys_nor_rows_know_of_them(tmp_path):
    assert not {"batch_size", "batch_by"} & set(EmitConfig().semantic())
    make_collection(tmp_path)
    for name in ("plain", "batched"):
        run(config_for(tmp_path, name, emit={"batch_size": 4} if name == "batched" else {}))
    plain, other = table(tmp_path / "plain/emit"), table(tmp_path / "batched/emit")
    assert "batch_id" not in plain.column_names
    assert other.drop_columns(["batch_id"]) == plain
    assert not (tmp_path / "plain/emit/batches").exists()
    for stage in ("ingest", "retrieve", "filter"):
        assert tree(tmp_path / "plain" / stage) == tree(tmp_path / "batched" / stage)


def test_settings_of_batches_are_in_no_key_without_batches():
    assert not {"batch_size", "batch_by", "batch_leftover"} & set(EmitConfig().semantic())
    assert EmitConfig(batch_size=8).semantic()["batch_by"] == "clusters"


EXTRA = ["query_id", "positive_id"]


def mine(base, out, **emit):
    tables = {"emit": {"batch_size": 8, "extra_columns": EXTRA, **emit}, "filter": {"max_positive_similarity": None}}
    run(config_for(base, out, **tables, shard_rows=256))
    return base / out


def test_a_run_has_batches_without_the_positives_of_one_another(tmp_path):
    make_collection(tmp_path, 400, 300)
    out = mine(tmp_path, "out")
    rows = emitted(out)
    positives = {}
    for i in range(300):
        positives[f"q{i}"] = {f"d{(i + j) % 400}" for j in range(1 + i % 2)}
    batches = {}
    for row in rows:
        batches.setdefault(row["batch_id"], set()).add((row["query_id"], row["positive_id"]))
    examples = [example for batch in batches.values() for example in batch]
    assert len(examples) == len(set(examples)) > 200
    for batch in batches.values():
        assert len(batch) <= 8
        for query, own in batch:
            assert not any(other in positives[query] for _, other in batch - {(query, own)})
    assert tree(mine(tmp_path, "again")) == tree(out)
    run(config_for(tmp_path, "wide", emit={"batch_size": 8, "extra_columns": EXTRA},
                   filter={"max_positive_similarity": None}, shard_rows=512))  # fmt: skip
    assert table(tmp_path / "wide/emit").equals(table(out / "emit"))
    assert not list((out / "emit/batches").glob(".tmp*"))


def test_the_order_of_queries_changes_no_batch(tmp_path):
    make_collection(tmp_path, 200, 120)
    before = mine(tmp_path, "out")
    file = tmp_path / "queries.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    after = mine(tmp_path, "turned")
    ids = [{(r["query_id"], r["positive_id"]): r["batch_id"] for r in emitted(out)} for out in (before, after)]
    assert ids[0] == ids[1]


def conflicting(folder):
    """Write a collection of 12 queries with 9 positives each, most of which two queries share."""
    corpus = [{"doc_id": f"d{i}", "text": f"topic{i % 7} words{i} and {i * 7919 % 101}"} for i in range(200)]
    queries = [{"query_id": f"q{i}", "text": f"topic{i % 7} question {i}"} for i in range(12)]
    qrels = [
        {"query_id": f"q{i}", "doc_id": f"d{(i // 2 * 9 + j) % 200}", "relevance": 1}
        for i in range(12) for j in range(9)
    ]  # fmt: skip
    for name, lines in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        write_jsonl(folder / f"{name}.jsonl", lines)


def conflicting_run(base, out, leftover, **more):
    emit = {"batch_size": 8, "batch_leftover": leftover, "extra_columns": EXTRA, "num_negatives": 3}
    given = {"input": {"qrels": "qrels.jsonl"}, "emit": emit, "filter": {"rule": "none"}}
    run(config_for(base, out, **given, **more))
    examples = {}
    for row in emitted(base / out):
        examples.setdefault((row["query_id"], row["positive_id"]), set()).add(row["batch_id"])
    assert all(len(own) == 1 for own in examples.values())
    batches = {}
    for example, (batch,) in examples.items():
        batches.setdefault(batch, []).append(example)
    return batches, report(base / out)["batches"]


@pytest.mark.parametrize("leftover", ["keep", "drop", "merge"])
def test_short_batches_are_kept_dropped_or_merged_and_said(tmp_path, leftover):
    conflicting(tmp_path)
    batches, found = conflicting_run(tmp_path, "out", leftover)
    kept = batches if leftover == "keep" else conflicting_run(tmp_path, "kept", "keep")[0]
    sizes, before = ([len(own) for own in of.values()] for of in (batches, kept))
    total, full = sum(before), sum(size == 8 for size in before)
    assert total == 108
    assert found["count"] == len(sizes)
    assert found["full"] == sum(size == 8 for size in sizes)
    assert found["fill"] == pytest.approx(sum(sizes) / (8 * len(sizes)) if sizes else None)
    assert found["examples"] + found["examples_left_out"] == total
    repeated = sum(len(own) - len({query for query, _ in own}) for own in batches.values())
    assert repeated == found["same_query"]
    pairs = {i: {(i // 2 * 9 + j) % 200 for j in range(9)} for i in range(12)}
    known = sum(
        int(other[1:]) in pairs[int(query[1:])]
        for own in batches.values() for query, document in own for _, other in set(own) - {(query, document)}
    )  # fmt: skip
    if leftover == "keep":
        assert full < len(before) * 0.8
        assert f"{full} of {len(before)} batches are full" in found["warning"]
    if leftover == "drop":
        assert sizes == [8] * full
        assert "left out" in found["warning"]
        assert found["examples_left_out"] == total - 8 * full
    if leftover == "merge":
        assert sorted(sizes) == [4] + [8] * 13
        assert found["warning"] is None
        assert found["conflicts_within"] > 0
    else:
        assert (known, repeated, found["conflicts_within"]) == (0, 0, 0)


def test_a_set_without_a_full_batch_is_empty_where_short_ones_are_dropped(tmp_path):
    conflicting(tmp_path)
    emit = {"batch_size": 13, "batch_leftover": "drop"}
    config = config_for(tmp_path, "out", input={"qrels": "qrels.jsonl"}, emit=emit, filter={"rule": "none"})
    run(config)
    assert not emitted(tmp_path / "out")
    why = why_empty(RunContext(config, tmp_path / "out"))
    assert '"drop" left out 108 of 108 examples' in why
    assert "only 12 queries have examples" in why


@pytest.mark.parametrize("leftover", ["drop", "merge"])
def test_leftover_examples_do_not_depend_on_order_shards_or_workers(tmp_path, leftover):
    conflicting(tmp_path)
    first, _ = conflicting_run(tmp_path, "out", leftover)
    again, _ = conflicting_run(tmp_path, "again", leftover, shard_rows=256, workers=2)
    assert tree(tmp_path / "again/emit") == tree(tmp_path / "out/emit")
    for name in ("queries", "qrels"):
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / f"{name}.jsonl").write_text("".join(reversed(lines)))
    turned, _ = conflicting_run(tmp_path, "turned", leftover)
    assert first == again
    assert {batch: set(own) for batch, own in turned.items()} == {batch: set(own) for batch, own in first.items()}


def test_the_column_is_there_without_an_example_that_gets_rows(tmp_path):
    make_collection(tmp_path)
    config = config_for(tmp_path, "out", emit={"batch_size": 8}, filter={"rule": "absolute", "max_score": -5.0})
    with suppress(EmptySet):
        run(config)
    found = pq.read_table(tmp_path / "out/emit/part-00000.parquet")
    assert (found.num_rows, found.schema.field("batch_id").type) == (0, pa.int32())


def test_every_shape_has_the_column(tmp_path):
    make_collection(tmp_path)
    for name in ("triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list"):
        out = mine(tmp_path, name, format=name)
        assert all(row["batch_id"] is not None for row in emitted(out))
    lines = (mine(tmp_path, "bge", format="bge") / "emit/part-00000.jsonl").read_text()
    assert '"batch_id"' in lines
    assert pq.read_table(tmp_path / "triplet/emit/batches/batches.parquet").num_rows > 0
