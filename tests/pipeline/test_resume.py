"""A run that is killed wherever, and started again, leaves the same bytes as one that was never killed."""

import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hnmine.errors import WorkerDied
from tests.pipeline.forkserver import Child, ForkServer, fork_server
from tests.support import RUN_SPECIFIC, make_collection, tree

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of a run in /proc"),
]

KILLS = 20
POOLED = (4, 11)  # which of them run in two worker processes
SIGNALS = {2: signal.SIGTERM, 7: signal.SIGINT, 11: signal.SIGTERM, 14: signal.SIGINT, 17: signal.SIGINT}


def settings(out: str, **more: Any) -> dict[str, Any]:
    return {
        "out": out,
        "shard_rows": 256,
        "input": {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"},
        "embed": {"model": "hash"},
        "guide": {"model": "hash", "max_length": 8},
        "filter": {"rule": ["percent", "guide"]},
        "retrieve": {"top_k": 10, "max_top_k": 20},  # short lists are searched deeper once
        "emit": {"num_negatives": 3, "choose": "mixed", "fallback": "random", "max_per_document": 40},
        "report": {"html": False},
        **more,
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("resume"), 1000, 520)


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[ForkServer]:
    with fork_server(base / "log") as found:
        yield found


@pytest.fixture(scope="module")
def whole(base: Path, server: ForkServer) -> Path:
    server.finish(base, **settings("whole"))
    return base / "whole"


def in_order(folder: Path) -> list[str]:
    """Return the files of a run in the order in which they were written, but for the last three."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in RUN_SPECIFIC]
    files.sort(key=lambda path: path.stat().st_mtime_ns)
    return [path.relative_to(folder).as_posix() for path in files][:-3]


def kill_at(child: Child, path: Path, delay: float, number: int, patience: float = 60) -> None:
    """Send a signal a moment after a file appears, or after the run has ended without it, or `patience` seconds."""
    deadline = time.monotonic() + patience
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.0005)
    time.sleep(delay)
    child.kill(number)  # a run that has ended is still its server's to wait for, so the pid is no other process


@pytest.mark.slow
def test_killed_anywhere_and_run_again_gives_the_same_bytes(base: Path, server: ForkServer, whole: Path) -> None:
    expected, files = tree(whole), in_order(whole)
    assert {name.partition("/")[0] for name in files} == {
        "ingest", "embed", "index", "retrieve", "filter", "emit", "report",
    }  # fmt: skip
    draw = random.Random(20240611)
    interrupted = 0
    for number in range(KILLS):
        out, workers = f"killed-{number}", 2 if number in POOLED else 1
        at = files[number * len(files) // KILLS]
        child = server.start(base, **settings(out, workers=workers))
        kill_at(child, base / out / at, draw.random() * 0.01, SIGNALS.get(number, signal.SIGKILL))
        interrupted += child.wait() != 0
        if number % 5 == 0:  # and once more, a little later, on what the first kill left
            child = server.start(base, **settings(out))
            kill_at(child, base / out / files[(number + 2) * len(files) // KILLS], 0.0, signal.SIGKILL)
            child.wait()
        server.finish(base, **settings(out))
        found = tree(base / out)
        assert found.keys() == expected.keys(), f"killed at {at}"
        assert [name for name in expected if found[name] != expected[name]] == [], f"killed at {at}"
    assert interrupted >= KILLS * 3 // 4


@pytest.mark.parametrize("at", ["part-00001.jsonl", "_keys/part-00001.jsonl"])
def test_lines_beside_their_keys_survive_a_kill(base: Path, server: ForkServer, whole: Path, at: str) -> None:
    more = {"emit": {"num_negatives": 3, "format": "bge"}}
    (base / f"lines-{at[:4]}").mkdir()
    out = f"lines-{at[:4]}/killed"
    child = server.start(base, **settings(out, **more))
    kill_at(child, base / out / "emit" / at, 0.0, signal.SIGKILL)
    child.wait()
    server.finish(base, **settings(out, **more))
    server.finish(base, **settings(f"lines-{at[:4]}/whole", **more))
    assert tree(base / out) == tree(base / f"lines-{at[:4]}/whole")


def test_a_killed_run_goes_on_with_other_shards_and_workers(base: Path, server: ForkServer) -> None:
    child = server.start(base, **settings("moved"))
    kill_at(child, base / "moved/retrieve/part-00000.parquet", 0.0, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    done = {path: path.stat().st_ino for path in (base / "moved/embed").rglob("part-*")}
    server.finish(base, **settings("moved", shard_rows=512))
    assert {path: path.stat().st_ino for path in done} == done


def test_a_killed_worker_is_an_error_and_what_it_left_is_resumed(base: Path, server: ForkServer, whole: Path) -> None:
    child = server.start(base, **settings("orphan", workers=2))
    deadline = time.monotonic() + 60
    while not child.workers() and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in child.workers():  # still importing: no result has come from them
        child.signal(pid, signal.SIGKILL)
    assert child.wait() == WorkerDied.exit_code
    assert "WorkerDied: a worker process was killed" in server.log.read_text()
    server.finish(base, **settings("orphan"))
    assert tree(base / "orphan") == tree(whole)
