"""A whole run in an S3 bucket: the same bytes as on a disk, resumed as there, and plain words where it cannot be."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hnmine import run
from hnmine.commands.audit.audit import Request, audit
from hnmine.commands.compare.compare import compare
from hnmine.commands.explain import explain_query
from hnmine.commands.export_judgements import ExportOptions, export_judgements
from hnmine.commands.plan.plan import make_plan
from hnmine.commands.sweep import sweep
from hnmine.config.file import load_config
from hnmine.errors import HnmineError, InputError, LockedOutput, OutputError
from hnmine.pipeline.run import RunOptions
from hnmine.storage.paths import path_of
from tests.storage.s3server import BUCKET, new_folder, objects, s3_server, store, written
from tests.support import config_for, make_collection, tree

pytestmark = pytest.mark.s3

TABLES: dict[str, Any] = {
    "shard_rows": 256,
    "index": {"kind": "hnsw"},
    "retrieve": {"top_k": 10, "source": [{"kind": "dense"}, {"kind": "bm25", "stem": False}]},
    "emit": {"num_negatives": 3, "choose": "mixed", "fallback": "random", "format": "bge"},
}
THERE = {name: f"s3://{BUCKET}/in/{file}" for name, file in {
    "corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"
}.items()}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as found:
        yield found


@pytest.fixture(scope="module")
def base(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("s3"), 300, 20)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        store().put_file(str(folder / name), f"{BUCKET}/in/{name}")
    return folder


@pytest.fixture(scope="module")
def whole(base: Path) -> Path:
    run(config_for(base, "whole", **TABLES))
    return base / "whole"


@pytest.fixture(scope="module")
def mined(base: Path) -> str:
    """The URL of a whole run, its input in the bucket too."""
    url = new_folder()
    run(config_for(base, url, input=THERE, **TABLES))
    return url


def wait_for(there: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not there() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert there(), "it did not come in time"


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_input_and_output_in_a_bucket_give_the_same_bytes_as_on_a_disk(mined: str, whole: Path) -> None:
    expected, found = tree(whole), objects(mined)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert "index/index.faiss" in found
    assert "emit/_keys/part-00000.jsonl" in found
    assert f"{mined}/.lock".removeprefix("s3://") not in store().find(mined), "the lock is given back"


def test_what_is_done_is_kept(mined: str, base: Path) -> None:
    before = written(mined)
    results = run(config_for(base, mined, input=THERE, **TABLES))
    assert [result.ran for result in results] == [False] * 7
    assert changed(before, written(mined)) == set()


def test_a_lost_object_alone_is_made_again(mined: str, base: Path, whole: Path) -> None:
    lost = ["embed/corpus/part-00001.parquet", "embed/_manifest.json", "emit/part-00000.jsonl", "emit/_manifest.json"]
    before = written(mined)
    for name in lost:
        store().rm_file(f"{mined}/{name}")
    time.sleep(1.1)  # a store tells times to the second
    results = run(config_for(base, mined, input=THERE, **TABLES))
    assert [result.stage for result in results if result.ran] == ["embed", "emit"]
    assert changed(before, written(mined)) == {
        *lost, "embed/_started.json", "emit/_started.json", "emit/_keys/part-00000.jsonl", "emit/README.md",
        "timings.json",
    }  # fmt: skip
    assert objects(mined) == tree(whole)


def start(config: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "hnmine", "run", str(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def write_config(path: Path, url: str) -> Path:
    files = "".join(f'{name} = "{there}"\n' for name, there in THERE.items())
    path.write_text(
        f'out = "{url}"\nshard_rows = 256\n[input]\n{files}[embed]\nmodel = "hash"\n[index]\nkind = "hnsw"\n'
        '[retrieve]\ntop_k = 10\n[[retrieve.source]]\nkind = "dense"\n'
        '[[retrieve.source]]\nkind = "bm25"\nstem = false\n'
        '[filter]\nrule = "percent"\n'
        '[emit]\nnum_negatives = 3\nchoose = "mixed"\nfallback = "random"\nformat = "bge"\n[report]\nhtml = false\n'
    )
    return path


@pytest.mark.slow
def test_two_at_once_one_is_refused_and_a_killed_one_is_followed(base: Path, whole: Path) -> None:
    url = new_folder()
    config = write_config(base / "killed.toml", url)
    with start(config) as child:
        wait_for(lambda: store().exists(f"{url}/embed/corpus/part-00000.parquet"))
        child.send_signal(signal.SIGSTOP)  # or it may be done before it is killed
        with pytest.raises(LockedOutput, match=rf"{url}: process {child.pid} on .* is writing to this folder; wait"):
            run(load_config(config))
        child.kill()
        child.communicate()
    before = written(url)
    assert "report/report.json" not in before
    run(load_config(config))
    assert "embed/corpus/part-00000.parquet" not in changed(before, written(url))
    assert objects(url) == tree(whole)


@pytest.mark.slow
def test_a_stopped_run_gives_its_lock_back_and_goes_on(base: Path, whole: Path) -> None:
    url = new_folder()
    with start(write_config(base / "stopped.toml", url)) as child:
        wait_for(lambda: store().exists(f"{url}/ingest/corpus/part-00000.parquet"))
        child.send_signal(signal.SIGTERM)
        out, said = child.communicate(timeout=60)
    assert (child.returncode, out) == (143, "")
    assert said.endswith("stopped; what is finished is kept: run the same command again to continue\n")
    assert not store().exists(f"{url}/.lock")
    run(load_config(base / "stopped.toml"))
    assert objects(url) == tree(whole)


@pytest.mark.slow
@pytest.mark.spawn
def test_a_pool_of_workers_writes_the_same_bytes(base: Path, whole: Path) -> None:
    url = new_folder()
    run(config_for(base, url, **TABLES, engine="pool", workers=2), ("ingest", "embed"))  # processes take long to start
    run(config_for(base, url, **TABLES))
    assert objects(url) == tree(whole)


@pytest.mark.slow
@pytest.mark.ray
def test_a_ray_cluster_writes_the_same_bytes(base: Path, whole: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    url = new_folder()
    run(config_for(base, url, **TABLES, engine="ray", ray_address="local"))
    assert objects(url) == tree(whole)
    assert not [name for name in store().find(url) if ".tmp-" in name]


def test_another_config_is_refused_or_computed_anew(mined: str, base: Path) -> None:
    url = new_folder()
    store().copy(mined, url, recursive=True)
    tables = {**TABLES, "emit": {**TABLES["emit"], "num_negatives": 4}}
    config = config_for(base, url, input=THERE, **tables)
    with pytest.raises(OutputError, match=rf"{url} holds results of another config.*\n.*num_negatives was 3, now 4"):
        run(config)
    assert [r.stage for r in run(config, options=RunOptions(overwrite=True)) if r.ran] == ["emit", "report"]
    run(config_for(base, "two", **tables))
    assert objects(url) == tree(base / "two")


def test_commands_that_read_a_finished_run_take_its_url(mined: str, base: Path, whole: Path) -> None:
    here, there = config_for(base, "whole", **TABLES), config_for(base, mined, input=THERE, **TABLES)
    assert explain_query(there, "q3") == explain_query(here, "q3")
    assert make_plan(there)["disk_free_bytes"] is None
    assert {stage["state"] for stage in make_plan(there)["stages"]} == {"done"}
    sets = compare([mined, str(whole)])["sets"]
    assert sets[0].pop("name") == mined
    assert sets[1].pop("name") == str(whole)
    assert sets[0] == sets[1]
    assert sweep(there) == sweep(here)
    for config, name in ((there, "there.jsonl"), (here, "here.jsonl")):
        export_judgements(config, base / name, ExportOptions(20, 3, False))
    assert (base / "there.jsonl").read_bytes() == (base / "here.jsonl").read_bytes()
    assert audit(Request((mined,)))["counts"] == audit(Request((str(whole),)))["counts"]
    reused = run(config_for(base, "reused", **TABLES), options=RunOptions(source=path_of(mined)))
    assert [result.ran for result in reused] == [False] * 7


def test_an_earlier_run_in_a_bucket_is_mined_again(mined: str, base: Path, whole: Path) -> None:
    previous = {"replace": "easy"}
    run(config_for(base, "again-there", **TABLES, previous={"run": mined, **previous}))
    run(config_for(base, "again-here", **TABLES, previous={"run": str(whole), **previous}))
    assert tree(base / "again-there") == tree(base / "again-here")


def error_of(fails: Callable[[], Any]) -> HnmineError:
    with pytest.raises(HnmineError) as caught:
        fails()
    return caught.value


def test_a_bucket_that_is_not_there(base: Path) -> None:
    error = error_of(lambda: run(config_for(base, "s3://no-such-bucket/run")))
    assert isinstance(error, OutputError)
    assert str(error).startswith(
        "s3://no-such-bucket/run/.lock: cannot be written: The specified bucket does not exist; "
    )
    assert "check the bucket, the credentials and the endpoint" in str(error)
    error = error_of(lambda: run(config_for(base, "local", input={"corpus": "s3://no-such-bucket/corpus.jsonl"})))
    assert isinstance(error, InputError)
    assert "input.corpus: s3://no-such-bucket/corpus.jsonl: " in str(error)


def test_the_command_line_says_what_is_wrong_and_where(base: Path) -> None:
    command = [sys.executable, "-m", "hnmine", "run", str(write_config(base / "wrong.toml", new_folder()))]
    done = subprocess.run(
        [*command, "--out", "s3://no-such-bucket/run"], capture_output=True, text=True, env=os.environ
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("error: s3://no-such-bucket/run/.lock: cannot be written: ")
    assert "Traceback" not in done.stderr


def test_a_store_that_refuses(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3FileSystem

    real, refused = S3FileSystem._call_s3, {"put_object"}

    async def forbid(self: Any, method: str, *args: Any, **options: Any) -> Any:
        if method in refused:
            raise PermissionError(13, "Access Denied")
        return await real(self, method, *args, **options)

    monkeypatch.setattr(S3FileSystem, "_call_s3", forbid)
    for what in ("written", "read"):
        error = error_of(lambda: run(config_for(base, new_folder(), **TABLES)))
        assert isinstance(error, OutputError)
        assert f"/.lock: cannot be {what}: Access Denied; check the bucket, the credentials and the" in str(error)
        refused = {"get_object"}


def test_a_store_that_cannot_be_reached(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    S3FileSystem.clear_instance_cache()
    try:
        error = error_of(lambda: run(config_for(base, new_folder(), **TABLES)))
    finally:
        S3FileSystem.clear_instance_cache()
    assert isinstance(error, OutputError)
    assert "/.lock: cannot be written: Could not connect to the endpoint URL: " in str(error)
