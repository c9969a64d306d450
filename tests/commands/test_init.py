import pytest

from hnmine.commands.init import write_starter
from hnmine.config.file import load_config
from hnmine.errors import ConfigError, InputError


def beir_folder(folder, files=("corpus.jsonl", "queries.jsonl", "qrels/train.tsv")):
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def write(folder, beir=None, pairs=None, name="hnmine.toml"):
    return write_starter(folder / name, beir=beir, pairs=pairs, force=False)


def test_a_beir_folder_and_a_file_of_pairs_become_the_input(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("")
    beir, pairs = str(beir_folder(tmp_path / "set")), str(tmp_path / "pairs.jsonl")
    assert load_config(write(tmp_path, beir=beir, name="a.toml")).input.beir == beir
    assert load_config(write(tmp_path, pairs=pairs, name="b.toml")).input.pairs == pairs


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"beir": "nope"}, InputError, "--beir nope: no such folder"),
        ({"beir": "file"}, InputError, "--beir file: no such folder"),
        ({"beir": "half"}, InputError, "queries.jsonl"),
        ({"beir": "empty"}, InputError, "empty/qrels: no such file"),
        ({"pairs": "nope"}, InputError, "input.pairs: .*nope: no such file"),
        ({"pairs": "no*.jsonl"}, InputError, "no file matches"),
        ({"pairs": ""}, ConfigError, "--pairs needs a name"),
        ({"name": "nope/hnmine.toml"}, ConfigError, "there is no folder .*nope; make it first"),
    ],
)
def test_what_does_not_exist_is_refused_and_nothing_is_written(tmp_path, monkeypatch, given, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    beir_folder(tmp_path / "half", ("corpus.jsonl", "qrels/train.tsv"))
    with pytest.raises(error, match=message):
        write(tmp_path, **given)
    assert not list(tmp_path.rglob("*.toml"))
    assert not (tmp_path / "nope").exists()
