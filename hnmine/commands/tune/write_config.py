"""Puts the chosen settings into the config file: the keys of [filter] and [emit], edited in place as text."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hnmine.commands.tune.grid import CHOICE_KEYS, RULE_KEYS, Setting, plain_values, values_of
from hnmine.config.emit import EmitConfig
from hnmine.config.section import toml_value
from hnmine.errors import ConfigError, OutputError, reason
from hnmine.storage.store import write_atomic

_HEADER = re.compile(r"\s*\[\[?[^\[\]=]+\]\]?\s*(#.*)?$")
Changes = Mapping[str, Mapping[str, Any]]
"""New values by table and key; None removes the key."""


def write_setting(file: str, setting: Setting) -> list[str]:
    """Put a setting into the config file, and return the lines that it now has.

    Comments and everything else in the file stay as they are. A key that the file has gets the new value, or is removed
    where the setting has none; others are added to their table where they are not at their defaults.

    Args:
        file: the config file.
        setting: one that mines.

    Raises:
        ConfigError: the file cannot be read or changed in this way; it is left as it was.
        OutputError: it cannot be written, or is read-only; it is left as it was.
    """
    path = Path(file).resolve()  # of a link, the file that it names
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
        before = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--write {file}: cannot be read: {reason(error)}") from None
    changes = changes_for(before, setting)
    lines = [
        f"{table}.{key} removed" if value is None else f"{table}.{key} = {toml_value(value)}"
        for table, own in changes.items()
        for key, value in own.items()
    ]
    if not lines:
        return []
    after = edited(text, changes)
    if after is None or not _holds(after, before, changes):
        raise ConfigError(
            f"--write {file}: [filter] and [emit] are not written in a way that can be edited in place; the file is as "
            "it was. Set these by hand:\n" + "\n".join(f"  {line}" for line in lines)
        )
    bom, mode = raw.startswith(b"\xef\xbb\xbf"), path.stat().st_mode
    if not (mode & 0o222 and os.access(path, os.W_OK)):  # it would be replaced, which its folder alone decides on
        raise OutputError(
            f"--write {file}: the file is read-only, and is as it was. Make it writable, or set these by hand:\n"
            + "\n".join(f"  {line}" for line in lines)
        )

    def fill(temporary: Path) -> None:
        temporary.write_bytes((b"\xef\xbb\xbf" if bom else b"") + after.encode())
        temporary.chmod(mode & 0o7777)

    write_atomic(path, fill)
    return lines


def changes_for(before: Mapping[str, Any], setting: Setting) -> dict[str, dict[str, Any]]:
    """Return what a config file lacks of a setting: new values by table and key, None for a key to remove."""
    values, plain = values_of(setting.config), plain_values(setting.config)
    shown = setting.tables()
    found: dict[str, dict[str, Any]] = {}
    for table, keys in (("filter", RULE_KEYS), ("emit", CHOICE_KEYS)):
        if table == "filter" and not setting.mines:  # no rule matters for random documents
            continue
        given = before.get(table, {}) if isinstance(before.get(table, {}), dict) else {}
        full, default = (
            values[table],
            plain[table] | ({"num_negatives": EmitConfig().num_negatives} if table == "emit" else {}),
        )
        own = {
            key: full[key]
            for key in dict.fromkeys([*keys, *shown[table]])
            if key in full and (given[key] != full[key] if key in given else full[key] != default[key])
        }
        if table == "emit":
            own = _with_choice(own, given, full, default)
        if own:
            found[table] = own
    return found


def _with_choice(
    own: dict[str, Any], given: Mapping[str, Any], full: Mapping[str, Any], default: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the changes of [emit] with `choose` and `random_share`, which `choose = "auto"` sets by the rule."""
    names = [name for name in ("choose", "random_share") if name in full]
    kept = {name: value for name, value in own.items() if name not in names}
    if given.get("choose", "auto") == "auto" and all(full[name] == default[name] for name in names):
        return kept
    return kept | {name: full[name] for name in names if given.get(name) != full[name]}


def _holds(text: str, before: Mapping[str, Any], changes: Changes) -> bool:
    """Return whether a text is the config of before with the changes, and nothing else."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    wanted = dict(before)
    for table, own in changes.items():
        kept = {key: value for key, value in before.get(table, {}).items() if key not in own}
        wanted[table] = kept | {key: value for key, value in own.items() if value is not None}
    return found == wanted


def edited(text: str, changes: Changes) -> str | None:
    """Return a TOML text with keys of some tables set or removed; None where a key's place cannot be found."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    for table, own in changes.items():
        span = _table(lines, table)
        if span is None:
            added = [f"{key} = {toml_value(value)}{end}" for key, value in own.items() if value is not None]
            if lines and not lines[-1].endswith(("\n", "\r")):
                lines[-1] += end
            lines += [*([end] if lines else []), f"[{table}]{end}", *added]
            continue
        for key, value in own.items():
            first, last = span
            place = _key(lines, first, last, key)
            if place is None:
                if value is None:
                    return None
                at = _end_of_keys(lines, first, last)
                if not lines[at - 1].endswith(("\n", "\r")):
                    lines[at - 1] += end
                lines.insert(at, f"{key} = {toml_value(value)}{end}")
                span = first, last + 1
                continue
            start, stop, comment = place
            indent = re.match(r"\s*", lines[start])
            new = (
                []
                if value is None
                else [f"{indent.group() if indent else ''}{key} = {toml_value(value)}{comment}{end}"]
            )
            lines[start:stop] = new
            span = first, last - (stop - start) + len(new)
    return "".join(lines)


def _table(lines: list[str], name: str) -> tuple[int, int] | None:
    """Return the lines inside a table, from the one after its header to the one before the next header."""
    header = re.compile(rf"\s*\[\s*{name}\s*\]\s*(#.*)?$")
    for first, line in enumerate(lines):
        if header.match(line.rstrip("\r\n")):
            after = (at for at in range(first + 1, len(lines)) if _HEADER.match(lines[at]))
            return first + 1, next(after, len(lines))
    return None


def _key(lines: list[str], first: int, last: int, name: str) -> tuple[int, int, str] | None:
    """Return the lines [start, stop) of a key and its value, and the comment behind it with the space before."""
    for start in range(first, last):
        if not re.match(rf"\s*(\"{name}\"|'{name}'|{name})\s*=", lines[start]):
            continue
        for stop in range(start + 1, last + 1):
            whole = "".join(lines[start:stop]).rstrip("\r\n")
            if not _parses(whole):
                continue
            tail = lines[stop - 1].rstrip("\r\n")
            for mark in (at for at, letter in enumerate(tail) if letter == "#"):
                before = "".join(lines[start : stop - 1]) + tail[:mark]
                if _parses(before):
                    kept = tail[:mark].rstrip()
                    return start, stop, tail[len(kept) :]
            return start, stop, ""
    return None


def _parses(text: str) -> bool:
    try:
        return bool(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return False


def _end_of_keys(lines: list[str], first: int, last: int) -> int:
    """Return where a new key of a table goes: after its last line that is not blank and no comment before a header."""
    at = last
    while at > first and (not lines[at - 1].strip() or (last < len(lines) and lines[at - 1].lstrip().startswith("#"))):
        at -= 1
    return at
