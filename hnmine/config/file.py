"""Reads a config file: TOML, `--set` overrides, and a report of every problem at once with file and key."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hnmine.config.checks import contradictions
from hnmine.config.section import Section, tables, toml_value
from hnmine.config.tables import Config
from hnmine.display import shorten, well_formed
from hnmine.errors import ConfigError, Problems
from hnmine.storage.paths import path_of


def load_config(path: str | Path, overrides: tuple[str, ...] = (), out: str | Path | None = None) -> Config:
    """Return a config file with `table.key=value` overrides applied, checked.

    Args:
        path: the TOML file; relative paths in it start at its folder.
        overrides: each `table.key=value`; the value is TOML, or else a string.
        out: output folder in place of the file's, relative to the working directory.

    Raises:
        ConfigError: with every problem found, each with the file and the key.
    """
    file = Path(path)
    raw = _read_toml(file)
    problems = Problems()
    for text in overrides:
        override(raw, text, problems)
    if out is not None:
        raw["out"] = str(path_of(out).absolute())
    folder = file.absolute().parent
    return check_config(raw, str(file), folder, problems).at(folder, str(file))


def check_config(raw: Mapping[str, Any], source: str, base: Path, problems: Problems | None = None) -> Config:
    """Return a checked config from nested mappings, as tomllib gives them; relative paths start at `base`.

    Raises:
        ConfigError: with every problem found, those in `problems` first; each names `source`.
    """
    problems = problems or Problems()
    bad: set[str] = set()
    try:
        checked = Config.model_validate(raw)
    except ValidationError as error:
        seen, items = set(), error.errors()
        inside = {item["loc"][:-2] for item in items}  # of the values in lists
        words = {_mistake(item) for item in items if item["type"] == "literal_error"}
        no_numbers = {_mistake(item) for item in items if item["type"] == "float_type"}
        for item in items:
            keys, mistake = [str(part) for part in item["loc"]], _mistake(item)
            is_branch = len(_keys_of(keys)) < len(keys) and item["loc"][:-1] in inside
            if is_branch and isinstance(item["input"], list) and item["type"] == "literal_error":
                continue  # the branch of a union that takes no list
            bad.add(keys[0])
            if item["type"] == "literal_error" and mistake in no_numbers:  # a union of numbers and words
                item["msg"] = item["msg"].replace("be ", "be a number or ", 1)
            elif item["type"] == "float_type" and mistake in words:
                continue
            if mistake not in seen or item["type"] == "extra_forbidden":  # each branch of a union finds the same
                problems.add(f"{source}: {_explain(keys, item)}")
            seen.add(mistake)
        checked = Config.model_validate({k: v for k, v in raw.items() if k not in bad and k in Config.model_fields})
    for needs, message in contradictions(checked):
        if not bad & set(needs):
            problems.add(f"{source}: {message}")
    placed = checked.at(base)
    if "previous" not in bad and placed.previous_folder == placed.out_folder:
        problems.add(
            f"{source}: previous.run: {placed.out_folder} is also the output folder of this run; "
            "choose another --out (or out)"
        )
    problems.raise_if_any(ConfigError)
    return placed


def _mistake(item: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the key that one of pydantic's errors is about, and the value given."""
    return (*_keys_of([str(part) for part in item["loc"]]), repr(item["input"]))


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such config file; `hnmine init` writes one") from None
    except IsADirectoryError:
        raise ConfigError(
            f"{file}: is a folder, not a config file; `hnmine init --beir {file}` writes a config for it"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None


def override(raw: dict[str, Any], text: str, problems: Problems) -> None:
    """Change nested mappings by a `table.key=value`; the value is TOML, else a string. A fault becomes a problem."""
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if (shown := well_formed(text)) != text:
        problems.add(f"--set {shown}: not UTF-8; check the terminal's encoding")
        return
    if not equals or not all(parts):
        problems.add(f"--set {text}: write it as table.key=value, for example --set filter.percent=0.9")
        return
    table = raw
    for part in parts[:-1]:
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            problems.add(f"--set {text}: {part} is a value, not a table")
            return
        table = below
    try:
        table[parts[-1]] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table[parts[-1]] = value.lstrip()  # a prompt may end in a space


def _explain(keys: list[str], item: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors as `key: what is wrong`."""
    known = _keys_of(keys)
    # pydantic adds the branch of a union to the location; the user knows only the keys
    if item["type"] == "extra_forbidden":
        names = list(_fields(known))
        near = difflib.get_close_matches(keys[-1], names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(names)}"
        return f"{'.'.join(keys[: len(known) + 1])}: unknown key; {hint}"
    shown = "" if isinstance(item["input"], dict) else f" (given: {shorten(repr(item['input']), 200)})"
    if item["type"] == "list_type" and isinstance(item["input"], str) and len(item["input"]) < 200:
        shown += f"; write it as a list, such as {toml_value(item['input'].split())}"
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        near = difflib.get_close_matches(item["input"], re.findall("'([^']*)'", item["ctx"]["expected"]), n=1)
        shown += f"; did you mean {near[0]!r}?" if near else ""
    return f"{'.'.join(known) or keys[0]}: {item['msg'][:1].lower()}{item['msg'][1:]}{shown}"


def _fields(keys: list[str]) -> Mapping[str, Any]:
    """Return the fields of the table at a path of keys, by key; none if it is no table."""
    path = ".".join(key for key in keys if not key.isdigit())  # without the numbers of tables in a list
    models: dict[str, type[Section]] = {"": Config, **{table.path: table.model for table in tables(Config)}}
    model = models.get(path)
    return {field.alias or name: field for name, field in model.model_fields.items()} if model else {}


def _keys_of(location: list[str]) -> list[str]:
    """Return the leading parts of a pydantic location that are keys of the config."""
    keys: list[str] = []
    for part in location:
        if part not in _fields(keys) and not (part.isdigit() and keys and _fields(keys)):
            break
        keys.append(part)
    return keys
