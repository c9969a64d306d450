"""The chosen setting in the config file: comments stay, and a file that cannot be edited is left as it was."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.commands.init import starter
from hnmine.commands.tune.grid import Setting, values_of, with_settings
from hnmine.commands.tune.write_config import changes_for, edited, write_setting
from hnmine.config.file import load_config
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, OutputError
from tests.strategies import thorough

TEXT = """# my config
out = "out"   # where

[input]
corpus = "corpus.jsonl"
queries = "queries.jsonl"
qrels = "qrels.tsv"

[filter]  # rules
# why this one: see the wiki # really
rule = "percent"   # was margin
ranks = [
    11,   # not the top
    100,
]
percent = 0.9

# what is written
[emit]
num_negatives = 3
extra_columns = ["query_id"]  # for us
"""


def setting(keys, text=TEXT):
    config = Config.model_validate(tomllib.loads(text))
    return Setting("tried", with_settings(config, keys), "tried")


def test_values_change_and_comments_stay(tmp_path):
    file = tmp_path / "hnmine.toml"
    file.write_text(TEXT)
    lines = write_setting(str(file), setting({"rule": "two_sided", "two_sided": -0.5, "num_negatives": 8}))
    text = file.read_text()
    assert 'rule = "two_sided"   # was margin' in text
    assert "# why this one: see the wiki # really" in text
    assert "two_sided = -0.5\n\n# what is written\n[emit]" in text
    assert "num_negatives = 8\n" in text
    assert "ranks" not in text
    assert "percent = 0.95\n" in text
    assert lines == [
        'filter.rule = "two_sided"', "filter.percent = 0.95", "filter.two_sided = -0.5", "filter.ranks removed",
        "emit.num_negatives = 8",
    ]  # fmt: skip
    made = load_config(file)
    assert made.filter.rule == "two_sided"
    assert made.filter.ranks is None
    assert made.emit.extra_columns == ["query_id"]
    assert write_setting(str(file), setting({"rule": "two_sided", "two_sided": -0.5, "num_negatives": 8})) == []


def test_tables_that_a_file_lacks_are_added(tmp_path):
    file = tmp_path / "hnmine.toml"
    for text in ('[input]\npairs = "p.jsonl"', '[input]\npairs = "p.jsonl"\n\n[emit]\n'):
        file.write_text(text)
        write_setting(str(file), setting({"rule": "none", "ranks": (31, 100), "choose": "random"}, text))
        made = load_config(file)
        assert (made.filter.rule, made.filter.ranks, made.emit.choose) == ("none", (31, 100), "random")
        assert file.read_text().startswith('[input]\npairs = "p.jsonl"')


def test_the_starter_config_takes_a_setting_and_keeps_every_line(tmp_path):
    text = starter({"input": {"pairs": "p.jsonl"}}, None)
    file = tmp_path / "hnmine.toml"
    file.write_text(text)
    write_setting(str(file), setting({"rule": "percent", "percent": 0.8, "choose": "mixed", "num_negatives": 10}))
    after = file.read_text()
    kept = [line for line in text.splitlines() if line not in after.splitlines()]
    assert not [line for line in kept if line.startswith("#")]
    made = load_config(file)
    assert (made.filter.percent, made.emit.choose, made.emit.num_negatives) == (0.8, "mixed", 10)


INLINE = 'filter = {rule = "none"}\n[input]\npairs = "p"\n'
DOTTED = 'filter.rule = "none"\n[input]\npairs = "p"\n'
QUOTED = '["filter"]\nrule = "none"\n'
INSIDE = '[input]\npairs = """p\n[filter]\nrule = "x"\n"""\n[filter]\nrule = "none"\n'


@pytest.mark.parametrize("text", [INLINE, DOTTED, QUOTED, INSIDE], ids=["inline", "dotted", "quoted", "inside"])
def test_a_file_that_cannot_be_edited_is_left_as_it_was(tmp_path, text):
    file = tmp_path / "hnmine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="by hand") as error:
        write_setting(str(file), setting({"rule": "percent", "percent": 0.8}, ""))
    assert file.read_text() == text
    assert 'filter.rule = "percent"' in str(error.value)
    assert "filter.percent = 0.8" in str(error.value)


def test_line_ends_links_marks_and_modes_stay(tmp_path):
    file, link = tmp_path / "real.toml", tmp_path / "link.toml"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    file.chmod(0o600)
    link.symlink_to(file)
    write_setting(str(link), setting({"rule": "none"}))
    raw = file.read_bytes()
    assert link.is_symlink()
    assert raw.startswith(b"\xef\xbb\xbf# my config\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_read_only_file_is_left_as_it_was(tmp_path):
    file = tmp_path / "hnmine.toml"
    file.write_text(TEXT)
    file.chmod(0o444)
    with pytest.raises(OutputError, match=r'(?s)read-only.*filter.rule = "none"'):
        write_setting(str(file), setting({"rule": "none"}))
    assert file.read_text() == TEXT


def test_a_file_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        write_setting(str(tmp_path / "none.toml"), setting({"rule": "none"}))


VALUES = st.fixed_dictionaries(
    {"rule": st.sampled_from(["none", "percent", "two_sided", "auto"])},
    optional={
        "percent": st.sampled_from([0.5, 0.8, 0.95]), "two_sided": st.floats(-2, 2).map(lambda x: round(x, 3)),
        "ranks": st.tuples(st.integers(1, 20), st.integers(20, 90)), "num_negatives": st.integers(1, 9),
        "choose": st.sampled_from(["top", "random", "mixed"]), "random_share": st.sampled_from([0.2, 0.5, 1.0]),
    },
)  # fmt: skip


@thorough
@given(VALUES, st.sampled_from([TEXT, TEXT.replace("\n", "\r\n"), TEXT.rstrip("\n"), '[input]\npairs = "p"\n']))
def test_an_edited_text_has_the_setting_and_all_else(keys, text):
    chosen, before = setting(keys, text), tomllib.loads(text)
    after = edited(text, changes_for(before, chosen))
    assert after is not None
    made = Config.model_validate(tomllib.loads(after))
    names = ("emit",) if not chosen.mines else ("filter", "emit")
    for table in names:
        assert values_of(made)[table] == values_of(chosen.config)[table]
    assert made.input == Config.model_validate(before).input
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            assert line in after
