"""Finding and opening the user's files: a file, a folder, a glob, or any fsspec URL."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from hnmine.errors import InputError, reason
from hnmine.storage.dataset_folders import dataset_files
from hnmine.storage.hub_files import fetch, hub_errors, is_hub, open_hub
from hnmine.storage.paths import existing_path

TABLE_ENDINGS = (".parquet", ".pq", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
QRELS_ENDINGS = (*TABLE_ENDINGS, ".txt", ".qrel", ".qrels", ".trec")
VECTOR_ENDINGS = (".parquet", ".pq", ".npy")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def format_ending(path: str) -> str:
    """Return the ending of a file's format, without that of a compression: `.jsonl` for corpus.jsonl.gz."""
    kept = [suffix for suffix in PurePosixPath(path.lower()).suffixes if suffix not in COMPRESSED]
    return kept[-1] if kept else ""


@dataclass(frozen=True)
class Source:
    """One input file: its name in messages, its fsspec file system and its path there."""

    name: str
    system: Any
    path: str

    @property
    def ending(self) -> str:
        """The ending of the format, without that of a compression: `.jsonl` for corpus.jsonl.gz."""
        return format_ending(self.path)

    def open(self) -> IO[bytes]:
        """Open the file for reading bytes, decompressed if its name ends in that of a compression.

        Raises:
            InputError: it is missing or cannot be read.
        """
        compression = fsspec.utils.infer_compression(self.path)
        if compression is None and self.path.lower().endswith(COMPRESSED):
            suffix = PurePosixPath(self.path).suffix
            raise InputError(f"{self.name}: reading {suffix} needs a package: pip install zstandard; or decompress it")
        try:
            opened: IO[bytes] = fsspec.core.OpenFile(self.system, self.path, "rb", compression=compression).open()
        except Exception as error:  # each store's library has its own errors
            raise InputError(f"{self.name}: cannot be read: {reason(error)}") from None
        return opened

    def open_for_arrow(self) -> Any:
        """Open the file for pyarrow, which reads a file of this machine itself; otherwise as `open`.

        Raises:
            OSError: a file of this machine is missing or cannot be read.
            InputError: another one.
        """
        if self.path.lower().endswith(COMPRESSED) or not isinstance(self.system, LocalFileSystem):
            return self.open()
        return pa.OSFile(self.path)

    def digest(self) -> dict[str, Any]:
        """Return name, size and blake2b of the file's bytes.

        Raises:
            InputError: it cannot be read.
        """
        total, size = hashlib.blake2b(), 0  # as b2sum prints it; twice as fast as sha256
        try:
            with self.system.open(self.path, "rb") as file:
                while block := file.read(1 << 20):
                    total.update(block)
                    size += len(block)
        except Exception as error:  # as in `open`
            raise InputError(f"{self.name}: cannot be read: {reason(error)}") from None
        return {"file": PurePosixPath(self.path).name, "bytes": size, "blake2b": total.hexdigest()}


def find_sources(given: str | Sequence[str], base: Path, key: str, endings: Sequence[str]) -> list[Source]:
    """Return the files that a config entry names: entries in order, the files of a folder or glob by name.

    Of a folder, .json files count only where it has no file of another format.

    Args:
        given: a file, folder, glob or URL, or a list of them.
        base: folder that relative paths start at.
        key: the config key, for messages.
        endings: endings of the files that count inside a folder.

    Raises:
        InputError: entries without a file, all of them.
    """
    found: list[Source] = []
    missing: list[str] = []
    for entry in [given] if isinstance(given, str) else given:
        try:
            sources = _expand(entry, base, endings)
        except InputError as error:
            missing.append(f"{key}: {entry}: {error}")
            continue
        except Exception as error:  # each store's library has its own errors
            missing.append(f"{key}: {entry}: cannot be reached: {reason(error)}")
            continue
        if not sources:
            missing.append(f"{key}: {entry}: {_why_none(entry, base, endings)}")
        found.extend(sources)
    if missing:
        raise InputError("\n".join(missing))
    return found


def _expand(entry: str, base: Path, endings: Sequence[str]) -> list[Source]:
    if is_hub(entry):
        with hub_errors():
            system, path = open_hub(entry)
            paths = _files(system, path, entry, endings)
            places: list[tuple[Any, str]] = [(LocalFileSystem(), file) for file in fetch(system, paths)]
    else:
        system, path = fsspec.core.url_to_fs(entry if "://" in entry else str(base / entry))
        paths = _files(system, path, entry, endings)
        places = [(system, file) for file in paths]
    names = [entry if file == path else f"{entry} ({PurePosixPath(file).name})" for file in paths]
    return [Source(name, *place) for name, place in zip(names, places, strict=True)]


def _files(system: Any, path: str, entry: str, endings: Sequence[str]) -> list[str]:
    """Return the files that an entry names: itself, those that match it, or those of its folder."""
    if _is_glob(entry) and not system.exists(path):
        return sorted(file for file in system.glob(path) if system.isfile(file))
    if not system.isdir(path):
        return [path] if system.isfile(path) else []
    files = dataset_files(system, path.rstrip("/"), entry.rstrip("/"))
    if files is not None:
        return [file for file in files if _has_ending(file, endings)]
    found = sorted(file for file in system.find(path) if _has_ending(file, endings))
    # beside tables, a .json file usually describes them
    return [file for file in found if not _has_ending(file, (".json",))] or found


def _is_glob(entry: str) -> bool:
    return any(sign in entry for sign in "*?[")


def _has_ending(path: str, endings: Sequence[str]) -> bool:
    name = PurePosixPath(path.lower()).name
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name.endswith(tuple(endings)) and not name.startswith((".", "_"))


def _why_none(entry: str, base: Path, endings: Sequence[str]) -> str:
    path = None if "://" in entry else existing_path(entry, base)
    if path is not None and path.is_dir():
        return f"the folder holds no {', '.join(endings)} file"
    return "no file matches" if _is_glob(entry) else "no such file"
