"""`hnmine init`: a config file with every setting, its default, meaning and allowed values."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from hnmine.commands.recipes import RECIPES, recipe_settings
from hnmine.config.file import check_config
from hnmine.config.section import Table, choices, settings, tables, toml_value
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError
from hnmine.readers.collection import input_sources
from hnmine.storage.store import write_text

_HEAD = """# hnmine config. A line with "#" shows a setting and its default: remove the "#" and change the value.
# "..." marks a setting that has no default value. Relative paths start at this file's folder.
# `hnmine plan` checks the file; `hnmine run` runs it.
"""
_SHOWN = {"seed": 0, "out": "runs/first"}


Given = Mapping[str, Any]
"""Settings as nested mappings, as tomllib gives them: tables hold their keys, `[[tables]]` are lists of mappings."""


def write_starter(path: Path, *, beir: str | None, pairs: str | None, force: bool, recipe: str | None = None) -> str:
    """Write a commented config and return its path; `beir` (a folder) or `pairs` (a file) becomes its input.

    Raises:
        ConfigError: the file exists and `force` is not set, its folder does not exist, both `beir` and `pairs` are
            given, or there is no such recipe.
        InputError: `beir` or `pairs` does not exist, or a BEIR folder lacks a file; all of them are named.
        OutputError: the file cannot be written.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; choose another --path, or pass --force to replace it")
    if beir and pairs:
        raise ConfigError("init: --beir and --pairs exclude each other")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"init: --path {path}: there is no folder {path.parent}; make it first")
    _check_input(path, beir, pairs)
    given = {**_SHOWN, "input": _input(path.absolute().parent, beir, pairs)}
    write_text(starter({**given, **(recipe_settings(recipe) if recipe else {})}, recipe), path)
    return str(path)


def _check_input(path: Path, beir: str | None, pairs: str | None) -> None:
    """Check that the files of a BEIR folder, or of pairs, exist."""
    if beir is None and pairs is None:
        return
    for flag, given in (("--beir", beir), ("--pairs", pairs)):
        if given is not None and not given:
            raise ConfigError(f"init: {flag} needs a name")
    where = absolute(beir or str(pairs))
    if beir and "://" not in where and not Path(where).is_dir():
        raise InputError(f"init: --beir {beir}: no such folder")
    raw = {"input": _input(path.absolute().parent, beir, pairs)}
    input_sources(check_config(raw, "init", path.absolute().parent))


def _input(folder: Path, beir: str | None, pairs: str | None) -> dict[str, str]:
    """Return the settings of [input]: as asked for, else a BEIR folder if it is one, else the usual three files."""
    if beir or pairs:
        return {"beir" if beir else "pairs": absolute(beir or str(pairs))}
    if (folder / "qrels").is_dir() and any(folder.glob("corpus.jsonl*")):
        return {"beir": "."}
    return {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}


def absolute(path: str) -> str:
    """Return a path that the user gave, from the working directory on; a URL as it is."""
    return path if "://" in path else str(Path(path).expanduser().absolute())


def starter(given: Given, recipe: str | None = None) -> str:
    """Return a config that holds the given settings; every other setting is a comment, as are optional tables.

    A recipe is named at the top, with its source; its settings are among the given ones.
    """
    note = f"# Recipe {recipe}: {RECIPES[recipe].does}\n# {RECIPES[recipe].source}\n" if recipe else ""
    parts = [_HEAD, note, *_lines(settings(Config), given)]
    for table in tables(Config):
        if any(table.path.startswith(f"{outer}.") for outer in _lists(given)):
            continue  # written with the outer table
        found = _at(given, table.path)
        for own in found if isinstance(found, list) else [found]:
            parts.extend(_table(table, own))
    return "".join(parts)


def _table(table: Table, own: Given | None) -> Iterator[str]:
    """Yield the lines of a table that holds the settings `own`; as a comment if it is optional and they are None."""
    optional = "Optional: " if table.optional else ""
    mark = "# " if table.optional and own is None else ""
    yield f"\n# {optional}{table.field.description}\n{mark}{table.header}\n"
    yield from _lines(settings(table.model), own or {})
    if table.header.startswith("[["):
        for inner in tables(table.model, f"{table.path}.", table.optional):
            if own is not None:
                yield from _table(inner, own.get(inner.path.removeprefix(f"{table.path}.")))


def _lists(given: Given) -> Iterator[str]:
    """Yield the paths of the `[[tables]]` that are given."""
    return (table.path for table in tables(Config) if isinstance(_at(given, table.path), list))


def _at(given: Given, path: str) -> Any:
    """Return what is given at dotted keys; None for nothing."""
    found: Any = given
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _lines(fields: Mapping[str, FieldInfo], given: Given) -> Iterator[str]:
    """Yield a line for each setting: its value, meaning and allowed values; a comment unless its value is given."""
    for name, field in fields.items():
        allowed = choices(field.annotation)
        default = field.default
        if field.is_required() or default is None:
            default = allowed[0] if field.is_required() and allowed else "..."
        mark = "" if name in given else "# "
        line = f"{mark}{name} = {toml_value(given.get(name, default))}  # {field.description}"
        yield f"{line}; values: {', '.join(allowed)}\n" if allowed else f"{line}\n"
