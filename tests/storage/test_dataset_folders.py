"""Folders that `datasets` writes, read as what they are: in the order of the dataset, one split at a time."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hnmine.commands.plan.plan import make_plan
from hnmine.errors import InputError
from hnmine.storage.input_files import TABLE_ENDINGS, find_sources
from tests.readers.helpers import CORPUS, ONLY_PAIRS, QRELS, QUERIES, Ingested, ingest, refused, small
from tests.support import config_for, write_jsonl


def names(folder: Path, entry: str = "d") -> list[str]:
    sources = find_sources(entry, folder, "input.corpus", TABLE_ENDINGS)
    return [Path(source.path).relative_to(folder / entry).as_posix() for source in sources]


def why_not(folder: Path, entry: str = "d") -> str:
    with pytest.raises(InputError) as caught:
        names(folder, entry)
    return str(caught.value)


def write_stream(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def saved(folder: Path, **state: Any) -> Path:
    """Write a folder as `save_to_disk` does, whose files are not in the order of their names."""
    files = ["data-b.arrow", "data-a.arrow"]
    for name in files:
        write_stream(folder / name, pa.table({"doc_id": [name], "text": ["a"]}))
    state = {"_data_files": [{"filename": name} for name in files], **state}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def with_card(folder: Path, front: str) -> Path:
    for name in ("data/train-0.jsonl", "data/train-1.jsonl", "data/test-0.jsonl", "other/x.jsonl"):
        write_jsonl(folder / name, [{"doc_id": name, "text": "a"}])
    (folder / "README.md").write_text(f"---\n{front}\n---\n# A dataset\n")
    return folder


def test_the_state_names_files_and_their_order(tmp_path: Path) -> None:
    saved(tmp_path / "d")
    assert names(tmp_path) == names(tmp_path, "d/") == ["data-b.arrow", "data-a.arrow"]
    (tmp_path / "d/data-a.arrow").unlink()
    assert "names files that are missing: 'data-a.arrow'" in why_not(tmp_path)
    for files in ('["a"]', "3", "[{}]"):
        (tmp_path / "d/state.json").write_text(f'{{"_data_files": {files}}}')
        assert "_data_files is not as `datasets` writes it" in why_not(tmp_path)
    saved(tmp_path / "d", _data_files=[])
    assert why_not(tmp_path).endswith("a dataset without rows (state.json names no files)")
    (tmp_path / "d/state.json").write_text("[" * 100_000)
    assert "state.json: not valid JSON" in why_not(tmp_path)
    (tmp_path / "d/state.json").write_text("{")
    assert "state.json: not valid JSON" in why_not(tmp_path)


def test_a_file_of_indices_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "d", _indices_data_files=[{"filename": "indices.arrow"}])
    assert "call flatten_indices() before save_to_disk()" in why_not(tmp_path)


def test_of_several_splits_one_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "d/train")
    (tmp_path / "d/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert "a DatasetDict with the splits 'train', 'test'; name one of them: d/SPLIT" in why_not(tmp_path)
    assert len(names(tmp_path, "d/train")) == 2


@pytest.mark.parametrize(
    "front",
    [
        'configs:\n- config_name: default\n  data_files: "data/train-*"',
        "configs:\n- config_name: a\n  data_files:\n  - data/train-*",
        "configs:\n- config_name: a\n  data_files:\n  - split: train\n    path: data/train-*",
        "configs:\n- data_files:\n    train: [data/train-0*, data/train-1*]",
    ],
)
def test_a_card_names_the_files(tmp_path: Path, front: str) -> None:
    with_card(tmp_path / "d", front)
    assert names(tmp_path) == ["data/train-0.jsonl", "data/train-1.jsonl"]


def test_a_card_with_several_splits_or_configurations(tmp_path: Path) -> None:
    splits = ["- split: train\n    path: data/train-*", "- split: test\n    path: data/test-*"]
    with_card(tmp_path / "d", "configs:\n- config_name: a\n  data_files:\n  " + "\n  ".join(splits))
    message = why_not(tmp_path)
    assert "a train: d/data/train-*, a test: d/data/test-*" in message
    assert names(tmp_path, "d/data") == ["test-0.jsonl", "train-0.jsonl", "train-1.jsonl"]
    with_card(tmp_path / "d", "configs:\n- config_name: a\n  data_files: data/*\n- config_name: b\n  data_files: o/*")
    assert "b train: d/o/*" in why_not(tmp_path)


@pytest.mark.parametrize(
    "front", ["tags: [a]", "configs: 3", "- a", "a: [", "configs:\n- config_name: a", "configs:\n- data_files: 3"]
)
def test_other_front_matters_name_no_files(tmp_path: Path, front: str) -> None:
    with_card(tmp_path / "d", front)
    assert len(names(tmp_path)) == 4


@pytest.mark.parametrize("mark", ["config_name: default", "config_name: b\n  default: true"])
def test_the_default_configuration_is_taken_as_load_dataset_takes_it(tmp_path: Path, mark: str) -> None:
    front = f"configs:\n- config_name: a\n  data_files: other/*\n- {mark}\n  data_files: data/train-*"
    with_card(tmp_path / "d", front)
    assert names(tmp_path) == ["data/train-0.jsonl", "data/train-1.jsonl"]


def test_a_card_whose_files_are_not_there(tmp_path: Path) -> None:
    with_card(tmp_path / "d", "configs:\n- data_files: gone/*")
    assert "input.corpus: d: README.md names 'gone/*', and no such file is there" in why_not(tmp_path)


def test_both_kinds_of_arrow_files_and_what_is_none(tmp_path: Path) -> None:
    small(tmp_path)
    table = pa.table({"doc_id": list(CORPUS), "text": pa.array(CORPUS.values(), pa.large_string())})
    write_stream(tmp_path / "stream.arrow", table)
    with pa.OSFile(str(tmp_path / "file.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    plain = ingest(tmp_path)
    for name in ("stream", "file"):
        assert ingest(tmp_path, name, input={"corpus": f"{name}.arrow"}).corpus == plain.corpus
        planned = make_plan(config_for(tmp_path, "planned", input={"corpus": f"{name}.arrow"}))
        assert planned["documents"] == len(CORPUS)
    content = (tmp_path / "stream.arrow").read_bytes()
    for spoilt in (b"", b"ARROW1", b"text", content[:100]):
        (tmp_path / "bad.arrow").write_bytes(spoilt)
        (line,) = refused(tmp_path, "bad", input={"corpus": "bad.arrow"})
        assert "bad.arrow: not a readable Arrow file (truncated?)" in line
    (tmp_path / "bad.arrow").write_bytes(content[:-100])
    assert "bad.arrow: damaged after row 0" in refused(tmp_path, "bad", input={"corpus": "bad.arrow"})[0]
    line, *_ = refused(tmp_path, "bad", input={"corpus": "stream.arrow", "columns": {"text": "words"}})
    assert "it has: doc_id, text" in line


def test_what_datasets_saves_and_pushes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    plain = ingest(small(tmp_path))
    features = datasets.Features({
        "query_id": datasets.Value("string"), "doc_id": datasets.Value("large_string"),
        "relevance": datasets.ClassLabel(names=["no", "yes", "very"]),
    })  # fmt: skip
    columns = zip(*QRELS, strict=True)
    judged = datasets.Dataset.from_dict(dict(zip(features, map(list, columns), strict=True)), features=features)
    tables = {
        "corpus": datasets.Dataset.from_dict({"doc_id": list(CORPUS), "text": list(CORPUS.values())}),
        "queries": datasets.Dataset.from_dict({"query_id": list(QUERIES), "text": list(QUERIES.values())}),
        "qrels": judged,
    }
    for name, table in tables.items():
        table.save_to_disk(tmp_path / "saved" / name, num_shards=len(table))
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "dict")
    for folder in ("saved", "dict"):
        found = ingest(tmp_path, f"out-{folder}", input={name: f"{folder}/{name}" for name in tables})
        assert (found.corpus, found.queries) == (plain.corpus, plain.queries)
    pairs = {"anchor": ["a reef", "a cliff"], "positive": [["amber reef", "red reef"], ["basalt cliff"]]}
    datasets.Dataset.from_dict(pairs).select([1, 0]).save_to_disk(tmp_path / "pairs")
    mined: Ingested = ingest(tmp_path, "out-pairs", input={**ONLY_PAIRS, "pairs": "pairs"})
    assert [row["text"] for row in mined.corpus] == ["basalt cliff", "amber reef", "red reef"]
