"""The files of an encoder by command: its program, and what identifies it."""

import os
import shutil
from pathlib import Path
from typing import Any

from hnmine.config.models import EmbedConfig, TeacherTable
from hnmine.errors import ModelError
from hnmine.storage.digest_cache import DigestCache, sha256_of


def command_parts(config: EmbedConfig, digests: DigestCache, table: TeacherTable) -> dict[str, Any]:
    """Return what identifies a command in content keys: its words and `command_version`.

    A word that names a file counts by the file's content, the first word only where it is a relative path, as in
    `./encode.sh`.

    Raises:
        ModelError: there is no such program.
    """
    words = config.command or []
    find_program(config, table)
    files = [config.command_folder / Path(word).expanduser() for word in words]
    counted = [path.is_file() and (number > 0 or _is_relative_path(words[0])) for number, path in enumerate(files)]
    parts = [
        {"sha256": digests.of_file("sha256", path, sha256_of)} if by_content else word
        for word, path, by_content in zip(words, files, counted, strict=True)
    ]
    return {"encoder": "command", "words": parts, "version": config.command_version}


def find_program(config: EmbedConfig, table: TeacherTable) -> str:
    """Return the program that the first word of a command names, as an absolute path.

    Raises:
        ModelError: there is none that can be run.
    """
    word = (config.command or [""])[0]
    local = config.command_folder / Path(word).expanduser()
    found = shutil.which(str(local) if os.sep in word else word)
    if found is None:
        where = f"{local} is no file that can be run" if os.sep in word else f"no program {word!r} is on the PATH"
        raise ModelError(f"{table}.command: {where}")
    return str(Path(found).absolute())


def _is_relative_path(word: str) -> bool:
    return os.sep in word and not word.startswith((os.sep, "~"))
