"""Cache of the digests of the user's files, kept in the output folder: a later command need not read a corpus again.

A digest is valid while the file's stamp is the same. The stamp of a file of this machine is its size, times and inode;
that of an object is its size and the tag that the store gives to its content. A file written in the last seconds has no
stamp, as a later change could leave its times the same.
"""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from hnmine.errors import HnmineError
from hnmine.storage.input_files import Source
from hnmine.storage.remote_path import ATOMIC_STORES
from hnmine.storage.store import read_json, write_json

DIGESTS = ".digests.json"
DigestT = TypeVar("DigestT", str, dict[str, Any])
ResultT = TypeVar("ResultT")
# Nanoseconds; coarser than the times of any file system in use.
_MIN_AGE = 3_000_000_000


class DigestCache:
    """Digests of files, read from a run's folder and computed since: by file (hashed), a stamp and its digest."""

    def __init__(self, known: dict[str, dict[str, Any]] | None = None) -> None:
        self._known = dict(known or {})
        self._changed = False
        self._once: dict[str, Any] = {}

    @classmethod
    def read(cls, out: Path) -> "DigestCache":
        """Return the cache of a run's folder; an empty one if there is none or it is damaged."""
        found = read_json(out / DIGESTS)
        valid = isinstance(found, dict) and all(isinstance(entry, dict) for entry in found.values())
        return cls(found if valid else None)

    def write(self, out: Path) -> None:
        """Store new digests in a run's folder; if it cannot be written, they are computed again next time."""
        if self._changed:
            with suppress(HnmineError):
                write_json(self._known, out / DIGESTS)
                self._changed = False

    def of(self, source: Source) -> dict[str, Any]:
        """Return name, size and blake2b of an input file, as `Source.digest`."""
        file = f"blake2b {source.system.unstrip_protocol(source.path)}"
        return self._get(file, lambda: _source_stamp(source), source.digest)

    def of_file(self, name: str, path: Path, compute: Callable[[Path], str]) -> str:
        """Return `compute(path)` for a file of this machine; `name` is that of the function.

        Raises:
            OSError: it cannot be read.
        """
        return self._get(f"{name} {path.absolute()}", lambda: _file_stamp(str(path)), lambda: compute(path))

    def once(self, name: str, compute: Callable[[], ResultT]) -> ResultT:
        """Return `compute()`, called once for a name in the life of this object; nothing of it is stored."""
        if name not in self._once:
            self._once[name] = compute()
        found: ResultT = self._once[name]
        return found

    def _get(self, file: str, stamp: Callable[[], str | None], compute: Callable[[], DigestT]) -> DigestT:
        file = hashlib.blake2b(file.encode(), digest_size=16).hexdigest()  # a URL may hold a password
        before, known = stamp(), self._known.get(file, {})
        found: DigestT | None = known.get("digest") if known.get("stamp") == before else None
        if before is not None and found is not None:
            return found
        computed = compute()
        if before is not None and stamp() == before:
            self._known[file] = {"stamp": before, "digest": computed}
            self._changed = True
        return computed


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _source_stamp(source: Source) -> str | None:
    """Return the stamp of a file or object.

    None on other systems, such as a web server with tags of its own, and if the tag of an object is missing or weak.
    """
    protocols = source.system.protocol
    known = {protocols} if isinstance(protocols, str) else {*protocols}
    if "file" in known:
        return _file_stamp(source.path)
    if not known & ATOMIC_STORES:
        return None
    try:
        source.system.invalidate_cache()
        found = source.system.info(source.path)
    except Exception:  # each store's library has its own errors; reading the object will report it
        return None
    tag = found.get("ETag") or found.get("etag")
    return f"{found.get('size')} {tag}" if tag and not str(tag).startswith("W/") else None


def _file_stamp(path: str) -> str | None:
    """Return the stamp of a file of this machine; None if it is missing or too new."""
    try:
        with Path(path).open("rb") as file:  # on a network file system, opening asks the server for the times
            found = os.fstat(file.fileno())
    except OSError:
        return None
    times = (found.st_mtime_ns, found.st_ctime_ns)
    if max(times) > time.time_ns() - _MIN_AGE:
        return None
    return " ".join(map(str, (found.st_size, *times, found.st_dev, found.st_ino)))
