"""Input from the hub, by the real client and a small hub on this machine."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from hnmine import run
from hnmine.errors import ConfigError, InputError
from hnmine.storage.input_files import TABLE_ENDINGS, find_sources
from tests.storage.hub_server import TOKEN, FakeHub, hub_server
from tests.support import config_for, make_collection, tree

NAME = "someone/questions"
FILES = {
    "README.md": b"no front matter",
    "data/train-0.jsonl": b'{"a": 1}\n',
    "data/train-1.jsonl": b'{"a": 2}\n',
    "data/more/deep.jsonl": b'{"a": 3}\n',
    "odd name.jsonl": b"{}\n",
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with hub_server(tmp_path / "cache") as found:
        found.put(NAME, FILES)
        yield found


def found(entry: str) -> list[tuple[str, bytes]]:
    sources = find_sources(f"hf://datasets/{NAME}{entry}", Path(), "input.corpus", TABLE_ENDINGS)
    return [(source.name.removeprefix(f"hf://datasets/{NAME}"), source.open().read()) for source in sources]


def refused(url: str) -> str:
    with pytest.raises(InputError) as caught:
        find_sources(url, Path(), "input.corpus", TABLE_ENDINGS)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"input.corpus: {url}: ")
    assert "hf_" not in line
    return line


def test_files_globs_and_folders(hub: FakeHub) -> None:
    assert found("/data/train-0.jsonl") == [("/data/train-0.jsonl", FILES["data/train-0.jsonl"])]
    assert found("/odd name.jsonl") == [("/odd name.jsonl", b"{}\n")]
    both = [(f"/data/train-*.jsonl (train-{n}.jsonl)", FILES[f"data/train-{n}.jsonl"]) for n in (0, 1)]
    assert found("/data/train-*.jsonl") == both
    assert [content for _, content in found("/data")] == [b'{"a": 3}\n', *(content for _, content in both)]
    assert len(found("/**/*.jsonl")) == len(found("")) == 4


def test_a_file_is_fetched_once_and_a_moved_branch_is_noticed(hub: FakeHub) -> None:
    old = hub.branches[NAME]["main"]
    for _ in range(2):
        found("/data/train-0.jsonl")
    assert len(hub.fetched()) == 1
    hub.put(NAME, {**FILES, "data/train-0.jsonl": b'{"a": 9}\n'})
    assert found("/data/train-0.jsonl")[0][1] == b'{"a": 9}\n'
    assert len(hub.fetched()) == 2
    assert found(f"@{old}/data/train-0.jsonl")[0][1] == b'{"a": 1}\n'
    hub.put(NAME, {"default/train/0000.jsonl": b"1"}, branch="refs/convert/parquet")
    hub.put(NAME, {"x.jsonl": b"2"}, branch="next")
    assert found("@refs/convert/parquet/default/train/*.jsonl")[0][1] == b"1"
    assert found("@refs%2Fconvert%2Fparquet/default/train")[0][1] == b"1"
    assert found("@next/x.jsonl")[0][1] == b"2"


def test_what_is_not_there(hub: FakeHub) -> None:
    assert refused(f"hf://datasets/{NAME}/data/other.jsonl").endswith("no such file")
    assert refused(f"hf://datasets/{NAME}/data/*.csv").endswith("no file matches")
    assert "no such revision" in refused(f"hf://datasets/{NAME}@other/data/train-0.jsonl")
    assert "no such repository, or a private one" in refused("hf://datasets/someone/nothing/a.jsonl")
    assert "set HF_TOKEN or log in" in refused("hf://datasets/someone/nothing/a.jsonl")
    for url in ("hf://datasets", "hf://", "hf://datasets/one"):
        assert "write hf://datasets/OWNER/NAME/PATH" in refused(url)


def test_all_that_is_wrong_is_said_at_once(hub: FakeHub) -> None:
    entries = [f"hf://datasets/{NAME}/no.jsonl", "hf://datasets/someone/nothing/a.jsonl", "missing.jsonl"]
    with pytest.raises(InputError) as caught:
        find_sources(entries, Path(), "input.corpus", TABLE_ENDINGS)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(("closed", "words"), [("gated", "accept its terms"), ("private", "no such repository")])
def test_gated_and_private_datasets_need_a_token(
    hub: FakeHub, closed: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.closed[NAME] = closed
    url = f"hf://datasets/{NAME}/data/train-0.jsonl"
    assert words in (line := refused(url))
    assert "set HF_TOKEN or log in with `hf auth login`" in line
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the token" in refused(url) or closed == "gated"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert found("/data/train-0.jsonl")[0][1] == FILES["data/train-0.jsonl"]
    assert f"Bearer {TOKEN}" in hub.tokens


def test_a_hub_that_fails(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"hf://datasets/{NAME}/data/train-0.jsonl"
    hub.failing = 400
    assert "status 400" in (line := refused(url))
    assert "Signature" not in line
    hub.failing = 403
    assert "set HF_TOKEN" in refused(url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    assert "onnection refused; check the network and, if it is set, HF_ENDPOINT" in refused(url)


def test_a_connection_that_breaks_between_listing_and_fetching(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **more: object) -> None:  # as the client raises it, which tries again for long before
        raise LocalEntryNotFoundError("not in the cache") from ConnectionError("Connection refused")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", broken)
    assert "Connection refused; check the network" in refused(f"hf://datasets/{NAME}/data/train-0.jsonl")


def test_a_full_disk(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    assert "set HF_HOME to a folder with more" in refused(f"hf://datasets/{NAME}/data/train-0.jsonl")


def test_a_run_from_the_hub_is_that_from_local_files(hub: FakeHub, tmp_path: Path) -> None:
    base = make_collection(tmp_path / "data", 40, 12)
    hub.put_folder("someone/collection", base)
    root = "hf://datasets/someone/collection"
    names = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}
    stages = ["ingest", "embed", "index", "retrieve", "filter", "emit"]
    run(config_for(base, tmp_path / "local"), stages)
    run(config_for(base, tmp_path / "hub", input={role: f"{root}/{name}" for role, name in names.items()}), stages)
    assert tree(tmp_path / "hub") == tree(tmp_path / "local")


def test_a_beir_folder_on_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    base = make_collection(tmp_path / "data", 40, 12)
    (base / "qrels").mkdir()
    (base / "qrels.tsv").rename(base / "qrels/train.tsv")
    hub.put_folder("someone/beir", base)
    none = {"corpus": None, "queries": None, "qrels": None}
    for out, beir in (("local", str(base)), ("hub", "hf://datasets/someone/beir")):
        run(config_for(base, tmp_path / out, input={**none, "beir": beir}), ["ingest"])
    assert tree(tmp_path / "hub") == tree(tmp_path / "local")


def test_a_run_cannot_be_written_to_the_hub(tmp_path: Path) -> None:
    base = make_collection(tmp_path, 40, 12)
    with pytest.raises(ConfigError, match=r"out: hf://datasets/a/b: a repository on the Hugging Face hub.*hf upload"):
        config_for(base, "hf://datasets/a/b")
