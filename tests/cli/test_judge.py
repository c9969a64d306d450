"""The command judge refuses options that would be ignored."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnmine.cli.app import app
from hnmine.errors import ConfigError


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--number", "5", "--sample", "random"], "--number, --sample"),
        (["--max-requests", "5", "--max-tokens", "9"], "--max-requests, --max-tokens"),
        (["--per-query", "2", "--seed", "0"], "--per-query, --seed"),
    ],
)
def test_what_decides_what_is_asked_is_refused_where_replies_are_read(
    tmp_path: Path, flags: list[str], named: str
) -> None:
    (tmp_path / "c.toml").write_text('[input]\npairs = "pairs.jsonl"\n')
    files = ["--replies", str(tmp_path / "r.jsonl"), "--asked", str(tmp_path / "a.jsonl")]
    error = CliRunner().invoke(app, ["judge", str(tmp_path / "c.toml"), *files, *flags]).exception
    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"judge: {named}: decides what is asked")
