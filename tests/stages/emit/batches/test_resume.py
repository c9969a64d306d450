"""A run with batches that is killed ends in the same bytes; neither workers nor shards change a batch."""

import signal
import sys
from typing import Any

import pytest

from hnmine import run
from hnmine.config import EmitConfig
from tests.pipeline.forkserver import fork_server
from tests.pipeline.helpers import table
from tests.pipeline.test_resume import kill_at, settings
from tests.support import config_for, make_collection, tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of a run in /proc")


def batched(out: str, **more: Any) -> dict[str, Any]:
    emit = {"num_negatives": 3, "batch_size": 16}
    filter_ = {"rule": ["percent", "calibrated"]}
    return settings(out, **({"emit": emit, "filter": filter_} | more))


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
