"""DigestCache of the user's files, remembered from one command to the next: a stage does not read a corpus to know it.

A digest counts as long as the file's stamp is what it was: for a file of this machine its size, its times and its
inode, for an object its size and the tag that the store gives its content. What was written to moments ago is not
remembered, as a later change could then leave the times as they are.
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hnmine.errors import HnmineError
from hnmine.storage.input_files import Source
from hnmine.storage.remote_path import WHOLE
from hnmine.storage.store import read_json, write_json

DIGESTS = ".digests.json"
DigestT = TypeVar("DigestT", str, dict[str, Any])
# Coarser than the times of any file system in use.
_MOMENT = 3_000_000_000


class DigestCache:
    """What is known of files, and what has been found out since.

    Args:
        known: by place, a stamp and the digest that goes with it.
    """

    def __init__(self, known: dict[str, dict[str, Any]] | None = None) -> None:
        self._known = dict(known or {})
        self._new = False

    @classmethod
    def read(cls, out: Path) -> "DigestCache":
        """Return what a run's folder remembers; nothing where there is no such folder."""
        found = read_json(out / DIGESTS)
        fits = isinstance(found, dict) and all(isinstance(one, dict) for one in found.values())
        return cls(found if fits else None)

    def write(self, out: Path) -> None:
        """Remember what has been found out; where it cannot be written it is found out again next time."""
        if self._new:
            try:
                write_json(self._known, out / DIGESTS)
            except HnmineError:
                return
            self._new = False

    def of(self, source: Source) -> dict[str, Any]:
        """Return name, size and blake2b of a file's bytes.

        Raises:
            InputError: it cannot be read.
        """
        place = f"blake2b {source.system.unstrip_protocol(source.path)}"
        return self._get(place, lambda: _stamp_of(source), source.digest)

    def of_file(self, name: str, path: Path, make: Callable[[Path], str]) -> str:
        """Return what `make` says of the content of a file of this machine; `name` says what that is.

        Raises:
            OSError: it cannot be read.
        """
        return self._get(f"{name} {path.absolute()}", lambda: _stamp(str(path)), lambda: make(path))

    def _get(self, place: str, stamp: Callable[[], str | None], make: Callable[[], DigestT]) -> DigestT:
        place = hashlib.blake2b(place.encode(), digest_size=16).hexdigest()  # an address may hold a password
        before, known = stamp(), self._known.get(place, {})
        found: DigestT | None = known.get("digest") if known.get("stamp") == before else None
        if before is not None and found is not None:
            return found
        made = make()
        if before is not None and stamp() == before:
            self._known[place] = {"stamp": before, "digest": made}
            self._new = True
        return made


def _stamp_of(source: Source) -> str | None:
    """Return the stamp of a file or object; None elsewhere: what a server's tags stand for is not known."""
    protocols = source.system.protocol
    known = {protocols} if isinstance(protocols, str) else {*protocols}
    if "file" in known:
        return _stamp(source.path)
    return _of_object(source) if known & WHOLE else None


def _stamp(path: str) -> str | None:
    """Return the stamp of a file of this machine; None where it is too young for one, or not there."""
    try:
        with Path(path).open("rb") as file:  # on a network file system its opening asks the server for the times
            found = os.fstat(file.fileno())
    except OSError:
        return None
    times = (found.st_mtime_ns, found.st_ctime_ns)
    if max(times) > time.time_ns() - _MOMENT:
        return None
    return " ".join(map(str, (found.st_size, *times, found.st_dev, found.st_ino)))


def _of_object(source: Source) -> str | None:
    """Return the stamp of an object in a store; None where that tags no content, or by its time alone."""
    try:
        source.system.invalidate_cache()
        found = source.system.info(source.path)
    except Exception:  # each store's library has errors of its own; reading the object will say what is wrong
        return None
    tag = found.get("ETag") or found.get("etag")
    return f"{found.get('size')} {tag}" if tag and not str(tag).startswith("W/") else None
