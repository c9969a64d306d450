"""Runs whose teachers a server computes: the rows of the same model loaded, paid for once, whatever fails meanwhile."""

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.plan.plan import make_plan
from hnmine.config.models import EmbedConfig
from hnmine.errors import ConfigError, ModelError, ServerError, StaleOutput
from hnmine.models import encoders, http_client
from hnmine.models.served import PROBE, ServedEncoder
from hnmine.pipeline.run import RunOptions
from hnmine.stages.report.limits import report_numbers
from hnmine.stages.report.number_names import number_names
from hnmine.storage.store import read_json
from tests.ctrl_c import ctrl_c_when
from tests.fake_server import HASH, LONG, FakeServer, Fault
from tests.support import config_for, make_collection, tree

SECRET = "sk-Tr0ub4dor"
ROWS = 16


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Small files and short pauses."""
    monkeypatch.setattr(encoders, "SERVED_ROWS", ROWS)
    monkeypatch.setattr(ServedEncoder, "cell_rows", ROWS)
    monkeypatch.setattr(http_client, "FIRST_PAUSE", 0.002)


@pytest.fixture
def base(tmp_path):
    return make_collection(tmp_path)


@pytest.fixture
def server():
    with FakeServer() as found:
        yield found


def served(server, **more) -> dict:
    return {"model": server.url, "request_texts": 5, "requests_in_flight": 2, "retries": 0, **more}


def rows_of(out) -> dict:
    """Return the tables of a run that its teachers determine."""
    names = ("retrieve", "filter", "emit")
    return {name: pq.read_table(sorted((out / name).glob("part-*.parquet"))).to_pydict() for name in names}


WAYS = {
    "embed": lambda teacher: {"embed": teacher},
    "guide": lambda teacher: {"guide": {**teacher, "document_prompt": "amber "}, "filter": {"rule": "guide"}},
    "source": lambda teacher: {
        "retrieve": {
            "source": [
                {"kind": "dense"},
                {"kind": "dense", "name": "other", "teacher": {**teacher, "query_prompt": "x "}},
            ]
        }
    },
    "candidates": lambda teacher: {
        "embed": {**teacher, "documents": "candidates", "sample": 20}, "retrieve": {"source": [{"kind": "bm25"}]}
    },
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_served_teacher_gives_the_rows_of_the_same_model_loaded(base, server, way):
    local = config_for(base, "local", **WAYS[way]({"model": "hash"}))
    other = config_for(base, "served", **WAYS[way](served(server)))
    run(local)
    run(other)
    assert rows_of(other.out_folder) == rows_of(local.out_folder)
    counts = read_json(other.out_folder / "embed/_manifest.json")["counts"]["served"]
    table = {"guide": "guide", "source": "retrieve.source.1.teacher"}.get(way, "embed")
    posts = server.posts()[1:]  # after the probe
    tokens = sum(len(text.split()) for seen in posts for text in seen.body["input"])
    assert counts == {table: {"requests": len(posts), "tokens": tokens}}
    names = {name for name in number_names(other) if name.startswith("counts.embed.served")}
    report = read_json(other.out_folder / "report/report.json")
    assert names == {name for name in report_numbers(report) if name.startswith("counts.embed.served")}
    assert len(names) == 2


def test_a_finished_run_asks_for_one_probe_and_needs_no_server(base, server):
    config = config_for(base, embed=served(server))
    run(config)
    before = len(server.seen)
    assert not any(result.ran for result in run(config))
    assert [seen.path for seen in server.seen[before:]] == ["/v1/models", "/v1/embeddings"]
    assert server.seen[-1].body["input"] == [PROBE]
    server.stop()
    assert not any(result.ran for result in run(config))
    again = config_for(base, embed=served(server), filter={"rule": "margin"})
    done = {result.stage: result.ran for result in run(again, options=RunOptions(overwrite=True))}
    assert (done["embed"], done["filter"]) == (False, True)
    (config.out_folder / "embed/_manifest.json").unlink()
    (config.out_folder / "embed/queries/part-00000.parquet").unlink()
    with pytest.raises(ServerError, match=r"cannot be reached: .*run the same command again when the server answers"):
        run(again)


@pytest.mark.parametrize("broken", [4, 9, 17])
def test_a_server_that_dies_costs_no_finished_file_and_changes_no_byte(base, server, broken):
    config = config_for(base, embed=served(server))
    run(config)
    whole, texts = tree(config.out_folder), set(server.texts)
    shutil.rmtree(config.out_folder)
    server.texts.clear()
    server.faults = [None] * broken + [Fault(503)] * 100
    with pytest.raises(ServerError, match="gave 503"):
        run(config)
    embed = config.out_folder / "embed"
    finished = len([*embed.glob("*/part-*.parquet")])
    server.stop()
    paid = server.texts.copy()
    with FakeServer(server.port) as restarted:
        run(config)
    assert tree(config.out_folder) == whole
    both = paid + restarted.texts
    assert set(both) == texts
    twice = [text for text, times in both.items() if times > 1 and text != PROBE]
    assert finished or broken < 5
    assert len(twice) <= ROWS + 2 * 2 * 5  # an unfinished file, and what was sent ahead for the next
    stored = finished * ROWS
    assert sum(restarted.texts.values()) - 1 <= 80 - stored + ROWS  # the last file of a side may be short


def test_ctrl_c_ends_a_run_whose_server_does_not_answer_and_finished_files_are_kept(base, server):
    config = config_for(base, embed=served(server, timeout=LONG))
    server.faults = [None] * 9 + [Fault(never=True)] * 100
    with pytest.raises(KeyboardInterrupt), ctrl_c_when(lambda: len(server.posts()) > 9):
        run(config)
    finished = {path: path.stat().st_mtime_ns for path in config.out_folder.glob("embed/*/part-*.parquet")}
    assert finished
    server.faults.clear()
    run(config)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_neither_shards_nor_requests_change_the_vectors(base, server):
    one = config_for(base, "one", embed=served(server))
    two = config_for(base, "two", embed=served(server, request_texts=3, request_tokens=20), shard_rows=1024)
    run(one, ["ingest", "embed"])
    run(two, ["ingest", "embed"])
    names = [path.relative_to(one.out_folder) for path in sorted(one.out_folder.glob("embed/*/part-*.parquet"))]
    assert len(names) == 4 + 2
    for name in names:
        assert pq.read_table(one.out_folder / name).equals(pq.read_table(two.out_folder / name))
    keys = [read_json(config.out_folder / "embed/_manifest.json")["key"] for config in (one, two)]
    assert keys[0] == keys[1]


def test_a_run_from_another_folder_knows_its_model(base, server):
    first = config_for(base, "first", embed=served(server))
    run(first, ["ingest", "embed"])
    noise = np.random.default_rng(0).normal(0, 1e-6, 256)
    server.embed = lambda texts: HASH.encode(texts, "document") + noise
    second = config_for(base, "second", embed=served(server))
    assert not any(result.ran for result in run(second, ["ingest", "embed"], RunOptions(source=first.out_folder)))


def test_a_changed_server_is_noticed(base, server):
    config = config_for(base, embed=served(server))
    run(config, ["ingest", "embed"])
    server.embed = lambda texts: HASH.encode([f"new {text}" for text in texts], "document")
    with pytest.raises(StaleOutput, match=r"embed: teacher\.probe was "):
        run(config, ["ingest", "embed"])
    server.models = [{"id": "next-model"}]
    with pytest.raises(StaleOutput, match=r'embed: teacher\.model was "hash-model", now "next-model"'):
        run(config, ["ingest", "embed"])
    moved = config_for(base, embed=served(server, model=f"{server.url}/embeddings/"))
    server.embed, server.models = (
        lambda texts: HASH.encode(texts, "document"),
        [{"id": "hash-model", "owned_by": "tests"}],
    )
    assert not any(result.ran for result in run(moved, ["ingest", "embed"]))


def test_the_key_is_in_no_file_of_the_run(base, server, monkeypatch):
    server.key = SECRET
    monkeypatch.setenv("SERVER_KEY", SECRET)
    config = config_for(base, embed=served(server, api_key_env="SERVER_KEY"), report={"html": True})
    run(config)
    files = [path for path in config.out_folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    page = (config.out_folder / "report/report.html").read_text()
    assert f"hash-model, served by {server.url}" in page


def test_a_vector_that_cannot_be_used_is_named_by_its_row(base, server):
    bad = json.loads((base / "corpus.jsonl").read_text().splitlines()[37])["text"]

    def embed(texts):
        found = HASH.encode(texts, "document")
        found[[text == bad for text in texts], 3] = np.nan
        return found

    server.embed = embed
    config = config_for(base, embed=served(server))
    ids = None
    with pytest.raises(ModelError, match=r"holds numbers that are not finite; row \d+ of the texts to encode") as error:
        run(config)
    row = int(re.search(r"row (\d+)", str(error.value))[1])
    ids = pq.read_table(config.out_folder / "ingest/corpus/part-00000.parquet").column("doc_id").to_pylist()
    assert ids[row] == "d37"


def test_a_plan_sends_nothing_and_says_what_a_run_would_send(base, server):
    config = config_for(base, embed=served(server, document_prompt="passage: "), workers=2)
    plan = make_plan(config)
    assert not server.seen
    work = {stage["stage"]: stage for stage in plan["stages"]}
    spent = plan["requests"]["embed"]
    assert spent["requests"] == 12 + 4
    assert f"embed: about 16 requests with {spent['tokens']:,} tokens" in work["embed"]["work"]
    assert any("the server was not asked for its model" in line for line in plan["warnings"])
    assert any("each of 2 workers has up to 2 requests in flight there, 4 in all" in line for line in plan["warnings"])
    assert not any("load the model" in line for line in plan["warnings"])
    run(config_for(base, embed=served(server, document_prompt="passage: ")))
    before = len(server.seen)
    plan = make_plan(config)
    assert {stage["state"] for stage in plan["stages"]} == {"done"}
    assert len(server.seen) == before
    assert not any("was not asked" in line for line in plan["warnings"])


@pytest.mark.parametrize(
    ("embed", "message"),
    [
        ({"max_length": 64, "device": "cpu"}, "embed.max_length, device: only for a model that is loaded, and embed.m"),
        ({"precision": "int8"}, "embed.precision: only for a model that is loaded, and embed.model is a server; leave"),
        ({"batch_tokens": 64}, "embed.batch_tokens: only for a model that is loaded"),
        (
            {"model": "hash", "retries": 3, "served_model": "m"},
            "embed.served_model, retries: only for a model that a s",
        ),
        ({"model": "http://me:pass@host/v1"}, "embed.model: the address holds a user name or a password; name the env"),
        ({"model": "https://host/v1?key=pass"}, "embed.model: the address has a part after ? or #"),
        ({"model": "http:///v1"}, "embed.model: the address names no server"),
        (
            {"model": "http://host:pass/v1"},
            "embed.model: the address is not an address such as http://localhost:8000/v1",
        ),
        (
            {"api_key_env": "sk-pass-123"},
            "embed.api_key_env: is the name of an environment variable in capital letters",
        ),
        ({"request_texts": 0}, "embed.request_texts: input should be greater than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused_together(tmp_path, embed, message):
    with pytest.raises(ConfigError) as error:
        config_for(tmp_path, embed={"model": "http://localhost:8000/v1", **embed})
    assert message in str(error.value)
    assert "pass" not in str(error.value).replace("password", "")


def test_keys_of_other_teachers_know_nothing_of_servers():
    assert list(EmbedConfig().vector_settings()) == [
        "model", "revision", "query_prompt", "document_prompt", "max_length", "similarity", "precision", "dtype",
        "trust_remote_code",
    ]  # fmt: skip
