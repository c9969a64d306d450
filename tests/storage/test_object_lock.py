"""One live run to a folder of an object store; and paths in one, on a store that lies in this process' memory."""

import json
import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hnmine.config.file import check_config
from hnmine.errors import LockedOutput, MissingExtra, OutputError
from hnmine.storage import lock
from hnmine.storage.lock import lock_folder
from hnmine.storage.paths import local_copy, path_of, remove_tree
from hnmine.storage.remote_path import RemoteFile, RemotePath
from hnmine.storage.store import Shards, clear_temporaries, read_json, read_key, remove_folder, write_table, write_text
from tests.support import ROOT

OWN_PROCESS = "HNMINE_TEST_IN_ITS_OWN_PROCESS"


class Renaming(MemoryFileSystem):
    """A file system whose files are seen while they grow: they must be written under another name and renamed."""

    protocol = "renaming"
    store: dict[str, Any] = {}  # noqa: RUF012 - as its base class has it
    pseudo_dirs = [""]  # noqa: RUF012
    put_under: list[str] = []  # noqa: RUF012

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.put_under.append(rpath)
        super().put_file(lpath, rpath, **options)


fsspec.register_implementation("renaming", Renaming, clobber=True)


@pytest.fixture(params=["memory", "renaming"])
def folder(request: pytest.FixtureRequest) -> RemotePath:
    found = path_of(f"{request.param}://bucket/{secrets.token_hex(4)}")
    assert isinstance(found, RemotePath)
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RENEW": 0.05, "STALE": 0.4, "SETTLE": 0.05, "POLL": 0.05}.items():
        monkeypatch.setattr(lock, f"{name}_SECONDS", value)


def put_lock(folder: Path, **said: Any) -> None:
    held = {"pid": 4, "host": "elsewhere", "machine": "another", "token": "t", "renewed": time.time(), **said}
    (folder / ".lock").write_text(json.dumps(held))


def test_a_second_run_is_refused_and_the_lock_ends_with_the_block(folder: RemotePath) -> None:
    refused = pytest.raises(LockedOutput, match=rf"{folder}: process \d+ on .* is writing to this folder")
    with lock_folder(folder), refused, lock_folder(folder):
        pass
    with pytest.raises(KeyError), lock_folder(folder):
        raise KeyError
    assert not (folder / ".lock").exists()


def test_of_many_at_once_one_gets_it(folder: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    real, deciding = MemoryFileSystem.pipe_file, threading.Lock()

    def decide(*args: Any, **options: Any) -> None:  # as a store does, that makes an object only where there is none
        with deciding:
            real(*args, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", decide)
    inside: list[int] = []
    refused: list[int] = []
    start, leave = threading.Barrier(8), threading.Event()

    def enter(number: int) -> None:
        start.wait()
        try:
            with lock_folder(folder):
                inside.append(number)
                leave.wait(10)
        except LockedOutput:
            refused.append(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(inside) + len(refused) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    leave.set()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 7)


@pytest.mark.usefixtures("quick")
def test_one_that_is_not_renewed_is_followed(folder: RemotePath) -> None:
    put_lock(folder)
    with pytest.raises(LockedOutput, match="process 4 on elsewhere"), lock_folder(folder):
        pass
    put_lock(folder, renewed=time.time() - 1)
    with lock_folder(folder):
        assert read_json(folder / ".lock")["host"] != "elsewhere"
    put_lock(folder)
    with lock_folder(folder, wait=True):
        assert read_json(folder / ".lock")["host"] != "elsewhere"


@pytest.mark.usefixtures("quick")
def test_one_that_is_renewed_is_not_followed_though_its_clock_is_late(folder: RemotePath) -> None:
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.01):
            put_lock(folder, renewed=time.time() - 1000)

    put_lock(folder, renewed=0)
    other = threading.Thread(target=renew)
    other.start()
    try:
        with pytest.raises(LockedOutput), lock_folder(folder):
            pass
    finally:
        ended.set()
        other.join()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "3"])
def test_a_lock_that_says_nothing_is_followed_when_it_stands_still(folder: RemotePath, content: str) -> None:
    (folder / ".lock").write_text(content)
    with lock_folder(folder):
        assert read_json(folder / ".lock")["pid"] == os.getpid()


@pytest.mark.usefixtures("quick")
def test_a_run_that_was_followed_is_stopped(folder: RemotePath, request: pytest.FixtureRequest) -> None:
    if OWN_PROCESS not in os.environ:  # the signal is for a whole process; a test worker holds more than this test
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", f"{__file__}::{request.node.name}"]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, OWN_PROCESS: "1"}, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode()
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(LockedOutput, match="another may write there now"), lock_folder(folder):  # noqa: PT012
            put_lock(folder)
            time.sleep(30)
    finally:
        signal.signal(signal.SIGINT, before)
    assert read_json(folder / ".lock")["host"] == "elsewhere", "the lock of the other is left alone"


def test_a_dead_process_of_this_machine_is_followed_at_once(
    folder: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_lock(folder, pid=2**22 + 1, machine=lock._machine())  # above the largest process id there can be
    slept: list[float] = []
    monkeypatch.setattr(lock.time, "sleep", slept.append)
    with lock_folder(folder):
        assert sum(slept) <= lock.SETTLE_SECONDS


def test_paths_are_said_kept_and_sent_as_they_were_given(folder: RemotePath) -> None:
    below = folder / "embed" / "part-00000.parquet"
    assert str(below) == f"{folder}/embed/part-00000.parquet"
    assert pickle.loads(pickle.dumps(below)) == below  # noqa: S301 - our own
    assert str(pickle.loads(pickle.dumps(below))) == str(below)  # noqa: S301
    assert below.resolve() is below
    assert (below.name, below.suffix, str(below.parent.parent)) == ("part-00000.parquet", ".parquet", str(folder))
    with pytest.raises(TypeError, match="is in an object store"):
        os.stat(below)  # noqa: PTH116 - what must not work
    assert str(path_of("hdfs:///data/run")) == "hdfs://default/data/run"
    assert path_of("file:///data/run", Path("/base")) == Path("/data/run")
    assert path_of("run", Path("/base")) == Path("/base/run")
    assert not isinstance(path_of("run"), RemotePath)
    config = check_config({"out": "s3://bucket/run", "input": {"pairs": "p.jsonl"}}, "test", Path("/base"))
    assert str(config.out_folder) == "s3://bucket/run"


def test_tables_texts_and_their_keys(folder: RemotePath, tmp_path: Path) -> None:
    schema = pa.schema([pa.field("number", pa.int64(), nullable=False), pa.field("text", pa.string(), nullable=False)])
    table = pa.table({"number": list(range(5000)), "text": [f"text {n}" for n in range(5000)]}, schema=schema)
    for root in (folder, tmp_path):
        write_table(table, root / "part-00000.parquet", "key")
        write_text("lines\n", root / "lines.jsonl", "other key")
        assert (read_key(root / "part-00000.parquet"), read_key(root / "lines.jsonl")) == ("key", "other key")
        assert (read_key(root / "part-00001.parquet"), read_key(root / "no.jsonl")) == (None, None)
    for path in tmp_path.rglob("*.*"):
        assert (folder / path.relative_to(tmp_path)).read_bytes() == path.read_bytes()
    shards = Shards(folder, schema)
    assert shards.rows == 5000
    assert shards.read(0).equals(table)
    assert shards.take(np.array([7, 4999, 7]), ["text"]).column(0).to_pylist() == ["text 7", "text 4999", "text 7"]
    names = sorted(path.name for path in folder.rglob("*"))
    assert names == ["lines.jsonl", "lines.jsonl", "part-00000.parquet"], "nothing half-written is left"
    if folder.scheme == "renaming":
        assert all("/.tmp-" in name for name in Renaming.put_under)
    write_table(table.slice(0, 3), folder / "part-00000.parquet", "new key")
    assert (read_key(folder / "part-00000.parquet"), Shards(folder, schema).rows) == ("new key", 3)


def test_any_part_of_an_object_can_be_read(folder: RemotePath) -> None:
    content = bytes(range(256)) * 5
    (folder / "bytes").write_bytes(content)
    file = RemoteFile(folder / "bytes")
    file.seek(-300, 2)
    assert (file.read(100), file.tell()) == (content[-300:-200], len(content) - 200)
    assert file.read() == content[-200:]
    assert file.read(5) == b""
    file.seek(10)
    file.seek(5, 1)
    assert file.read(3) == content[15:18]
    with (folder / "bytes").open("rb") as buffered:
        assert sum(len(line) for line in buffered) == len(content)
    with local_copy(folder / "bytes") as copy:
        assert copy.read_bytes() == content
    assert not copy.exists()


def test_a_write_that_fails_leaves_nothing(folder: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", fail)
        with pytest.raises(OutputError, match=rf"{folder}/a.json: cannot be written: No space left on device; check "):
            write_text("{}", folder / "a.json")
    with monkeypatch.context() as patch:
        patch.setattr("hnmine.storage.store._put", fail)
        with pytest.raises(OutputError, match=r"a temporary file in .* cannot be written: No space left.*TMPDIR"):
            write_text("{}", folder / "a.json")
    assert list(folder.rglob("*")) == []


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    real = MemoryFileSystem.rm_file

    def note(self: Any, path: str) -> None:
        names.append(path.rpartition("/")[2])
        real(self, path)

    monkeypatch.setattr(MemoryFileSystem, "rm_file", note)
    return names


def test_a_stage_is_removed_from_its_manifest_to_its_key(folder: RemotePath, removed: list[str]) -> None:
    for name in ("a", "_manifest.json", "_started.json", "z", "deep/part-00000.parquet"):
        (folder / "emit" / name).write_text("x")
    (folder / "report.json").write_text("x")
    remove_folder(folder / "emit")
    assert (removed[0], removed[-1], len(removed)) == ("_manifest.json", "_started.json", 5)
    assert [path.name for path in folder.rglob("*")] == ["report.json"]
    remove_tree(folder / "gone")
    remove_folder(folder / "gone")


def test_folders_that_are_kept_stay_with_the_key_and_the_manifest_goes_first(
    folder: RemotePath, removed: list[str]
) -> None:
    names = ("_manifest.json", "_started.json", "a", "corpus/part-00000.parquet", "corpus-int8.parquet", "b/corpus/x")
    for name in names:
        (folder / "embed" / name).write_text("x")
    remove_folder(folder / "embed", keep=("corpus", "gone"))
    assert removed[0] == "_manifest.json"
    left = {str(path)[len(str(folder)) + 1 :] for path in folder.rglob("*")}
    assert left == {"embed/_started.json", "embed/corpus/part-00000.parquet"}


def test_what_a_dead_run_left_half_written_is_removed(folder: RemotePath) -> None:
    for name in (".tmp-one", "emit/.tmp-two", "emit/part-00000.parquet"):
        (folder / name).write_text("x")
    clear_temporaries(folder)
    assert [path.name for path in folder.rglob("*")] == ["part-00000.parquet"]


def test_stores_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*args: Any, **options: Any) -> None:
        raise ImportError("Please install gcsfs")

    refused = pytest.raises(OutputError, match=r"nonsense://bucket/run/.lock: cannot be used: Protocol not known")
    with refused, lock_folder(path_of("nonsense://bucket/run")):
        pass
    monkeypatch.setattr("fsspec.core.url_to_fs", lacks)
    refused = pytest.raises(MissingExtra, match=r"gs://bucket/run/.lock: gs:// needs gcsfs: pip install gcsfs")
    with refused, lock_folder(path_of("gs://bucket/run")):
        pass
    with pytest.raises(MissingExtra, match=r"needs s3fs: pip install 'hnmine\[s3\]'"):
        path_of("s3://bucket/run").exists()
