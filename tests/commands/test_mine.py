"""`hnmine mine`: one command from pairs to training rows, and the config that it leaves."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest

from hnmine.commands.mine import PATHS, MineRequest, prepare
from hnmine.config.file import load_config
from hnmine.config.section import Paths, settings, tables
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, HnmineError, InputError, StaleOutput
from tests.cli.support import hnmine
from tests.support import WORDS, make_collection, write_jsonl


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of made-up texts, and documents that are no positives."""
    folder = tmp_path_factory.mktemp("mine")
    texts = [" ".join(WORDS[(i * step + step) % len(WORDS)] for step in range(1, 9)) + f" {i}" for i in range(60)]
    pairs = [{"anchor": text.split(" ", 3)[3], "positive": text} for text in texts[:30]]
    write_jsonl(folder / "pairs.jsonl", pairs)
    write_jsonl(folder / "more.jsonl", ({"doc_id": f"d{i}", "text": text} for i, text in enumerate(texts[30:])))
    return folder


def asked(base: Path, out: str = "out", **options: Any) -> MineRequest:
    return MineRequest(**{"pairs": [str(base / "pairs.jsonl")], "out": str(base / out), "model": "hash", **options})


def test_the_config_it_writes_runs_from_anywhere_and_everything_is_kept(base: Path) -> None:
    done = hnmine("mine", "pairs.jsonl", "--corpus", "more.jsonl", "--model", "hash", "-n", 2, "--rule", "percent",
                  "--format", "n-tuple", "--out", "runs/mined", cwd=base)  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = (base / "runs/mined").resolve()
    assert done.stdout == f"{out}\n"
    assert "coverage" in done.stderr
    assert f"training rows: {out / 'emit'}; config: {out / 'hnmine.toml'}" in done.stderr
    page = (out / "report/report.html").read_text()
    assert "<dt>run</dt> <dd>runs/mined</dd>" in page
    assert "<dt>config</dt> <dd>runs/mined/hnmine.toml</dd>" in page
    rows = pq.read_table(out / "emit/part-00000.parquet")
    assert rows.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    assert json.loads((out / "ingest/_manifest.json").read_text())["counts"]["documents"] == 60
    again = hnmine("run", out / "hnmine.toml", "--json", cwd="/")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["out"] == str(out)
    assert not any(stage["ran"] for stage in json.loads(again.stdout)["stages"])
    config = load_config(out / "hnmine.toml")
    assert (config.filter.rule, config.emit.format, config.emit.num_negatives) == ("percent", "n-tuple", 2)


def test_the_same_options_keep_the_run_and_others_are_refused_unless_overwritten(base: Path) -> None:
    first = ("mine", base / "pairs.jsonl", "--model", "hash", "-n", 3, "--out", base / "again", "--set", "workers=1")
    assert hnmine(*first).returncode == 0
    inode = (base / "again/hnmine.toml").stat().st_ino
    same = hnmine(*first, "--json")
    assert not any(stage["ran"] for stage in json.loads(same.stdout)["stages"])
    assert (base / "again/hnmine.toml").stat().st_ino == inode, "the config is not written again"
    other = (*first[:4], "-n", 2, *first[6:])
    refused = hnmine(*other)
    assert refused.returncode == 4
    assert "emit.num_negatives was 3, now 2" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert load_config(base / "again/hnmine.toml").emit.num_negatives == 3
    replaced = hnmine(*other, "--overwrite", "--json")
    assert replaced.returncode == 0, replaced.stderr
    assert [stage["stage"] for stage in json.loads(replaced.stdout)["stages"] if stage["ran"]][-2:] == [
        "emit",
        "report",
    ]
    assert load_config(base / "again/hnmine.toml").emit.num_negatives == 2


def test_a_config_that_was_edited_is_not_replaced(base: Path) -> None:
    request = asked(base, "edited")
    mining = prepare(request)
    assert mining.text is not None
    mining.path.parent.mkdir()
    mining.path.write_text(mining.text)
    assert prepare(request).text is None
    mining.path.write_text(mining.text + "# a note\n")
    assert prepare(request).text is None, "a comment is no other setting"
    mining.path.write_text(mining.text.replace("# percent = 0.95", "percent = 0.9"))
    with pytest.raises(StaleOutput, match=r"filter.percent was 0.9, now 0.95\nrun `hnmine run .*edited/hnmine.toml`"):
        prepare(request)
    assert prepare(request, overwrite=True).text == mining.text
    mining.path.write_text(mining.text.replace('out = "."', 'out = "elsewhere"'))
    with pytest.raises(StaleOutput, match=r"out was .*sewhere\"?, now"):
        prepare(request)
    mining.path.write_text("no toml")
    with pytest.raises(StaleOutput, match="not valid TOML"):
        prepare(request)


def test_where_output_of_other_settings_is_refused_no_config_is_left(base: Path) -> None:
    (base / "own.toml").write_text('out = "own"\n[input]\npairs = "pairs.jsonl"\n[embed]\nmodel = "hash"\n')
    assert hnmine("run", base / "own.toml").returncode == 0
    refused = hnmine("mine", base / "pairs.jsonl", "--model", "hash", "-n", 2, "--out", base / "own")
    assert refused.returncode == 4
    assert "emit.num_negatives was 5, now 2" in refused.stderr
    assert not (base / "own/hnmine.toml").exists()


def test_where_nothing_could_be_computed_the_folder_is_free_for_other_options(base: Path) -> None:
    (base / "empty.jsonl").write_text('{"anchor": "", "positive": ""}\n')
    failed = hnmine("mine", base / "empty.jsonl", "--model", "hash", "--out", base / "free")
    assert failed.returncode == 3, failed.stderr
    assert not (base / "free/hnmine.toml").exists()
    assert hnmine("mine", base / "pairs.jsonl", "--model", "hash", "--out", base / "free").returncode == 0
    before = (base / "free/hnmine.toml").read_text()
    failed = hnmine("mine", base / "pairs.jsonl", "--model", "no/such-model", "--out", base / "free", "--overwrite")
    assert failed.returncode == 6, failed.stderr
    assert (base / "free/hnmine.toml").read_text() == before


def test_all_problems_are_reported_at_once_and_nothing_is_written(base: Path) -> None:
    write_jsonl(base / "wrong.jsonl", [{"question_text": "a", "positive": "b"}])
    done = hnmine("mine", base / "wrong.jsonl", "--model", "./nowhere", "-n", 0, "--rule", "percnt",
                  "--format", "n_tuple", "--set", "emit.chose=top", "--out", base / "bad")  # fmt: skip
    assert done.returncode == 2
    for message in (
        "mine: emit.num_negatives: input should be greater than or equal to 1 (given: 0)",
        "(given: 'percnt'); did you mean 'percent'?",
        "(given: 'n_tuple'); did you mean 'n-tuple'?",
        "emit.chose: unknown key; did you mean choose?",
        "wrong.jsonl: no column for anchor (looked for anchor, query, question)",
        "embed.model: no folder",
    ):
        assert message in done.stderr
    assert not (base / "bad").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pairs": ["none.jsonl", "nor.csv"]}, InputError, r"none.jsonl: no such file\n.*nor.csv: no such file"),
        ({"pairs": []}, ConfigError, "^mine: name a file of pairs, or a BEIR folder with --beir$"),
        ({"beir": "folder"}, ConfigError, "mine: --beir is in place of files of pairs"),
        ({"pairs": ["beir-folder"]}, ConfigError, "mine: beir-folder: is a BEIR folder, not pairs; pass it as --beir"),
        ({"overrides": ["out=x"]}, ConfigError, "--set out: .*name the folder with --out"),
        ({"out": "s3://bucket/run"}, ConfigError, "must be a folder of this machine"),
        ({"out": ""}, ConfigError, "^mine: --out: an empty path$"),
        ({"pairs": [""]}, ConfigError, "input.pairs: .* at least 1 character"),
        ({"corpus": [""]}, ConfigError, "input.corpus: .* at least 1 character"),
        ({"model": ""}, ConfigError, "embed.model: .* at least 1 character"),
        ({"overrides": ['input.judgements=""']}, ConfigError, "input.judgements: .* at least 1 character"),
        ({"corpus": ["none.jsonl"]}, InputError, "input.corpus: .*none.jsonl: no such file"),
    ],
)
def test_wrong_options(
    base: Path, options: dict[str, Any], error: type[HnmineError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base)
    (base / "beir-folder/qrels").mkdir(parents=True, exist_ok=True)
    with pytest.raises(error, match=message):
        prepare(replace(asked(base, "never"), **options))


def test_the_command_in_a_message_can_be_pasted_where_the_path_has_a_space(base: Path) -> None:
    mining = prepare(asked(base, "two words"))
    mining.path.parent.mkdir()
    mining.path.write_text(str(mining.text))
    with pytest.raises(StaleOutput, match=r"run `hnmine run '.*/two words/hnmine.toml'` to use it as it is"):
        prepare(asked(base, "two words", num_negatives=3))


def test_a_beir_folder_is_mined(tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "beir")
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels/train.tsv")
    config = prepare(MineRequest([], beir=str(folder), out=str(tmp_path / "out"), model="hash")).config
    assert config.input.beir == str(folder)


def test_paths_of_set_start_at_the_working_directory_and_tables_in_lists_are_written(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base)
    (base / "run.trec").write_text("anchor-0 Q0 positive-1 1 1.0 x\n")
    sources = 'retrieve.source=[{kind="dense"}, {kind="run", path="run.trec", name="x"}]'
    mining = prepare(asked(base, "lists", overrides=[sources, 'retrieve.where=[{field="a", with="positive"}]']))
    assert mining.text is not None
    mining.path.parent.mkdir()
    mining.path.write_text(mining.text)
    loaded = load_config(mining.path)
    assert loaded.model_dump() == mining.config.model_dump()
    assert loaded.retrieve.source[1].path == str(base / "run.trec")


def test_formats_and_rules_given_several_times_are_lists(base: Path) -> None:
    mining = prepare(asked(base, "several", formats=["triplet", "labeled-list"], rules=["percent", "two_sided"]))
    assert mining.config.emit.format == ["triplet", "labeled-list"]
    assert mining.config.filter.rule == ["percent", "two_sided"]
    assert mining.text is not None
    assert '\nformat = ["triplet", "labeled-list"]' in mining.text
    by_set = prepare(asked(base, "several", overrides=['emit.format=["triplet","labeled-list"]']))
    assert by_set.config.emit.format == ["triplet", "labeled-list"]


def test_every_setting_that_holds_files_is_known() -> None:
    models = [settings(Config), *(settings(table.model) for table in tables(Config))]
    fields = [(name, field) for model in models for name, field in model.items()]
    listed = {name for name, field in fields if set(get_args(Paths)) <= set(get_args(field.annotation))}
    assert listed | {"beir", "run"} == PATHS
