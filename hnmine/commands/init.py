"""`hnmine init`: a config file with every setting, its default, meaning and allowed values."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from hnmine.config.section import choices, settings, tables, toml_value
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.storage.store import write_text

_HEAD = """# hnmine config. A line with "#" shows a setting and its default: remove the "#" and change the value.
# "..." marks a setting that has no default value. Relative paths start at this file's folder.
# `hnmine plan` checks the file; `hnmine run` runs it.
"""
_SHOWN = {"seed": 0, "out": "runs/first"}


def write_starter(path: Path, *, beir: str | None, pairs: str | None, force: bool) -> str:
    """Write a commented config and return its path; `beir` (a folder) or `pairs` (a file) becomes its input.

    Raises:
        ConfigError: the file exists and `force` is not set, or both `beir` and `pairs` are given.
        OutputError: the file cannot be written.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; choose another --path, or pass --force to replace it")
    if beir and pairs:
        raise ConfigError("init: --beir and --pairs exclude each other")
    write_text(starter(_input(path.absolute().parent, beir, pairs)), path)
    return str(path)


def _input(folder: Path, beir: str | None, pairs: str | None) -> dict[str, str]:
    """Return the settings of [input]: as asked for, else a BEIR folder if it is one, else the usual three files."""
    if beir or pairs:
        value = beir or str(pairs)
        return {"beir" if beir else "pairs": value if "://" in value else str(Path(value).absolute())}
    if (folder / "qrels").is_dir() and any(folder.glob("corpus.jsonl*")):
        return {"beir": "."}
    return {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}


def starter(given: dict[str, str]) -> str:
    """Return a config whose table [input] holds `given`; every other setting is a comment, as are optional tables."""
    parts = [_HEAD, *_lines(settings(Config), _SHOWN)]
    for table in tables(Config):
        optional, mark = ("Optional: ", "# ") if table.optional else ("", "")
        parts.append(f"\n# {optional}{table.field.description}\n{mark}{table.header}\n")
        parts.extend(_lines(settings(table.model), given if table.path == "input" else {}))
    return "".join(parts)


def _lines(fields: Mapping[str, FieldInfo], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each setting: its value, meaning and allowed values; a comment unless its value is given."""
    for name, field in fields.items():
        allowed = choices(field.annotation)
        default = field.default
        if field.is_required() or default is None:
            default = allowed[0] if field.is_required() and allowed else "..."
        mark = "" if name in given else "# "
        line = f"{mark}{name} = {toml_value(given.get(name, default))}  # {field.description}"
        yield f"{line}; values: {', '.join(allowed)}\n" if allowed else f"{line}\n"
