"""Finding and opening the user's files: a file, a folder, a glob, or any fsspec URL."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec

from hnmine.errors import InputError

TABLE_ENDINGS = (".parquet", ".pq", ".jsonl", ".ndjson", ".csv", ".tsv")
QRELS_ENDINGS = (*TABLE_ENDINGS, ".txt", ".qrel", ".qrels", ".trec")
VECTOR_ENDINGS = (".parquet", ".pq", ".npy")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class Source:
    """One file of the user's: the name it goes by in messages, and where it is."""

    name: str
    system: Any
    path: str

    @property
    def ending(self) -> str:
        """The format's ending, compression apart: `.jsonl` for corpus.jsonl.gz."""
        suffixes = PurePosixPath(self.path.lower()).suffixes
        kept = [suffix for suffix in suffixes if suffix not in COMPRESSED]
        return kept[-1] if kept else ""

    def open(self) -> IO[bytes]:
        """Open for reading bytes, decompressed where the name says so.

        Raises:
            InputError: it is missing or cannot be read.
        """
        compression = fsspec.utils.infer_compression(self.path)
        if compression is None and self.path.lower().endswith(COMPRESSED):
            what = PurePosixPath(self.path).suffix
            raise InputError(f"{self.name}: reading {what} needs a package: pip install zstandard; or decompress it")
        try:
            opened: IO[bytes] = fsspec.core.OpenFile(self.system, self.path, "rb", compression=compression).open()
            return opened
        except Exception as error:  # likewise
            raise InputError(f"{self.name}: cannot be read: {reason(error)}") from None

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
        except Exception as error:  # likewise
            raise InputError(f"{self.name}: cannot be read: {reason(error)}") from None
        return {"file": PurePosixPath(self.path).name, "bytes": size, "blake2b": total.hexdigest()}


def reason(error: BaseException) -> str:
    """Return what an operating system error says, without its path and number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def find_sources(given: str | Sequence[str], base: Path, key: str, endings: Sequence[str]) -> list[Source]:
    """Return the files that a config entry means, in a fixed order.

    Args:
        given: a file, folder, glob or URL, or a list of them.
        base: folder that relative paths start at.
        key: the config key, for messages.
        endings: what counts as a file of this kind inside a folder.

    Raises:
        InputError: nothing there, or a folder without such a file; all entries are checked first.
    """
    found: list[Source] = []
    missing: list[str] = []
    for entry in [given] if isinstance(given, str) else given:
        try:
            sources = _expand(entry, base, endings)
        except Exception as error:  # each store's library has errors of its own
            missing.append(f"{key}: {entry}: cannot be reached: {reason(error)}")
            continue
        if not sources:
            missing.append(f"{key}: {entry}: {_why_nothing(entry, base, endings)}")
        found.extend(sources)
    if missing:
        raise InputError("\n".join(missing))
    return found


def _expand(entry: str, base: Path, endings: Sequence[str]) -> list[Source]:
    url = entry if "://" in entry else str(base / entry)
    system, path = fsspec.core.url_to_fs(url)
    if any(sign in entry for sign in "*?[") and not system.exists(path):
        paths = sorted(p for p in system.glob(path) if system.isfile(p))
    elif system.isdir(path):
        paths = sorted(p for p in system.find(path) if _fits(p, endings))
    else:
        paths = [path] if system.isfile(path) else []
    return [Source(_label(p, path, entry), system, p) for p in paths]


def _label(path: str, root: str, entry: str) -> str:
    """Name a file as the user would: the entry itself, or the entry's folder and the file's place in it."""
    return entry if path == root else f"{entry} ({PurePosixPath(path).name})"


def _fits(path: str, endings: Sequence[str]) -> bool:
    name = PurePosixPath(path.lower()).name
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name.endswith(tuple(endings)) and not name.startswith((".", "_"))


def _why_nothing(entry: str, base: Path, endings: Sequence[str]) -> str:
    if "://" not in entry and (base / entry).is_dir():
        return f"the folder holds no {', '.join(endings)} file"
    return "no such file" if not any(sign in entry for sign in "*?[") else "no file matches"
