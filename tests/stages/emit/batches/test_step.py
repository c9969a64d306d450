"""Batches of a run: their rules, their column, and the same bytes after a kill, with other workers and shards."""

import signal
import sys
from typing import Any

import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.config.tables import EmitConfig
from tests.pipeline.forkserver import fork_server
from tests.pipeline.helpers import emitted, table
from tests.pipeline.test_resume import kill_at, settings
from tests.support import config_for, make_collection, tree


def batched(out: str, **more: Any) -> dict[str, Any]:
    emit = {"num_negatives": 3, "batch_size": 16}
    filter_ = {"rule": ["percent", "calibrated"]}
    return settings(out, **({"emit": emit, "filter": filter_} | more))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of a run in /proc")
@pytest.mark.timeout(300)
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
    assert not {"batch_size", "batch_by"} & set(EmitConfig().semantic())
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


def test_every_shape_has_the_column(tmp_path):
    make_collection(tmp_path)
    for name in ("triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list"):
        out = mine(tmp_path, name, format=name)
        assert all(row["batch_id"] is not None for row in emitted(out))
    lines = (mine(tmp_path, "bge", format="bge") / "emit/part-00000.jsonl").read_text()
    assert '"batch_id"' in lines
    assert pq.read_table(tmp_path / "triplet/emit/batches/batches.parquet").num_rows > 0
