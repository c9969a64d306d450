"""The files of an encoder by command: its program, and what identifies it."""

import os
import shutil
from pathlib import Path
from typing import Any

from hnmine.config.models import EmbedConfig, TeacherTable
from hnmine.errors import ModelError, reason
from hnmine.storage.digest_cache import DigestCache, sha256_of
from hnmine.storage.paths import existing_path


def command_parts(config: EmbedConfig, digests: DigestCache, table: TeacherTable) -> dict[str, Any]:
    """Return what identifies a command in content keys: its words and `command_version`.

    A word that names a file counts by the file's content, the first word only where it is a relative path, as in
    `./encode.sh`.

    Raises:
        ModelError: there is no such program, or a file that a word names cannot be read.
    """
    words = config.command or []
    find_program(config, table)
    uncounted = words[:1] if words and not _is_relative_path(words[0]) else []
    parts = [*uncounted, *(_part(word, config.command_folder, digests, table) for word in words[len(uncounted) :])]
    return {"encoder": "command", "words": parts, "version": config.command_version}


def _part(word: str, folder: Path, digests: DigestCache, table: TeacherTable) -> str | dict[str, str]:
    """Return a word that names no file as it is, and the digest of the file that another one names."""
    path = existing_path(word, folder)
    if path is None or not path.is_file():
        return word
    try:
        return {"sha256": digests.of_file("sha256", path, sha256_of)}
    except OSError as error:
        raise ModelError(f"{table}.command: {path} cannot be read: {reason(error)}") from None


def find_program(config: EmbedConfig, table: TeacherTable) -> str:
    """Return the program that the first word of a command names, as an absolute path.

    Raises:
        ModelError: there is none that can be run.
    """
    word = (config.command or [""])[0]
    local = (existing_path(word, config.command_folder) or config.command_folder / word) if os.sep in word else None
    found = shutil.which(word if local is None else str(local))
    if found is None:
        where = f"no program {word!r} is on the PATH" if local is None else f"{local} is no file that can be run"
        raise ModelError(f"{table}.command: {where}")
    return str(Path(found).absolute())


def _is_relative_path(word: str) -> bool:
    return os.sep in word and not word.startswith((os.sep, "~"))
