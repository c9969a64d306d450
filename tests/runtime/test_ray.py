"""The same run on a Ray cluster: the same bytes, whatever dies on the way; and plain words where it cannot work."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from hnmine import run
from hnmine.cli.run_stages import option_settings
from hnmine.config.file import load_config
from hnmine.errors import ClusterError, ConfigError, HnmineError, InputError, MissingExtra, OutputError, WorkerDied
from hnmine.pipeline.run import ShardWorker
from hnmine.pipeline.stages import STAGES
from hnmine.runtime import ray_cluster
from hnmine.runtime.ray_cluster import Cluster, connect
from hnmine.runtime.ray_engine import TRIES, RayEngine, work
from hnmine.runtime.stage import Item
from hnmine.runtime.worker_slot import WorkerSlot, cores, current_slot, set_slot, thread_count
from tests.support import config_for, make_collection, tree

ray = pytest.importorskip("ray", reason="ray is not installed")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of a node in /proc"),
]

SMALL = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
TABLES: dict[str, Any] = {
    "shard_rows": 256,
    "emit": {"num_negatives": 3, "choose": "random", "max_per_document": 40, "format": "bge"},
}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes on this machine; the first pretends to have a GPU."""
    from ray.cluster_utils import Cluster as Nodes

    found = Nodes(initialize_head=True, head_node_args={**SMALL, "num_gpus": 1}, shutdown_at_exit=True)
    found.add_node(**SMALL)
    connect(found.address, 1)  # once for all tests: workers that are warm save a second each
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("ray"), 1000, 520)


@pytest.fixture(scope="module")
def whole(base: Path) -> Path:
    run(config_for(base, "whole", **TABLES))
    return base / "whole"


@pytest.fixture
def engine(nodes: Any, tmp_path: Path) -> Iterator[RayEngine]:
    made = RayEngine(Cluster(nodes.address, tmp_path / "out", wait=0))
    yield made
    made.close()
    assert not list(tmp_path.rglob(".tmp-*"))


def on_ray(nodes: Any, base: Path, out: str) -> None:
    run(config_for(base, out, **TABLES, engine="ray", ray_address=nodes.address))


def wait_for(there: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not there() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert there(), "it did not come in time"


CALLS = Counter[str]()


def count_calls(name: str) -> tuple[int, int]:
    CALLS[name] += 1
    return os.getpid(), CALLS[name]


def threads_of(number: int) -> tuple[int, int]:
    return thread_count(), current_slot().count


def die(folder: Path) -> NoReturn:
    (folder / f"try-{os.getpid()}").touch()
    os._exit(3)


def crash(folder: Path) -> NoReturn:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def refuse(number: int) -> NoReturn:
    raise InputError(f"corpus.jsonl line {number}: no text")


def fault(number: int) -> NoReturn:
    raise ZeroDivisionError(number)


class Watched(ShardWorker):
    """Leaves a mark for each try; on the node named in `doomed` the first waits to be killed."""

    def __call__(self, item: Item) -> int:
        marks = self.context.out.parent / "marks"
        node = ray.get_runtime_context().get_node_id()
        (marks / f"{self.stage} {self.step} {item.number} {os.getpid()}").touch()
        if self.stage == "embed" and (marks / "doomed").read_text() == node:
            (marks / "caught").touch()
            time.sleep(120)
        return super().__call__(item)


def kill_node(node: Any) -> None:
    """End a node as a power cut does: its raylet and every worker at once."""
    raylet = node.all_processes["raylet"][0].process.pid
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    for pid in [raylet, *(pid for pid, parent in parents.items() if parent == raylet)]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_one_process_a_pool_and_a_cluster_write_the_same_bytes(nodes: Any, base: Path, whole: Path) -> None:
    run(config_for(base, "pooled", **TABLES, engine="pool"))  # of one process: two take twice as long to start
    on_ray(nodes, base, "clustered")
    assert tree(base / "pooled") == tree(whole)
    assert tree(base / "clustered") == tree(whole)


@pytest.mark.slow
def test_a_search_in_parts_writes_the_same_bytes(nodes: Any, base: Path, whole: Path) -> None:
    parts = {"index": {"splits": 3}, "engine": "ray", "ray_address": nodes.address}
    run(config_for(base, "parts", **TABLES, **parts))
    assert tree(base / "parts") == tree(whole)


@pytest.mark.slow
def test_a_node_that_dies_under_a_task_costs_its_tasks_and_no_byte(
    nodes: Any, base: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = base / "marks"
    marks.mkdir()
    doomed = nodes.add_node(**SMALL)
    (marks / "doomed").write_text(doomed.node_id)
    monkeypatch.setattr("hnmine.pipeline.run.ShardWorker", Watched)

    def strike() -> None:
        wait_for((marks / "caught").exists)
        kill_node(doomed)

    killer = threading.Thread(target=strike)
    killer.start()
    on_ray(nodes, base, "struck")
    killer.join()
    nodes.remove_node(doomed, allow_graceful=False)
    tries = Counter(path.name.rpartition(" ")[0] for path in marks.iterdir())
    assert any(name.startswith("embed") and count > 1 for name, count in tries.items())
    assert tree(base / "struck") == tree(whole)


@pytest.mark.slow
def test_a_driver_that_is_stopped_or_killed_goes_on_to_the_same_bytes(nodes: Any, base: Path, whole: Path) -> None:
    (base / "c.toml").write_text(
        'out = "stopped"\nshard_rows = 256\nengine = "ray"\n[embed]\nmodel = "hash"\n[retrieve]\ntop_k = 10\n'
        '[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n[filter]\nrule = "percent"\n'
        '[emit]\nnum_negatives = 3\nchoose = "random"\nmax_per_document = 40\nformat = "bge"\n'
    )
    for number, file in (
        (signal.SIGTERM, "embed/corpus/part-00000.parquet"),
        (signal.SIGKILL, "retrieve/part-00000.parquet"),
    ):
        with subprocess.Popen(
            [sys.executable, "-m", "hnmine", "run", base / "c.toml", "--ray-address", "auto"],
            env={**os.environ, "RAY_ADDRESS": nodes.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as driver:
            wait_for((base / "stopped" / file).exists)
            driver.send_signal(number)
            out, said = driver.communicate(timeout=60)
        assert out == ""
        assert driver.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL), said
        if number == signal.SIGTERM:
            assert said.endswith("stopped; what is finished is kept: run the same command again to continue\n")
    done = {path: path.stat().st_ino for path in (base / "stopped/embed").rglob("part-*")}
    on_ray(nodes, base, "stopped")
    assert {path: path.stat().st_ino for path in done} == done
    assert tree(base / "stopped") == tree(whole)


def test_every_result_comes_once_and_a_worker_keeps_what_it_loaded(engine: RayEngine) -> None:
    found = dict(engine.map(count_calls, ["gpu"] * 6, cpus=0.5, gpus=1))
    assert sorted(found) == list(range(6))
    assert sorted(found.values()) == [(pid, number) for pid in {p for p, _ in found.values()} for number in range(1, 7)]
    assert list(engine.map(count_calls, [])) == []


@pytest.mark.parametrize("end", [die, crash])
def test_a_task_that_always_ends_its_worker_ends_the_run(engine: RayEngine, tmp_path: Path, end: Any) -> None:
    with pytest.raises(WorkerDied, match=rf"ended its worker process {TRIES} times.*finished|{TRIES} times.*Finished"):
        list(engine.map(end, [tmp_path]))
    if end is die:
        assert len(list(tmp_path.glob("try-*"))) == TRIES


def test_a_task_uses_the_cores_that_it_asks_for(engine: RayEngine) -> None:
    assert list(engine.map(threads_of, [0], cpus=1)) == [(0, (1, 2))]
    assert work(threads_of, 0, 6.0, "") == (6, 2)
    set_slot(WorkerSlot())
    assert threads_of(0) == (cores(), 1)


def test_errors_come_back_as_they_are(engine: RayEngine) -> None:
    with pytest.raises(HnmineError) as caught:
        list(engine.map(refuse, [7]))
    assert type(caught.value) is InputError
    assert str(caught.value).startswith("corpus.jsonl line 7: no text")
    with pytest.raises(ZeroDivisionError):
        list(engine.map(fault, [7]))


def test_what_no_node_offers_is_said(engine: RayEngine) -> None:
    with pytest.raises(ClusterError, match=r"no node .* has the resources of a task, 1 CPU and 3 GPU .*1 CPU, 1 GPU"):
        list(engine.map(count_calls, ["x"], gpus=3))
    with pytest.raises(ClusterError, match="has the resources of a task, 99 CPU "):
        list(engine.map(count_calls, ["x"], cpus=99))


def test_a_folder_that_the_nodes_do_not_share_is_refused(
    engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    real = ray_cluster.make_probe

    def elsewhere(marker: str, sources: list[str], patience: float) -> Callable[[], dict[str, Any]]:
        return real(marker.replace("/out/", "/own/"), sources, 0.1)

    monkeypatch.setattr(ray_cluster, "make_probe", elsewhere)
    with pytest.raises(OutputError, match=r"out: node .* does not share this folder \(No such file or directory\)"):
        list(engine.map(count_calls, ["x"]))


def test_a_run_to_read_from_must_be_on_every_node(engine: RayEngine, tmp_path: Path) -> None:
    engine.cluster.sources = (tmp_path / "gone",)
    with pytest.raises(OutputError, match=r"gone: not there on node .*; put it on shared storage"):
        list(engine.map(count_calls, ["x"]))


def test_a_node_with_other_versions_is_refused(engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    with pytest.raises(ClusterError, match=r"has Python 3\.\d+\.\d+ where this process has 3\.99\.0"):
        list(engine.map(count_calls, ["x"]))


@pytest.mark.parametrize("address", ["nowhere", "ray://127.0.0.1:10001", "http://127.0.0.1:8265", "host:"])
def test_an_address_that_is_none(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=r"is not auto, local or host:port; .*ray job submit"):
        list(RayEngine(Cluster(address, tmp_path)).map(count_calls, ["x"]))


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("127.0.0.1:9", None, "nothing answers at 127.0.0.1:9"),
        ("auto", ConnectionError("Could not find any running Ray instance."), "no Ray cluster was found .*ray start"),
        ("auto", RuntimeError("Version mismatch: The cluster has\n  Ray: 2.1"), "other versions .*install .*Ray: 2.1$"),
        (
            "auto",
            ray.exceptions.AuthenticationError("token is wrong\nmore"),
            "cannot be used: token is wrong; .*RAY_AUTH_TOKEN_PATH",
        ),
    ],
)
def test_a_cluster_that_cannot_be_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, error: Exception | None, message: str
) -> None:
    def init(**arguments: Any) -> NoReturn:
        assert error is not None
        raise error

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match=message) as caught:
        list(RayEngine(Cluster(address, tmp_path)).map(count_calls, ["x"]))
    assert "\n" not in str(caught.value)


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"hnmine\[ray\]"):
        list(RayEngine(Cluster("auto", tmp_path)).map(count_calls, ["x"]))


def test_the_command_lines_options_reach_the_config(tmp_path: Path) -> None:
    settings = tuple(option_settings("ray", "10.0.0.1:6379", None, None))
    assert settings == ("engine=ray", "ray_address=10.0.0.1:6379")
    (tmp_path / "c.toml").write_text('[input]\npairs = "pairs.jsonl"\n')
    config = load_config(tmp_path / "c.toml", settings)
    assert (config.engine, config.ray_address) == ("ray", "10.0.0.1:6379")


def test_a_gpu_by_number_is_refused_where_tasks_see_their_own_alone(tmp_path: Path) -> None:
    config_for(tmp_path, embed={"device": "cuda:1"})
    with pytest.raises(ConfigError, match=r"embed.device: on Ray a task sees only the GPUs assigned to it"):
        config_for(tmp_path, embed={"device": "cuda:1"}, engine="ray")


def test_only_steps_with_a_model_ask_for_a_gpu(tmp_path: Path) -> None:
    assert config_for(tmp_path).model_gpus == 0
    assert config_for(tmp_path, embed={"device": "cuda"}).model_gpus == 1
    assert config_for(tmp_path, embed={"device": "cuda"}, task_gpus=0.5).model_gpus == 0.5
    steps = {(stage.name, step.name) for stage in STAGES.values() for step in stage.steps if step.runs_model}
    lookups = {"fields", "sources", "found", "select"}  # they say which documents are embedded
    every = {(name, step.name) for name in ("embed", "rescore") for step in STAGES[name].steps}
    sparse = {("index", step.name) for step in STAGES["index"].steps if step.name.startswith("sparse-")}
    assert steps == {(name, step) for name, step in every if step not in lookups} | sparse
