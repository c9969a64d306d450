"""`hnmine plan --cluster`: what it prints, what breaks first, what a bad cluster file is told; and docs/scale.md."""

import json
import re
import shlex
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnmine.cli.app import app
from hnmine.commands.plan.cluster import ClusterConfig, CollectionTable, load_cluster
from hnmine.commands.plan.cost_model import cluster_plan
from hnmine.commands.plan.plan import make_plan
from hnmine.commands.plan.workload import Workload
from hnmine.config.file import check_config, load_config
from hnmine.errors import ConfigError, ModelError
from hnmine.pipeline.run import run
from tests.support import ROOT, config_for, make_collection

PAGE = (ROOT / "docs" / "scale.md").read_text()


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("number", [0, 1])
def test_the_pages_tables_are_what_its_commands_print(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    command, shown = re.findall(r"```sh\n(hnmine plan .*?)\n```.*?```text\n(.*?)```", PAGE, re.DOTALL)[number]
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    printed = squeezed(done.output)
    assert squeezed(shown) == [line for line in printed if line in set(squeezed(shown))]


def test_the_page_shows_the_cluster_file_that_it_plans_for() -> None:
    [shown] = re.findall(r"```toml cluster\n(.*?)```", PAGE, re.DOTALL)
    assert shown == (ROOT / "docs" / "examples" / "cluster.toml").read_text()


@pytest.mark.parametrize("table", [ClusterConfig, CollectionTable])
def test_the_page_explains_every_key_of_the_cluster_file(table: type[ClusterConfig | CollectionTable]) -> None:
    for name, field in table.model_fields.items():
        assert re.search(rf"^\| `{name}` \|.*\| {re.escape(field.description or '')}", PAGE, re.MULTILINE), name


def limits(config: dict[str, object], cluster: dict[str, object], **sizes: float) -> dict[str, float]:
    collection = CollectionTable.model_validate({"documents": 10**8, "queries": 10**6, "dim": 384, **sizes})
    checked = check_config({"input": {"pairs": "pairs.parquet"}, "index": {"kind": "flat"}, **config}, "test", ROOT)
    found = cluster_plan(Workload.of(checked, collection), ClusterConfig.model_validate(cluster))["limits"]
    assert [limit["use"] for limit in found] == sorted((limit["use"] for limit in found), reverse=True)
    return {limit["name"]: limit["use"] for limit in found}


def test_more_documents_than_a_key_has_room_for_break() -> None:
    assert limits({}, {}, documents=2**32)["row numbers of documents"] > 1
    assert limits({}, {}, documents=2**32 - 1)["row numbers of documents"] == 1


def test_long_texts_in_large_shards_break_emit() -> None:
    name = "texts of a shard's negatives"
    assert limits({}, {}, document_bytes=120_000.0)[name] > 1
    assert limits({"shard_rows": 1024}, {}, document_bytes=120_000.0)[name] < 1


def test_ids_of_ready_vectors_break_at_two_gigabytes() -> None:
    ready = {"embed": {"model": "precomputed", "corpus_vectors": "a", "query_vectors": "b"}}
    assert limits(ready, {}, documents=140_000_000)["ids of ready vectors"] > 1
    assert limits(ready, {}, documents=130_000_000)["ids of ready vectors"] < 1


def test_processes_of_a_node_share_its_memory() -> None:
    ray = {"engine": "ray", "memory": "20GB"}
    many = limits(ray, {"cores": 16, "memory": "64GB"})["memory of retrieve"]
    one = limits({**ray, "task_cpus": 16}, {"cores": 16, "memory": "64GB"})["memory of retrieve"]
    assert many > 1 > one


def test_a_collection_that_is_there_is_counted_and_one_to_be_is_not_looked_for(tmp_path: Path) -> None:
    base = make_collection(tmp_path, documents=60, queries=20)
    there = make_plan(config_for(base), None, ClusterConfig())
    assert (there["documents"], there["queries"], there["scale"]["steps"][0]["tasks"]) == (60, 20, 1)
    cluster = ClusterConfig(collection=CollectionTable(documents=5000, queries=300))
    to_be = make_plan(config_for(tmp_path / "nowhere"), None, cluster)
    assert (to_be["documents"], to_be["dim"]) == (5000, 256)
    assert {stage["state"] for stage in to_be["stages"]} == {"to do"}


def test_nodes_that_the_engine_does_not_use_are_named(tmp_path: Path) -> None:
    cluster = ClusterConfig(nodes=4, collection=CollectionTable(documents=5000, queries=300))
    assert "4 nodes are given" in " ".join(make_plan(config_for(tmp_path), None, cluster)["scale"]["warnings"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes = 0", "nodes: input should be greater"), ("nods = 3", "nods: unknown key; known keys: nodes"),
        ('memory = "much"', "memory: 'much' is not a size"), ("nodes = ", "not valid TOML"),
        ("[collection]\nqueries = 3", "collection.documents: field required"),
    ],
)  # fmt: skip
def test_a_bad_cluster_file_is_told_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "cluster.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"cluster\.toml") as raised:
        load_cluster(tmp_path / "cluster.toml")
    assert said in str(raised.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_cluster(tmp_path / "none.toml")


def test_the_examples_are_whole_and_json_has_every_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = ROOT / "docs" / "examples"
    for name in ("scale.toml", "settled.toml"):
        assert load_config(examples / name).engine == "ray"
    command = ["plan", str(examples / "scale.toml"), "--cluster", str(examples / "cluster.toml"), "--json"]
    done = CliRunner().invoke(app, command)
    scale = json.loads(done.stdout)["scale"]
    assert scale["hours"] == pytest.approx(sum(step["hours"] for step in scale["steps"]))
    assert len(scale["limits"]) > 8


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub, and a network that must not be used although the hub's client may use it."""

    def refused(*given: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached_model(hub: Path, name: str, dim: int) -> None:
    folder = hub / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "snapshots" / ("0" * 40) / "config.json").write_text(json.dumps({"hidden_size": dim}))


def test_a_model_that_is_not_downloaded_is_said_and_not_fetched(tmp_path: Path, no_network: Path) -> None:
    base = make_collection(tmp_path, documents=60, queries=20)
    config = config_for(base, embed={"model": "some/teacher"}, rescore={"model": "some/cross-encoder"})
    found = make_plan(config)
    assert found["dim"] == 768
    assert [line for line in found["warnings"] if "not downloaded yet" in line] == [
        "embed.model 'some/teacher' is not downloaded yet: its size and dimension are unknown, so disk and memory are "
        "estimated with vectors of 768 numbers and a small model",
        "rescore.model 'some/cross-encoder' is not downloaded yet: its size is unknown, so memory is estimated with "
        "that of a small model",
    ]
    assert {stage["state"] for stage in found["stages"]} == {"to do"}
    done = CliRunner().invoke(app, ["plan", str(write_config(tmp_path, "some/teacher")), "--json"])
    assert done.exit_code == 0, done.output


def write_config(folder: Path, model: str) -> Path:
    path = folder / "plan.toml"
    names = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}
    lines = [f'{key} = "{folder / name}"' for key, name in names.items()]
    path.write_text("\n".join(["[input]", *lines, "[embed]", f'model = "{model}"']))
    return path


def test_a_model_of_the_hubs_cache_gives_its_dimension_without_the_network(tmp_path: Path, no_network: Path) -> None:
    cached_model(no_network, "some/teacher", 48)
    base = make_collection(tmp_path, documents=60, queries=20)
    found = make_plan(config_for(base, embed={"model": "some/teacher"}))
    assert found["dim"] == 48
    assert not any("downloaded" in line for line in found["warnings"])


def test_stages_of_a_run_whose_model_is_gone_are_not_called_stale(tmp_path: Path, no_network: Path) -> None:
    base = make_collection(tmp_path, documents=60, queries=20)
    run(config_for(base))
    found = {
        one["stage"]: one["state"] for one in make_plan(config_for(base, embed={"model": "some/teacher"}))["stages"]
    }
    assert found["ingest"] == "done"
    assert (
        found["embed"]
        == "done before; whether it still fits is known once the models are downloaded or their servers asked"
    )


def test_a_folder_that_is_no_model_is_an_error_as_in_a_run(tmp_path: Path, no_network: Path) -> None:
    base = make_collection(tmp_path, documents=60, queries=20)
    with pytest.raises(ModelError, match=r"embed.model: no folder"):
        make_plan(config_for(base, embed={"model": "./nowhere"}))
