"""`hnmine init`: the file holds every setting, and loads with any comment taken away."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hnmine.commands.init import starter
from hnmine.config.file import load_config
from hnmine.config.section import choices, settings, tables
from hnmine.config.tables import Config

GIVEN = {"corpus": "c.jsonl", "queries": "q.jsonl", "qrels": "r.tsv"}
TEXT = starter({"seed": 0, "out": "runs/first", "input": GIVEN})
TABLES = [("", settings(Config)), *((table.header, settings(table.model)) for table in tables(Config))]


def block(header: str) -> str:
    """Return the lines of one table, without their comment signs."""
    blocks = re.split(r"(?m)^(?=(?:# )?\[)", TEXT)
    found = next(b for b in blocks if b.removeprefix("# ").startswith(header + "\n")) if header else blocks[0]
    return re.sub(r"(?m)^# ", "", found)


@pytest.mark.parametrize(("header", "fields"), TABLES, ids=[header or "top level" for header, _ in TABLES])
def test_every_setting_is_there_with_its_meaning_and_values(header, fields):
    lines = block(header)
    for name, field in fields.items():
        (line,) = re.findall(rf"(?m)^{name} = .*$", lines)
        assert f"# {field.description}" in line
        allowed = choices(field.annotation)
        assert line.endswith(f"; values: {', '.join(allowed)}" if allowed else field.description)


def test_all_tables_are_known():
    assert len(TABLES) == 18
    assert {"[guide]", "[[retrieve.source]]", "[retrieve.source.teacher]", "[retrieve.source.encoder]",
            "[[retrieve.where]]", "[rescore]",
            "[previous]", "[judge]", "[judge.second]"} < {header for header, _ in TABLES}  # fmt: skip


def test_as_written_it_is_the_default_config(tmp_path: Path):
    (tmp_path / "hnmine.toml").write_text(TEXT)
    loaded = load_config(tmp_path / "hnmine.toml")
    assert loaded.model_dump() == Config(input=GIVEN).at(tmp_path).model_dump()


def test_without_comment_signs_every_setting_with_a_default_loads_and_is_that_default():
    text = re.sub(r"(?m)^# (?=\[|\w+ = )", "", TEXT)
    text = re.sub(r'(?m)^(?!run|field|model)\w+ = "\.\.\." .*\n', "", text)
    loaded = Config.model_validate(tomllib.loads(text))
    plain = {"input", "embed", "index", "retrieve", "filter", "emit", "report"}
    assert loaded.model_dump(include=plain, exclude={"retrieve": {"source", "where"}}) == Config(
        input=GIVEN
    ).model_dump(include=plain, exclude={"retrieve": {"source", "where"}})
    assert loaded.guide == loaded.embed
    assert loaded.retrieve.source[0].teacher == loaded.embed
    assert loaded.retrieve.source[0].kind == "dense"
    assert loaded.retrieve.where[0].field == "..."
    assert loaded.previous is not None
    assert loaded.rescore is not None


def test_every_line_of_a_table_that_is_not_optional_can_be_uncommented(tmp_path: Path):
    blocks = re.split(r"(?m)^(?=(?:# )?\[)", TEXT)
    text = "".join(re.sub(r"(?m)^# (?=\w+ = )", "", b) for b in blocks if not b.startswith("# ["))
    (tmp_path / "all.toml").write_text(re.sub(r'(?m)^\w+ = "\.\.\." .*\n', "", text))
    assert load_config(tmp_path / "all.toml").filter.percent == 0.95


SOURCES = [
    {"kind": "dense", "name": "small", "teacher": {"model": "m/one", "query_prompt": 'say "query: "'}},
    {"kind": "bm25", "k1": 1.2},
    {"kind": "dense", "name": "other", "top_k": 7, "teacher": {"model": "m/two"}},
]


@pytest.mark.parametrize(
    "given",
    [
        {"seed": 7, "workers": 2, "input": {"columns": {"anchor": "question"}}},
        {"guide": {"model": "m/guide", "similarity": "dot"}, "filter": {"rule": ["percent", "guide"], "percent": 0.9}},
        {"retrieve": {"top_k": 50, "source": SOURCES, "where": [{"field": "lang", "with": "positive"}]}},
        {"rescore": {"model": "m/cross"}, "emit": {"format": ["triplet", "bge"], "extra_columns": ["query_id"]}},
        {"previous": {"run": "runs/before"}, "report": {"fail_under": {"eci": 0.5, "hidden_positives.rate": 0.1}}},
    ],
    ids=lambda given: " ".join(given),
)
def test_given_settings_are_written_in_place_and_all_others_stay_comments(tmp_path: Path, given: dict[str, Any]):
    given = {**given, "input": GIVEN | given.get("input", {})}
    text = starter(given)
    (tmp_path / "hnmine.toml").write_text(text)
    assert load_config(tmp_path / "hnmine.toml").model_dump() == Config.model_validate(given).at(tmp_path).model_dump()
    assert {key: value for key, value in tomllib.loads(text).items() if value}.keys() == given.keys()
